import stored from "./paper.golden.json";
import { describe, expect, it } from "vitest";
import { cellAt, inCabreraOrder, lastStart, layOut, layOutMedian, layoutNamed, LAYOUTS, pulse, secondsAt, shownSeconds, singleLead, undrawn, xOf, yOf } from "./layout";

interface Case {
  layout: string;
  cabrera: boolean;
  rate_hz: number;
  n_samples: number;
  start_s: number;
  mm_per_s: number;
  mm_per_mv: number;
  width_mm: number;
  height_mm: number;
  pulses: [number, number][][];
  cells: { lead: string; x_mm: number; baseline_mm: number; width_mm: number; label_mm: number; points: number; first: [number, number] | null; last: [number, number] | null }[];
}

/** Written by hub/ecg/paper.py, which draws the printed sheet. */
const golden = stored as unknown as Case[];
const plain = { startS: 0, mmPerS: 25, mmPerMv: 10 };
const tenSeconds = { rateHz: 500, totalSamples: 5000 };

describe("the worked scale of DICOM PS3.3 C.10.9.1.8", () => {
  it("puts samples of 400 Hz 25 / 400 mm apart, which at 4.1 px/mm is 0.25625 px", () => {
    const sheet = layOut({ rateHz: 400, totalSamples: 4000 }, layoutNamed("12x1"), plain);
    const cell = sheet.cells[0]!;
    expect((xOf(sheet, cell, 1 / 400) - xOf(sheet, cell, 0)) * 4.1).toBeCloseTo(0.25625, 10);
  });
  it("makes 1 s 25 mm and 1 mV 10 mm", () => {
    const sheet = layOut(tenSeconds, layoutNamed("3x4+1"), plain);
    const strip = sheet.cells.at(-1)!;
    expect(xOf(sheet, strip, 1) - xOf(sheet, strip, 0)).toBeCloseTo(25, 10);
    expect(yOf(sheet, strip, 0) - yOf(sheet, strip, 1)).toBeCloseTo(10, 10);
  });
  it("draws the pulse 10 mm high and 5 mm wide", () => {
    const points = pulse(20, 10);
    expect(points[1]! - points[5]!).toBe(10);
    expect(points[6]! - points[4]!).toBe(5);
  });
});

describe.each(golden.map((each) => [`${each.layout}${each.cabrera ? " Cabrera" : ""} ${each.rate_hz} Hz ${each.mm_per_s} mm/s ${each.mm_per_mv} mm/mV`, each] as const))("as the server's sheet: %s", (_, want) => {
  const arrangement = want.cabrera ? inCabreraOrder(layoutNamed(want.layout)) : layoutNamed(want.layout);
  const sheet = layOut({ rateHz: want.rate_hz, totalSamples: want.n_samples }, arrangement, { startS: want.start_s, mmPerS: want.mm_per_s, mmPerMv: want.mm_per_mv }, (lead) => {
    const high = (want.n_samples - 1) / 1000;
    return lead === "-aVR" ? [-high, 0] : [0, high];
  });
  it("has the same extents and pulses", () => {
    expect([sheet.widthMm, sheet.heightMm]).toEqual([want.width_mm, want.height_mm]);
    expect(sheet.pulses.map((baseline) => pulse(baseline, sheet.mmPerMv))).toEqual(want.pulses.map((each) => each.flat()));
  });
  it("has every lead in the same place with the same samples", () => {
    expect(sheet.cells.map((cell) => cell.lead)).toEqual(want.cells.map((cell) => cell.lead));
    for (const [at, cell] of sheet.cells.entries()) {
      const wanted = want.cells[at]!;
      for (const [ours, theirs] of [[cell.xMm, wanted.x_mm], [cell.baselineMm, wanted.baseline_mm], [cell.widthMm, wanted.width_mm], [cell.labelMm, wanted.label_mm]] as const) expect(ours).toBeCloseTo(theirs, 2);
      expect(Math.max(0, cell.last - cell.first + 1)).toBe(wanted.points);
      // the golden ramp rises 1 uV a sample in every lead, -aVR falls
      const place = (sample: number): [number, number] => [xOf(sheet, cell, sample / want.rate_hz), yOf(sheet, cell, ((cell.lead === "-aVR" ? -1 : 1) * sample) / 1000)];
      for (const [sample, wantedPlace] of [[cell.first, wanted.first], [cell.last, wanted.last]] as const) {
        if (wantedPlace) place(sample).forEach((value, axis) => expect(value).toBeCloseTo(wantedPlace[axis]!, 2));
      }
    }
  });
});

describe("room for tall waves", () => {
  const sheetFor = (name: string, reach: Record<string, [number, number]>, mmPerMv = 10) => layOut(tenSeconds, layoutNamed(name), { ...plain, mmPerMv }, (lead) => reach[lead]);
  const edgesOf = (sheet: ReturnType<typeof layOut>): [number, number] => [sheet.cells[0]!.baselineMm, sheet.heightMm - sheet.cells.at(-1)!.baselineMm];
  it("leaves the sheet as it is when they fit", () => {
    expect(edgesOf(sheetFor("3x4+1", { V4: [-0.5, 1.8], II: [-1.8, 1] }))).toEqual([20, 20]);
  });
  it("moves the rows down for an R wave of 3.1 mV in V4, on paper of the same height", () => {
    const sheet = sheetFor("3x4+1", { V4: [-0.5, 3.1] });
    expect([...edgesOf(sheet), sheet.heightMm, sheet.cut]).toEqual([35, 10, 150, false]);
    expect(edgesOf(sheetFor("3x4+1", { V4: [-0.5, 2.7] }))).toEqual([30, 10]);
  });
  it("counts the rows between: the same wave in V5 or V6 needs none", () => {
    for (const lead of ["V5", "V6"]) expect(edgesOf(sheetFor("3x4+1", { [lead]: [-0.5, 3.1] }))).toEqual([20, 20]);
  });
  it("makes room below for a deep wave in the last row", () => {
    expect(edgesOf(sheetFor("6x2", { V6: [-2.2, 0.5] }))).toEqual([20, 25]);
  });
  it("keeps the pulse of 20 mm/mV off the edge", () => {
    expect(edgesOf(sheetFor("6x2", {}, 20))).toEqual([25, 15]);
  });
  it("grows no higher than A4 holds, and says so", () => {
    const sheet = sheetFor("12x1", { I: [-1, 9] });
    expect([sheet.heightMm, sheet.cut]).toEqual([150, true]);
  });
});

describe("what the reader moves", () => {
  it("shows a recording longer than the sheet from any moment, and never past its end", () => {
    expect(shownSeconds(60, 25)).toBe(10);
    expect(shownSeconds(60, 50)).toBe(5);
    expect(lastStart({ rateHz: 500, totalSamples: 30000 }, 10)).toBe(50);
    expect(lastStart(tenSeconds, 10)).toBe(0);
  });
  it("enlarges one lead on half the paper", () => {
    const sheet = layOut(tenSeconds, singleLead("V2"), plain);
    expect([sheet.widthMm, sheet.heightMm, sheet.shownS]).toEqual([140, 60, 5]);
  });
  it("finds the lead under the pointer, and its time", () => {
    const sheet = layOut(tenSeconds, layoutNamed("3x4+1"), plain);
    const cell = cellAt(sheet, 10 + 62.5 + 25, 58)!;
    expect(cell.lead).toBe("aVL");
    expect(secondsAt(sheet, cell, 10 + 62.5 + 25)).toBeCloseTo(3.5, 10);
    expect(cellAt(sheet, 2, 58)).toBeUndefined();
  });
  it("names leads without a place", () => {
    expect(undrawn(layoutNamed("6x2"), ["I", "aVR", "V7"])).toEqual(["V7"]);
    expect(undrawn(inCabreraOrder(layoutNamed("6x2")), ["aVR"])).toEqual([]);
  });
  it("gives each median beat a cell of its own, or one cell for all", () => {
    const extent = { rateHz: 500, totalSamples: 400 };
    const leads = LAYOUTS[3]!.rows.flat();
    const apart = layOutMedian(extent, leads, 50, 10, false);
    expect(apart.cells).toHaveLength(12);
    expect(new Set(apart.cells.map((cell) => `${cell.xMm} ${cell.baselineMm}`)).size).toBe(12);
    expect(apart.cells.every((cell) => cell.widthMm === 40 && cell.xMm + cell.widthMm <= apart.widthMm)).toBe(true);
    expect(layOutMedian(extent, leads, 50, 10, true).cells[0]!.overlay).toEqual(leads);
  });
});
