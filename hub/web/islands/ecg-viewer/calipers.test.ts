import { describe, expect, it } from "vitest";
import { type Caliper, intervalMs, marched, peakNear, qtc, rrFor, snapMillivolts, snapSample } from "./calipers";

const caliper = (a: number, b: number, more: Partial<Caliper> = {}): Caliper => ({ kind: "time", lead: "II", a, b, across: 0, march: false, role: "", ...more });
/** Flat but for a spike of 1 mV at 100 and a trough of -0.5 mV at 110. */
const trace = Float64Array.from({ length: 300 }, (_, at) => Math.max(0, 1 - Math.abs(at - 100) / 4) - Math.max(0, 0.5 - Math.abs(at - 110) / 8));

describe("intervals", () => {
  it("are samples over the rate, whichever way they were drawn", () => {
    expect(intervalMs(caliper(100, 500), 500)).toBe(800);
    expect(intervalMs(caliper(500, 100), 500)).toBe(800);
  });
  it("correct QT as the textbook does: 400 ms at RR 640 ms", () => {
    const values = qtc(400, 640);
    expect(values.bazett).toBeCloseTo(500, 6); // 400 / 0.8
    expect(values.fridericia).toBeCloseTo(400 / 0.8617739, 3);
    expect(values.framingham).toBeCloseTo(400 + 154 * 0.36, 6);
    expect(values.hodges).toBeCloseTo(400 + 1.75 * 33.75, 6);
  });
  it("leave QT as it is at 60 beats a minute", () => {
    for (const value of Object.values(qtc(400, 1000))) expect(value).toBeCloseTo(400, 9);
  });
  it("take RR from the caliper so marked, else from the machine", () => {
    expect(rrFor([caliper(0, 400, { role: "rr" })], 500, 900)).toEqual({ ms: 800, byHand: true });
    expect(rrFor([caliper(0, 400)], 500, 900)).toEqual({ ms: 900, byHand: false });
    expect(rrFor([], 500, null)).toBeUndefined();
  });
});

describe("marching", () => {
  it("repeats the interval both ways to the ends of the strip", () => {
    expect(marched(caliper(400, 500), 150, 800)).toEqual([200, 300, 600, 700, 800]);
    expect(marched(caliper(500, 400), 150, 800)).toEqual([200, 300, 600, 700, 800]);
  });
  it("does not fill the strip with an interval of nothing", () => {
    expect(marched(caliper(400, 400), 0, 5000)).toEqual([]);
  });
});

describe("snapping", () => {
  it("takes the nearest detected boundary within reach", () => {
    expect(snapSample(97, [50, 90, 95], trace, 0, 10)).toBe(95);
  });
  it("takes a peak or a trough where nothing was detected", () => {
    expect(snapSample(97, [], trace, 0, 5)).toBe(100);
    expect(snapSample(113, [], trace, 0, 5)).toBe(110);
    expect(peakNear(trace, 200, 10)).toBeUndefined();
  });
  it("else takes the whole sample under the pointer", () => {
    expect(snapSample(200.4, [], trace, 0, 10)).toBe(200);
  });
  it("counts in samples of the recording when only a part of it is here", () => {
    expect(snapSample(1097, [], trace, 1000, 5)).toBe(1100);
  });
  it("finds heights: the peak, the trace, the level where QRS begins", () => {
    const reach = { samples: 8, millivolts: 0.15 };
    expect(snapMillivolts(0.93, 98, [], trace, 0, reach)).toBe(1);
    expect(snapMillivolts(0.05, 96, [92], trace, 0, reach)).toBe(0);
    expect(snapMillivolts(3, 98, [], trace, 0, reach)).toBe(3);
  });
  it("passes over missing samples", () => {
    expect(snapSample(5, [], new Float64Array(20).fill(NaN), 0, 5)).toBe(5);
    expect(snapMillivolts(0.2, 5, [], new Float64Array(20).fill(NaN), 0, { samples: 3, millivolts: 1 })).toBe(0.2);
  });
});
