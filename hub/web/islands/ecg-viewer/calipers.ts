/** Calipers as numbers: samples and millivolts. No DOM. */

export interface Caliper {
  kind: "time" | "volt";
  lead: string;
  /** Of a time caliper samples of the recording; of an amplitude caliper millivolts. */
  a: number;
  b: number;
  /** Where across it is drawn: millivolts of a time caliper's bar, the sample of an amplitude caliper's. */
  across: number;
  march: boolean;
  role: "" | "rr" | "qt";
}

export interface Qtc {
  bazett: number;
  fridericia: number;
  framingham: number;
  hodges: number;
}

export const intervalMs = (caliper: Caliper, rateHz: number): number => (Math.abs(caliper.b - caliper.a) / rateHz) * 1000;

/** QT corrected for rate: Bazett 1920, Fridericia 1920, Framingham (Sagie 1992), Hodges 1983. All in ms. */
export function qtc(qtMs: number, rrMs: number): Qtc {
  const rrS = rrMs / 1000;
  return {
    bazett: qtMs / Math.sqrt(rrS),
    fridericia: qtMs / Math.cbrt(rrS),
    framingham: qtMs + 154 * (1 - rrS),
    hodges: qtMs + 1.75 * (60 / rrS - 60),
  };
}

/** Where a repeated interval falls between two samples, the interval itself left out. */
export function marched(caliper: Caliper, from: number, to: number): number[] {
  const step = Math.abs(caliper.b - caliper.a);
  if (step < 2) return [];
  const [low, high] = [Math.min(caliper.a, caliper.b), Math.max(caliper.a, caliper.b)];
  const found: number[] = [];
  for (let at = low - step; at >= from; at -= step) found.push(at);
  for (let at = high + step; at <= to; at += step) found.push(at);
  return found.sort((a, b) => a - b);
}

const nearest = (wanted: number, candidates: Iterable<number>, reach: number): number | undefined => {
  let best: number | undefined;
  for (const each of candidates) if (Math.abs(each - wanted) <= reach && (best === undefined || Math.abs(each - wanted) < Math.abs(best - wanted))) best = each;
  return best;
};

/** The peak or trough within reach of a sample: further from both ends of the stretch than anything else in it. */
export function peakNear(samples: Float64Array, sample: number, reach: number): number | undefined {
  const [from, to] = [Math.max(1, Math.ceil(sample - reach)), Math.min(samples.length - 2, Math.floor(sample + reach))];
  let best: number | undefined;
  let height = 0;
  const chord = ((samples[from] ?? NaN) + (samples[to] ?? NaN)) / 2;
  for (let at = from; at <= to; at++) {
    const [before, here, after] = [samples[at - 1] as number, samples[at] as number, samples[at + 1] as number];
    const turns = (here >= before && here >= after) || (here <= before && here <= after);
    if (turns && Math.abs(here - chord) > height) [best, height] = [at, Math.abs(here - chord)];
  }
  return best;
}

/** Snap a moment: to a detected boundary or beat within reach, else to a peak of the trace, else to the whole sample. */
export function snapSample(wanted: number, marks: readonly number[], samples: Float64Array | undefined, firstSample: number, reach: number): number {
  const mark = nearest(wanted, marks, reach);
  if (mark !== undefined) return mark;
  const peak = samples && peakNear(samples, wanted - firstSample, reach);
  return peak === undefined ? Math.round(wanted) : peak + firstSample;
}

/** Snap a height: to a peak near the pointer, to the trace under it, or to the level where QRS begins. */
export function snapMillivolts(wanted: number, sample: number, marks: readonly number[], samples: Float64Array | undefined, firstSample: number, reach: { samples: number; millivolts: number }): number {
  if (!samples) return wanted;
  const at = Math.round(sample - firstSample);
  const peak = peakNear(samples, at, reach.samples);
  const places = [peak, at, ...marks.filter((mark) => Math.abs(mark - sample) <= reach.samples).map((mark) => mark - firstSample)];
  const heights = places.map((place) => (place === undefined ? NaN : (samples[place] ?? NaN))).filter((height) => !Number.isNaN(height));
  return nearest(wanted, heights, reach.millivolts) ?? wanted;
}

/** The RR interval that a QT is corrected by: the caliper marked RR, else the machine's mean. */
export function rrFor(calipers: readonly Caliper[], rateHz: number, machineMs: number | null): { ms: number; byHand: boolean } | undefined {
  const marked = calipers.find((each) => each.kind === "time" && each.role === "rr");
  if (marked && intervalMs(marked, rateHz) > 0) return { ms: intervalMs(marked, rateHz), byHand: true };
  return machineMs ? { ms: machineMs, byHand: false } : undefined;
}
