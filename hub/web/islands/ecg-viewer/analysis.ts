/** What the machine says of a recording, as `ecg/analysis` gives it. Hints: shown apart, never as a diagnosis. */

import { qtc } from "./calipers";

export interface Bounds {
  p_on?: number | null;
  p_off?: number | null;
  qrs_on?: number | null;
  qrs_off?: number | null;
  t_on?: number | null;
  t_off?: number | null;
}

export interface Beat {
  sample: number;
  class: string;
  global: Bounds;
  leads?: Record<string, Bounds>;
}

export interface Measurement {
  hr_bpm: number | null;
  rr_ms: number | null;
  p_ms: number | null;
  pr_ms: number | null;
  qrs_ms: number | null;
  qt_ms: number | null;
  qtc_ms: Record<string, number | null> | null;
  axes_deg: Record<string, number | null> | null;
  st_uv: Record<string, Record<string, number | null>> | null;
  beats: Beat[];
  reasons: Record<string, string>;
}

export interface StoredMedianLead {
  name: string;
  mv_per_unit: number;
  samples: string | number[];
}

export interface StoredMedian {
  rate_hz: number;
  fiducial?: number;
  n_beats?: number;
  missing?: number;
  leads: StoredMedianLead[];
  over_all?: Bounds;
  per_lead?: Record<string, Bounds>;
}

export interface Finding {
  code: string;
  leads: string[];
  likelihood: number;
  repeat: boolean;
  numbers: Record<string, number>;
}

export interface Hint {
  rule: string;
  level: string;
  source: string;
  leads: string[];
  numbers: Record<string, number>;
}

export interface Edit {
  name: string;
  lead: string;
  value: number | null;
  was: number | null;
  unit: string;
  by: string;
  at: string;
  reason: string;
}

export interface DeviceMeasurement {
  name: string;
  value: number;
  unit: string;
  lead: string;
}

export interface Analysis {
  source: string;
  engine: string;
  measurement: Measurement | null;
  quality: { verdict: string; findings: Finding[] } | null;
  hints: Hint[];
  median: StoredMedian | null;
  device: { name: string; measurements: DeviceMeasurement[]; statements: string[]; median: StoredMedian | null };
  edits: Edit[];
}

export interface Earlier {
  exam_id: string;
  number: string;
  source: string;
  taken_at: string | null;
  hr_bpm: number | null;
  qrs_ms: number | null;
  qtc_ms: number | null;
}

/** An exam may hold several ECGs; each is offered for itself. */
export const keyOf = (earlier: Earlier): string => `${earlier.exam_id}/${earlier.source}`;

/** One line of the table: the hub's name of a value, its unit, and what the machine measured. */
export interface Row {
  name: string;
  unit: string;
  value: number | null;
  reason: string;
}

export const QTC_FORMULAS = ["bazett", "fridericia", "framingham", "hodges"] as const;
const PLAIN: readonly [keyof Measurement & string, string, string][] = [
  ["hr_bpm", "hr_bpm", "bpm"],
  ["rr_ms", "rr_mean_ms", "ms"],
  ["p_ms", "p_ms", "ms"],
  ["pr_ms", "pr_ms", "ms"],
  ["qrs_ms", "qrs_ms", "ms"],
  ["qt_ms", "qt_ms", "ms"],
];

/** The rows of the table, in the order in which they are read. Each name is always there. */
export function rowsOf(measurement: Measurement | null): Row[] {
  const reasons = measurement?.reasons ?? {};
  const row = (name: string, unit: string, value: unknown): Row => ({
    name,
    unit,
    value: typeof value === "number" && Number.isFinite(value) ? value : null,
    reason: reasons[name] ?? "",
  });
  return [
    ...PLAIN.map(([key, name, unit]) => row(name, unit, measurement?.[key])),
    ...QTC_FORMULAS.map((formula) => row(`qtc_${formula}_ms`, "ms", measurement?.qtc_ms?.[formula])),
    ...(["p", "qrs", "t"] as const).map((wave) => row(`${wave}_axis_deg`, "deg", measurement?.axes_deg?.[wave])),
  ];
}

/** The reader's value of a name, when the last edit of it gives one. */
export function editOf(edits: readonly Edit[], name: string, lead = ""): Edit | undefined {
  const last = [...edits].filter((edit) => edit.name === name && edit.lead === lead).sort((a, b) => a.at.localeCompare(b.at)).at(-1);
  return last && last.value !== null ? last : undefined;
}

export interface InForce {
  value: number | null;
  /** A reader put it in the place of the measured one. */
  edited: boolean;
  /** It follows from a QT or a rate that a reader has put right. */
  follows: boolean;
}

/** The values as they count now, by name. A QTc that nobody touched follows the reader's QT or rate, as on the server. */
export function inForce(analysis: Analysis): Map<string, InForce> {
  const values = new Map<string, InForce>();
  for (const row of rowsOf(analysis.measurement)) {
    const edit = editOf(analysis.edits, row.name);
    values.set(row.name, { value: edit?.value ?? row.value, edited: edit !== undefined, follows: false });
  }
  const [rate, qt] = [values.get("hr_bpm"), values.get("qt_ms")];
  if (!(rate?.edited || qt?.edited) || !rate?.value || !qt?.value) return values;
  const corrected = qtc(qt.value, 60000 / rate.value);
  for (const formula of QTC_FORMULAS) {
    const name = `qtc_${formula}_ms`;
    if (!values.get(name)?.edited) values.set(name, { value: corrected[formula], edited: false, follows: true });
  }
  return values;
}

/** What the device said of the same thing. `qtc_ms` without a formula stands beside every formula's own row. */
export function deviceValue(analysis: Analysis, name: string, lead = ""): DeviceMeasurement | undefined {
  return analysis.device.measurements.find((each) => each.name === name && (each.lead || "") === lead);
}

/** Moments worth snapping to: every boundary of one lead and of all leads, and the beats themselves. */
export function landmarks(beats: readonly Beat[], lead: string): number[] {
  const found = new Set<number>();
  for (const beat of beats) {
    found.add(beat.sample);
    for (const bounds of [beat.global, beat.leads?.[lead.replace(/^-/, "")]]) for (const sample of Object.values(bounds ?? {})) if (typeof sample === "number") found.add(sample);
  }
  return [...found].sort((a, b) => a - b);
}
