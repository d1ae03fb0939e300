/** Calipers on a sheet: their lines and words, and what a pointer takes hold of. No DOM. */

import { type Caliper, marched } from "./calipers";
import { type Cell, type Sheet, xOf, yOf } from "./layout";
import { INK, type Label, type Line, type Scene } from "./scene";

export interface Grip {
  caliper: Caliper;
  end: "a" | "b" | "both";
  cell: Cell;
}

export const CALIPER_GRIP_MM = 1.8;
const HANDLE_MM = 1;
const TICK_MM = 6;

const within = (value: number, from: number, to: number): boolean => value >= from && value <= to;

/** Cells that show a caliper's lead at its time; a caliper without a lead belongs to all of them. */
function cellsOf(sheet: Sheet, caliper: Caliper): Cell[] {
  const [from, to] = caliper.kind === "time" ? [Math.min(caliper.a, caliper.b), Math.max(caliper.a, caliper.b)] : [caliper.across, caliper.across];
  return sheet.cells.filter((cell) => (cell.overlay ? caliper.lead === "" : cell.lead === caliper.lead) && to >= cell.first && from <= cell.last);
}

const xAt = (sheet: Sheet, cell: Cell, sample: number): number => xOf(sheet, cell, sample / sheet.rateHz);

function reachOf(sheet: Sheet): number {
  return Math.min(16, Math.max(7, 0.5 * sheet.layout.rowMm));
}

function timeCaliper(sheet: Sheet, cell: Cell, caliper: Caliper, color: string, text: string): [Line[], Label[]] {
  const half = reachOf(sheet);
  const lines: Line[] = [];
  const [top, bottom] = [cell.baselineMm - half, cell.baselineMm + half];
  const bar = Math.min(bottom, Math.max(top, yOf(sheet, cell, caliper.across)));
  for (const sample of [caliper.a, caliper.b]) {
    if (!within(sample, cell.first, cell.last)) continue;
    const x = xAt(sheet, cell, sample);
    lines.push({ points: [x, top, x, bottom], color, widthMm: 0.3 });
  }
  const [x1, x2] = [caliper.a, caliper.b].map((sample) => xAt(sheet, cell, Math.min(cell.last, Math.max(cell.first, sample)))).sort((a, b) => a - b) as [number, number];
  lines.push({ points: [x1, bar, x2, bar], color, widthMm: 0.3 });
  if (caliper.march) {
    for (const sample of marched(caliper, cell.first, cell.last)) {
      const x = xAt(sheet, cell, sample);
      lines.push({ points: [x, cell.baselineMm - TICK_MM, x, cell.baselineMm + TICK_MM], color, widthMm: 0.2, dash: [1, 0.6] });
    }
  }
  return [lines, [{ x: (x1 + x2) / 2, y: bar - 1.2, text, sizeMm: 3, color, bold: true, anchor: "middle" }]];
}

function voltCaliper(sheet: Sheet, cell: Cell, caliper: Caliper, color: string, text: string): [Line[], Label[]] {
  const x = xAt(sheet, cell, caliper.across);
  const [left, right] = [Math.max(cell.xMm, x - 8), Math.min(cell.xMm + cell.widthMm, x + 8)];
  const [y1, y2] = [yOf(sheet, cell, caliper.a), yOf(sheet, cell, caliper.b)];
  const lines: Line[] = [y1, y2].map((y) => ({ points: [left, y, right, y], color, widthMm: 0.3 }));
  lines.push({ points: [x, y1, x, y2], color, widthMm: 0.3 });
  return [lines, [{ x: right + 0.8, y: (y1 + y2) / 2 + 1, text, sizeMm: 3, color, bold: true }]];
}

/** A square on each end of the chosen caliper; on the end that the keys move a filled one. */
function handles(sheet: Sheet, cell: Cell, caliper: Caliper, end: Grip["end"]): Line[] {
  const place = (value: number): [number, number] =>
    caliper.kind === "time" ? [xAt(sheet, cell, value), Math.min(cell.baselineMm + reachOf(sheet), Math.max(cell.baselineMm - reachOf(sheet), yOf(sheet, cell, caliper.across)))] : [xAt(sheet, cell, caliper.across), yOf(sheet, cell, value)];
  return (["a", "b"] as const).flatMap((name) => {
    if (caliper.kind === "time" && !within(caliper[name], cell.first, cell.last)) return [];
    const [x, y] = place(caliper[name]);
    const moved = end === name || end === "both";
    const size = moved ? HANDLE_MM : 0.7 * HANDLE_MM;
    return [{ points: [x - size, y - size, x + size, y - size, x + size, y + size, x - size, y + size, x - size, y - size], color: INK.chosen, widthMm: moved ? 0.6 : 0.25 }];
  });
}

export function caliperScene(sheet: Sheet, calipers: readonly Caliper[], chosen: Caliper | undefined, end: Grip["end"], textOf: (caliper: Caliper) => string): Scene {
  const scene: Scene = { widthMm: sheet.widthMm, heightMm: sheet.heightMm, names: [], lines: [], labels: [] };
  for (const caliper of calipers) {
    const color = caliper === chosen ? INK.chosen : INK.caliper;
    for (const cell of cellsOf(sheet, caliper)) {
      const [lines, labels] = (caliper.kind === "time" ? timeCaliper : voltCaliper)(sheet, cell, caliper, color, textOf(caliper));
      scene.lines.push(...lines, ...(caliper === chosen ? handles(sheet, cell, caliper, end) : []));
      scene.labels.push(...labels);
    }
  }
  return scene;
}

/** What of a caliper lies under a place: one of its ends, or what joins them. */
export function grip(sheet: Sheet, caliper: Caliper, x: number, y: number, reach: number): Grip | undefined {
  for (const cell of cellsOf(sheet, caliper)) {
    const half = reachOf(sheet) + reach;
    if (caliper.kind === "time") {
      if (Math.abs(y - cell.baselineMm) > half) continue;
      const [xa, xb] = [xAt(sheet, cell, caliper.a), xAt(sheet, cell, caliper.b)];
      const end = Math.abs(x - xb) <= Math.abs(x - xa) ? "b" : "a";
      if (Math.min(Math.abs(x - xa), Math.abs(x - xb)) <= reach) return { caliper, end, cell };
      const bar = yOf(sheet, cell, caliper.across);
      if (within(x, Math.min(xa, xb), Math.max(xa, xb)) && Math.abs(y - bar) <= reach) return { caliper, end: "both", cell };
    } else {
      const middle = xAt(sheet, cell, caliper.across);
      const [ya, yb] = [yOf(sheet, cell, caliper.a), yOf(sheet, cell, caliper.b)];
      if (Math.abs(x - middle) > 8 + reach) continue;
      const end = Math.abs(y - yb) <= Math.abs(y - ya) ? "b" : "a";
      if (Math.min(Math.abs(y - ya), Math.abs(y - yb)) <= reach) return { caliper, end, cell };
      if (Math.abs(x - middle) <= reach && within(y, Math.min(ya, yb), Math.max(ya, yb))) return { caliper, end: "both", cell };
    }
  }
  return undefined;
}
