/** A sheet as lines and words in millimetres: what the screen's canvas and the printed page both paint. */

import { type Cell, pulse, type Sheet, xOf, yOf } from "./layout";
import { samplesOf } from "./recording";

export interface Line {
  /** x and y in turn. */
  points: ArrayLike<number>;
  color: string;
  widthMm: number;
  dash?: readonly number[];
}

export interface Label {
  x: number;
  y: number;
  text: string;
  sizeMm: number;
  color: string;
  bold?: boolean;
  anchor?: "start" | "middle" | "end";
}

export interface Scene {
  widthMm: number;
  heightMm: number;
  /** Below the lines: a lead's name must not hide a wave. */
  names: Label[];
  lines: Line[];
  labels: Label[];
}

/** One recording (or median beat) drawn on a sheet. */
export interface Series {
  leads: ReadonlyMap<string, Float64Array>;
  rateHz: number;
  firstSample: number;
  color: string;
  /** Added to the sheet's time to find this recording's own, by cell: for one laid over another. */
  shiftS?: (cell: Cell) => number;
}

/** A vertical mark at a moment of the sheet's own recording. */
export interface Mark {
  sample: number;
  color: string;
  /** Of one lead; without it, of all. */
  lead?: string;
}

export const INK = { trace: "#10151c", earlier: "#1667b8", device: "#8a3fb0", text: "#1b2430", muted: "#5b6673", mark: "#2f7d4f", caliper: "#0a58ca", chosen: "#c2410c" };
const TRACE_MM = 0.28;
const CROWDED = 3;

/** The colours of superimposed leads: limb leads warm, chest leads cold, each apart from its neighbours. */
export const LEAD_INK = ["#b3261e", "#c2570c", "#a16207", "#7c2d12", "#9d174d", "#6b21a8", "#1e3a8a", "#1d4ed8", "#0369a1", "#0f766e", "#15803d", "#3f6212"];

/**
 * The polylines of one lead in one cell, cut where samples are missing.
 *
 * Where more samples than `CROWDED` fall on one dot of the screen, the lowest and the highest stand for
 * them: what is drawn is the same, and no peak is lost.
 */
export function tracesOf(sheet: Sheet, cell: Cell, samples: Float64Array, series: Series, dotsPerMm: number): Float64Array[] {
  const shift = series.shiftS?.(cell) ?? 0;
  const { rateHz, firstSample } = series;
  const first = Math.max(firstSample, Math.ceil((cell.fromS + shift) * rateHz - 1e-6));
  const last = Math.min(firstSample + samples.length - 1, Math.floor((cell.toS + shift) * rateHz + 1e-6));
  const perDot = rateHz / (sheet.mmPerS * dotsPerMm);
  const group = perDot > CROWDED ? Math.floor(perDot) : 1;
  const result: Float64Array[] = [];
  let points: number[] = [];
  const add = (at: number): void => {
    points.push(xOf(sheet, cell, at / rateHz - shift), yOf(sheet, cell, samples[at - firstSample] as number));
  };
  const end = (): void => {
    // a single sample between two gaps stays, as a dot
    if (points.length === 2) points.push((points[0] as number) + 0.01, points[1] as number);
    if (points.length > 0) result.push(Float64Array.from(points));
    points = [];
  };
  for (let from = first; from <= last; from += group) {
    const to = Math.min(last, from + group - 1);
    if (group === 1) {
      if (Number.isNaN(samples[from - firstSample])) end();
      else add(from);
      continue;
    }
    if (!addGroup(samples, from, to, firstSample, add)) {
      for (let at = from; at <= to; at++) Number.isNaN(samples[at - firstSample]) ? end() : add(at);
    }
  }
  end();
  return result;
}

/** Add the lowest and the highest sample of a group in their order; tell whether the group had no gap. */
function addGroup(samples: Float64Array, from: number, to: number, firstSample: number, add: (at: number) => void): boolean {
  let [low, high] = [from, from];
  for (let at = from; at <= to; at++) {
    const value = samples[at - firstSample] as number;
    if (Number.isNaN(value)) return false;
    if (value < (samples[low - firstSample] as number)) low = at;
    if (value > (samples[high - firstSample] as number)) high = at;
  }
  add(Math.min(low, high));
  if (low !== high) add(Math.max(low, high));
  return true;
}

/** Everything on the paper but calipers. */
export function sceneOf(sheet: Sheet, series: readonly Series[], marks: readonly Mark[], dotsPerMm: number): Scene {
  const lines: Line[] = sheet.pulses.map((baseline) => ({ points: pulse(baseline, sheet.mmPerMv), color: INK.trace, widthMm: TRACE_MM }));
  const names: Label[] = [];
  for (const cell of sheet.cells) {
    lines.push(...markLines(sheet, cell, marks));
    if (!cell.overlay) for (const dy of [-5, 3]) lines.push({ points: [cell.xMm, cell.baselineMm + dy, cell.xMm, cell.baselineMm + dy + 2], color: INK.trace, widthMm: 0.2 });
    for (const [layer, each] of [...series].reverse().entries()) {
      for (const [at, lead] of (cell.overlay ?? [cell.lead]).entries()) {
        const samples = samplesOf(each.leads, lead);
        if (!samples) continue;
        const color = cell.overlay && layer === series.length - 1 ? (LEAD_INK[at % LEAD_INK.length] as string) : each.color;
        for (const points of tracesOf(sheet, cell, samples, each, dotsPerMm)) lines.push({ points, color, widthMm: TRACE_MM });
      }
    }
    names.push(...cellNames(cell, series[0]));
  }
  return { widthMm: sheet.widthMm, heightMm: sheet.heightMm, names, lines, labels: [] };
}

function markLines(sheet: Sheet, cell: Cell, marks: readonly Mark[]): Line[] {
  const half = Math.min(12, sheet.layout.rowMm / 2);
  return marks
    .filter((mark) => (!mark.lead || mark.lead === cell.lead.replace(/^-/, "")) && mark.sample >= cell.first && mark.sample <= cell.last)
    .map((mark) => {
      const x = xOf(sheet, cell, mark.sample / sheet.rateHz);
      return mark.lead
        ? { points: [x, cell.baselineMm - 3, x, cell.baselineMm + 3], color: mark.color, widthMm: 0.3 }
        : { points: [x, cell.baselineMm - half, x, cell.baselineMm + half], color: mark.color, widthMm: 0.18, dash: [0.8, 0.8] };
    });
}

function cellNames(cell: Cell, series: Series | undefined): Label[] {
  if (cell.overlay) {
    return cell.overlay.map((lead, at) => ({ x: cell.xMm + cell.widthMm + 2, y: cell.labelMm + 4.2 * at, text: lead, sizeMm: 3.2, bold: true, color: LEAD_INK[at % LEAD_INK.length] as string }));
  }
  const recorded = series !== undefined && samplesOf(series.leads, cell.lead) !== undefined;
  return [{ x: cell.xMm + 1.2, y: cell.labelMm, text: cell.lead.slice(0, 16), sizeMm: 3.6, bold: recorded, color: recorded ? INK.text : INK.muted }];
}
