/** One recording as millivolts by lead, as `ecg.json` gives it. No DOM. */

export interface StoredLead {
  name: string;
  mv_per_unit: number;
  samples: string | number[] | null;
}

/** The answer of `GET /api/v1/exams/{id}/ecg.json`. */
export interface StoredRecording {
  source: string;
  rate_hz: number;
  n_samples_total: number;
  first_sample: number;
  n_samples: number;
  started_at: string | null;
  missing: number;
  leads: StoredLead[];
}

export interface Recording {
  source: string;
  rateHz: number;
  /** Which sample of the whole recording is the first of these. */
  firstSample: number;
  nSamples: number;
  totalSamples: number;
  startedAt: string | null;
  /** Millivolts, NaN where nothing was recorded; computed limb leads included. */
  leads: ReadonlyMap<string, Float64Array>;
  recorded: readonly string[];
}

/** Little-endian 16-bit samples, whatever the order of this machine. */
export function decodeSamples(base64: string): Int16Array {
  const bytes = atob(base64);
  const samples = new Int16Array(bytes.length >> 1);
  for (let at = 0; at < samples.length; at++) samples[at] = bytes.charCodeAt(2 * at) | (bytes.charCodeAt(2 * at + 1) << 8);
  return samples;
}

export function toMillivolts(samples: ArrayLike<number>, mvPerUnit: number, missing: number): Float64Array {
  const result = new Float64Array(samples.length);
  for (let at = 0; at < samples.length; at++) {
    const value = samples[at] ?? missing;
    result[at] = value === missing ? NaN : value * mvPerUnit;
  }
  return result;
}

/** III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2, where they were not recorded. */
export function withLimbLeads(leads: ReadonlyMap<string, Float64Array>): Map<string, Float64Array> {
  const all = new Map(leads);
  const [one, two] = [leads.get("I"), leads.get("II")];
  if (!one || !two) return all;
  const computed: Record<string, (a: number, b: number) => number> = {
    III: (a, b) => b - a,
    aVR: (a, b) => -(a + b) / 2,
    aVL: (a, b) => a - b / 2,
    aVF: (a, b) => b - a / 2,
  };
  for (const [name, rule] of Object.entries(computed)) if (!all.has(name)) all.set(name, one.map((value, at) => rule(value, two[at] ?? NaN)));
  return all;
}

export function decode(stored: StoredRecording): Recording {
  const leads = new Map<string, Float64Array>();
  for (const lead of stored.leads) {
    const raw = typeof lead.samples === "string" ? decodeSamples(lead.samples) : (lead.samples ?? []);
    leads.set(lead.name, toMillivolts(raw, lead.mv_per_unit, stored.missing));
  }
  return {
    source: stored.source,
    rateHz: stored.rate_hz,
    firstSample: stored.first_sample,
    nSamples: stored.n_samples,
    totalSamples: stored.n_samples_total,
    startedAt: stored.started_at,
    leads: withLimbLeads(leads),
    recorded: stored.leads.map((lead) => lead.name),
  };
}

const reaches = new WeakMap<Float64Array, readonly [number, number]>();

/** Lowest and highest millivolt of a lead; nothing where it has no samples. */
export function reachOf(leads: ReadonlyMap<string, Float64Array>, name: string): readonly [number, number] | undefined {
  const samples = leads.get(name);
  if (!samples) {
    const [low, high] = (name === "-aVR" && reachOf(leads, "aVR")) || [NaN, NaN];
    return Number.isNaN(low) ? undefined : [-high, -low];
  }
  let reach = reaches.get(samples);
  if (!reach) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of samples) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    reaches.set(samples, (reach = [low, high]));
  }
  return reach[0] <= reach[1] ? reach : undefined;
}

/** A lead's samples; -aVR is aVR turned over where it was not recorded as such. */
export function samplesOf(leads: ReadonlyMap<string, Float64Array>, name: string): Float64Array | undefined {
  const found = leads.get(name);
  if (found || name !== "-aVR") return found;
  return leads.get("aVR")?.map((value) => -value);
}
