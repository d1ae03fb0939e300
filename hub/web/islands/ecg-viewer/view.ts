/** What the reader chose to see, and how it travels to the page that prints it. No DOM. */

import type { Caliper } from "./calipers";
import { type FilterChoice, HIGH_PASSES, LOW_PASSES, NOTCHES, OFF } from "./filters";
import { GAINS, LAYOUTS, SPEEDS } from "./layout";

export type Mode = "sheet" | "median" | "superimposed";

export interface View {
  source: string;
  layout: string;
  /** The lead shown alone; empty when the arrangement is. */
  single: string;
  cabrera: boolean;
  mmPerS: number;
  mmPerMv: number;
  filters: FilterChoice;
  startS: number;
  mode: Mode;
  fit: boolean;
  marks: boolean;
  snap: boolean;
  /** Exam id of the earlier ECG compared with, or empty. */
  compare: string;
  overlay: boolean;
  calipers: Caliper[];
}

export const START: View = {
  source: "",
  layout: "3x4+1",
  single: "",
  cabrera: false,
  mmPerS: 25,
  mmPerMv: 10,
  filters: OFF,
  startS: 0,
  mode: "sheet",
  fit: true,
  marks: false,
  snap: true,
  compare: "",
  overlay: false,
  calipers: [],
};

/** The value after the present one, and after the last the first. */
export function next<T>(values: readonly T[], present: T): T {
  return values[(values.indexOf(present) + 1) % values.length] as T;
}

const MODES: readonly Mode[] = ["sheet", "median", "superimposed"];
const oneOf = <T>(values: readonly T[], wanted: unknown, otherwise: T): T => (values.includes(wanted as T) ? (wanted as T) : otherwise);
const text = (value: unknown): string => (typeof value === "string" ? value.slice(0, 100) : "");
const finite = (value: unknown, otherwise: number): number => (typeof value === "number" && Number.isFinite(value) ? value : otherwise);

function caliperFrom(value: unknown): Caliper[] {
  const raw = (value ?? {}) as Record<string, unknown>;
  if (![raw["a"], raw["b"], raw["across"]].every((each) => typeof each === "number" && Number.isFinite(each))) return [];
  return [
    {
      kind: oneOf(["time", "volt"] as const, raw["kind"], "time"),
      lead: text(raw["lead"]),
      a: raw["a"] as number,
      b: raw["b"] as number,
      across: raw["across"] as number,
      march: raw["march"] === true,
      role: oneOf(["", "rr", "qt"] as const, raw["role"], ""),
    },
  ];
}

/** Read a view that came with the address; whatever is no part of one is left as it starts. */
export function viewFrom(hash: string, start: View = START): View {
  let raw: Record<string, unknown>;
  try {
    const parsed: unknown = JSON.parse(decodeURIComponent(hash.replace(/^#/, "")) || "{}");
    raw = parsed && typeof parsed === "object" ? (parsed as Record<string, unknown>) : {};
  } catch {
    return start;
  }
  const filters = (raw["filters"] ?? {}) as Record<string, unknown>;
  return {
    source: text(raw["source"]) || start.source,
    layout: oneOf(LAYOUTS.map((each) => each.name), raw["layout"], start.layout),
    single: text(raw["single"]),
    cabrera: raw["cabrera"] === true,
    mmPerS: oneOf<number>(SPEEDS, raw["mmPerS"], start.mmPerS),
    mmPerMv: oneOf<number>(GAINS, raw["mmPerMv"], start.mmPerMv),
    filters: {
      highPassHz: oneOf<number>(HIGH_PASSES, filters["highPassHz"], 0),
      lowPassHz: oneOf<number>(LOW_PASSES, filters["lowPassHz"], 0),
      notchHz: oneOf<number>(NOTCHES, filters["notchHz"], 0),
    },
    startS: Math.max(0, finite(raw["startS"], start.startS)),
    mode: oneOf(MODES, raw["mode"], start.mode),
    fit: raw["fit"] !== false,
    marks: raw["marks"] === true,
    snap: raw["snap"] !== false,
    compare: text(raw["compare"]) || start.compare,
    overlay: raw["overlay"] === true,
    calipers: Array.isArray(raw["calipers"]) ? raw["calipers"].slice(0, 20).flatMap(caliperFrom) : [],
  };
}

export const hashOf = (view: View): string => `#${encodeURIComponent(JSON.stringify(view))}`;

/** The arrangement of the reader's choice, whatever else is shown at the moment. */
export const nextMode = (mode: Mode): Mode => next(MODES, mode);
