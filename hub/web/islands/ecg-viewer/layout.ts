/**
 * Where everything of an ECG sheet stands, in millimetres. Pure: no DOM, no colours.
 *
 * The rules are those of `hub/ecg/paper.py`, which draws the sheets of the server; `paper.test.json`,
 * written by it, is held against both. Origin: top left corner of the grid, x to the right, y down.
 */

export interface Layout {
  name: string;
  /** Lead names by row; the leads of a row follow each other in time, column by column. */
  rows: readonly (readonly string[])[];
  /** Leads drawn below over the whole width. */
  strips: readonly string[];
  /** Distance of two baselines. */
  rowMm: number;
  traceMm: number;
  /** From the upper edge to the first baseline, and from the last one to the lower edge, as far as traces fit. */
  edgeMm: number;
}

export interface Cell {
  lead: string;
  xMm: number;
  baselineMm: number;
  widthMm: number;
  labelMm: number;
  /** Which stretch of the recording it shows. */
  fromS: number;
  toS: number;
  /** First and last sample drawn; `last < first` when there is none. */
  first: number;
  last: number;
  /** Leads drawn over one another in place of one. */
  overlay?: readonly string[];
}

export interface Sheet {
  layout: Layout;
  widthMm: number;
  heightMm: number;
  mmPerS: number;
  mmPerMv: number;
  rateHz: number;
  startS: number;
  shownS: number;
  /** Heights of the baselines that carry a calibration pulse. */
  pulses: readonly number[];
  cells: readonly Cell[];
  /** Whether a trace leaves the paper, which would have to be higher than it may be. */
  cut: boolean;
}

export interface Extent {
  rateHz: number;
  totalSamples: number;
}

/** Lowest and highest millivolt of a lead; nothing where it has no samples. */
export type Reach = (lead: string) => readonly [number, number] | undefined;

export interface Scale {
  startS: number;
  mmPerS: number;
  mmPerMv: number;
}

export const STANDARD_LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"] as const;
export const SPEEDS = [12.5, 25, 50] as const;
export const GAINS = [5, 10, 20] as const;
export const TRACE_LEFT_MM = 10;
const RIGHT_MM = 5;
const TRACE_MM = 250;
const SINGLE_TRACE_MM = 125;
const EDGE_MM = 20;
const LEAST_BELOW_MM = 10;
const CLEAR_MM = 2;
/** A taller grid would not go on A4 across under six lines of text. */
const MOST_HEIGHT_MM = 150;
const PULSE_MM = 5;
const PULSE_MV = 1;
const LABEL_SHARE = 0.36;
const NEARLY = 0.9;
const SHORTEST = 0.1;

const THREE_BY_FOUR = [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]];
const SIX_BY_TWO = [["I", "V1"], ["II", "V2"], ["III", "V3"], ["aVR", "V4"], ["aVL", "V5"], ["aVF", "V6"]];
const CABRERA: Record<string, string> = { I: "aVL", II: "I", III: "-aVR", aVR: "II", aVL: "aVF", aVF: "III" };

function layout(name: string, rows: string[][], strips: string[], rowMm: number): Layout {
  return { name, rows, strips, rowMm, traceMm: TRACE_MM, edgeMm: EDGE_MM };
}

export const LAYOUTS: readonly Layout[] = [
  layout("3x4+1", THREE_BY_FOUR, ["II"], 35),
  layout("3x4+3", THREE_BY_FOUR, ["V1", "II", "V5"], 20),
  layout("6x2", SIX_BY_TWO, [], 20),
  layout("12x1", STANDARD_LEADS.map((lead) => [lead]), [], 10),
];

/** The arrangement of that name, the first when there is none. */
export function layoutNamed(name: string): Layout {
  return LAYOUTS.find((each) => each.name === name) ?? (LAYOUTS[0] as Layout);
}

/** One lead alone on a small sheet, which a screen shows the larger. */
export function singleLead(lead: string): Layout {
  return { name: lead, rows: [[lead]], strips: [], rowMm: 35, traceMm: SINGLE_TRACE_MM, edgeMm: 30 };
}

/** The limb leads in Cabrera's order: aVL, I, -aVR, II, aVF, III. Strips stay as they are. */
export function inCabreraOrder(plain: Layout): Layout {
  return { ...plain, rows: plain.rows.map((row) => row.map((lead) => CABRERA[lead] ?? lead)) };
}

/** Leads the arrangement has no place for. */
export function undrawn(arrangement: Layout, recorded: readonly string[]): string[] {
  const drawn = new Set([...arrangement.rows.flat(), ...arrangement.strips].map((lead) => lead.replace(/^-/, "")));
  return recorded.filter((lead) => !drawn.has(lead));
}

/** How much time a sheet shows; a recording too short to fill it gives narrower columns. */
export function shownSeconds(durationS: number, mmPerS: number, traceMm = TRACE_MM): number {
  const full = traceMm / mmPerS;
  return durationS >= NEARLY * full ? full : Math.max(durationS, SHORTEST * full);
}

/** The latest moment a sheet may begin with, so that it is full to its right edge. */
export function lastStart(extent: Extent, shownS: number): number {
  return Math.max(0, extent.totalSamples / extent.rateHz - shownS);
}

const upToFive = (length: number): number => Math.ceil(length / 5 - 1e-9) * 5;

/** The room above the first baseline and below the last one: no trace is cut as long as the paper can be that high. */
function edges({ rows, strips, rowMm, edgeMm }: Layout, mmPerMv: number, reach: Reach): { aboveMm: number; belowMm: number; cut: boolean } {
  const lines = [...rows, ...strips.map((lead) => [lead])];
  let [upMm, downMm] = [PULSE_MV * mmPerMv, 0];
  for (const [place, line] of lines.entries()) {
    for (const lead of line) {
      const [low, high] = reach(lead) ?? [0, 0];
      upMm = Math.max(upMm, high * mmPerMv - place * rowMm);
      downMm = Math.max(downMm, -low * mmPerMv - (lines.length - 1 - place) * rowMm);
    }
  }
  const above = Math.max(edgeMm, upToFive(upMm + CLEAR_MM));
  const below = Math.max(LEAST_BELOW_MM, upToFive(downMm + CLEAR_MM));
  if (above + below <= 2 * edgeMm) return { aboveMm: above, belowMm: 2 * edgeMm - above, cut: false };
  const most = MOST_HEIGHT_MM - (lines.length - 1) * rowMm;
  const belowMm = Math.max(LEAST_BELOW_MM, below - Math.max(0, above + below - most));
  const aboveMm = Math.min(above, most - belowMm);
  return { aboveMm, belowMm, cut: upMm > aboveMm || downMm > belowMm };
}

export function layOut(extent: Extent, arrangement: Layout, { startS, mmPerS, mmPerMv }: Scale, reach: Reach = () => undefined): Sheet {
  const { rateHz, totalSamples } = extent;
  const shownS = shownSeconds(totalSamples / rateHz, mmPerS, arrangement.traceMm);
  const columnS = shownS / Math.max(...arrangement.rows.map((row) => row.length));
  const { rowMm } = arrangement;
  const { aboveMm, belowMm, cut } = edges(arrangement, mmPerMv, reach);
  const cellOf = (lead: string, xMm: number, baselineMm: number, fromS: number, lengthS: number): Cell => ({
    lead,
    xMm,
    baselineMm,
    widthMm: lengthS * mmPerS,
    labelMm: baselineMm - LABEL_SHARE * rowMm,
    fromS,
    toS: fromS + lengthS,
    first: Math.max(0, Math.ceil(fromS * rateHz - 1e-6)),
    last: Math.min(totalSamples - 1, Math.floor((fromS + lengthS) * rateHz + 1e-6)),
  });
  const baselines = [...arrangement.rows, ...arrangement.strips].map((_, row) => aboveMm + row * rowMm);
  const cells = arrangement.rows.flatMap((row, at) =>
    row.map((lead, column) => cellOf(lead, TRACE_LEFT_MM + column * columnS * mmPerS, baselines[at] ?? 0, startS + column * columnS, columnS)),
  );
  for (const [at, lead] of arrangement.strips.entries()) cells.push(cellOf(lead, TRACE_LEFT_MM, baselines[arrangement.rows.length + at] ?? 0, startS, shownS));
  return {
    layout: arrangement,
    widthMm: upToFive(TRACE_LEFT_MM + shownS * mmPerS + RIGHT_MM),
    heightMm: upToFive((baselines.at(-1) ?? 0) + belowMm),
    mmPerS,
    mmPerMv,
    rateHz,
    startS,
    shownS,
    // in rows closer than a pulse is high, pulses would run into each other: one says it all
    pulses: rowMm > 1.2 * PULSE_MV * mmPerMv ? baselines : baselines.slice(0, 1),
    cells,
    cut,
  };
}

/** The 1 mV pulse, 5 mm wide, as x and y in turn; flat up to where the trace begins. */
export function pulse(baselineMm: number, mmPerMv: number): number[] {
  const left = (TRACE_LEFT_MM - PULSE_MM) / 2;
  const top = baselineMm - PULSE_MV * mmPerMv;
  return [left - 2, baselineMm, left, baselineMm, left, top, left + PULSE_MM, top, left + PULSE_MM, baselineMm, left + PULSE_MM + 2, baselineMm];
}

export const xOf = (sheet: Sheet, cell: Cell, seconds: number): number => cell.xMm + (seconds - cell.fromS) * sheet.mmPerS;
export const yOf = (sheet: Sheet, cell: Cell, millivolts: number): number => cell.baselineMm - millivolts * sheet.mmPerMv;
export const secondsAt = (sheet: Sheet, cell: Cell, xMm: number): number => cell.fromS + (xMm - cell.xMm) / sheet.mmPerS;
export const millivoltsAt = (sheet: Sheet, cell: Cell, yMm: number): number => (cell.baselineMm - yMm) / sheet.mmPerMv;

/** The cell a place on the paper belongs to: of those in its column, the one with the nearest baseline. */
export function cellAt(sheet: Sheet, xMm: number, yMm: number): Cell | undefined {
  let best: Cell | undefined;
  for (const cell of sheet.cells) {
    if (xMm < cell.xMm || xMm > cell.xMm + cell.widthMm) continue;
    if (!best || Math.abs(cell.baselineMm - yMm) < Math.abs(best.baselineMm - yMm)) best = cell;
  }
  return best;
}

const MEDIAN_GAP_MM = 8;

/**
 * A median beat of every lead, in three rows of four, or all superimposed in one cell. The calibration
 * pulse stands at the left as on any sheet.
 */
export function layOutMedian(extent: Extent, leads: readonly string[], mmPerS: number, mmPerMv: number, superimposed: boolean): Sheet {
  const lengthS = extent.totalSamples / extent.rateHz;
  const widthMm = lengthS * mmPerS;
  const columns = superimposed ? 1 : Math.ceil(leads.length / 3);
  const rowMm = superimposed ? 40 + 1.5 * mmPerMv : 15 + 1.5 * mmPerMv;
  const cellOf = (lead: string, at: number): Cell => {
    const baselineMm = Math.round((rowMm / 2 + 5 + (at % 3) * rowMm) / 5) * 5;
    return {
      lead,
      xMm: TRACE_LEFT_MM + Math.floor(at / 3) * (widthMm + MEDIAN_GAP_MM),
      baselineMm,
      widthMm,
      labelMm: baselineMm - LABEL_SHARE * rowMm,
      fromS: 0,
      toS: lengthS,
      first: 0,
      last: extent.totalSamples - 1,
    };
  };
  const cells = superimposed ? [{ ...cellOf("", 0), overlay: leads }] : leads.map(cellOf);
  const rows = superimposed ? [[...leads]] : [0, 1, 2].map((row) => leads.filter((_, at) => at % 3 === row));
  const baselines = [...new Set(cells.map((cell) => cell.baselineMm))];
  return {
    layout: { name: "median", rows, strips: [], rowMm, traceMm: widthMm, edgeMm: EDGE_MM },
    widthMm: upToFive(TRACE_LEFT_MM + columns * (widthMm + MEDIAN_GAP_MM) + (superimposed ? 6 : 0)),
    heightMm: upToFive((baselines.at(-1) ?? 0) + rowMm / 2),
    mmPerS,
    mmPerMv,
    rateHz: extent.rateHz,
    startS: 0,
    shownS: lengthS,
    pulses: baselines,
    cells,
    cut: false,
  };
}
