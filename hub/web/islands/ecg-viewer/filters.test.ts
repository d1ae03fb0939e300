import stored from "./filters.golden.json";
import { describe, expect, it } from "vitest";
import { butterworth, filtered, notch, OFF, zeroPhase } from "./filters";

interface Golden {
  rate_hz: number;
  samples: number[];
  cases: { kind: "high" | "low" | "notch"; hz: number; b: number[]; a: number[]; filtered: number[] }[];
}

/** Computed by scipy.signal (tests/ecg/test_display_filters.py). */
const golden = stored as unknown as Golden;
const choice = { high: "highPassHz", low: "lowPassHz", notch: "notchHz" } as const;

describe.each(golden.cases.map((each) => [`${each.kind} ${each.hz} Hz`, each] as const))("as scipy: %s", (_, want) => {
  it("has the same coefficients", () => {
    const section = want.kind === "notch" ? notch(want.hz, golden.rate_hz) : butterworth(want.kind, want.hz, golden.rate_hz);
    section.b.forEach((value, at) => expect(value).toBeCloseTo(want.b[at]!, 11));
    section.a.forEach((value, at) => expect(value).toBeCloseTo(want.a[at]!, 11));
  });
  it("filters to the same microvolt", () => {
    const ours = filtered(Float64Array.from(golden.samples), { ...OFF, [choice[want.kind]]: want.hz }, golden.rate_hz);
    const worst = Math.max(...want.filtered.map((value, at) => Math.abs(value - ours[at]!)));
    expect(worst).toBeLessThan(1e-5);
  });
});

describe("filtering", () => {
  it("moves no wave in time: a symmetric wave stays symmetric", () => {
    const wave = Float64Array.from({ length: 401 }, (_, at) => Math.exp(-(((at - 200) / 6) ** 2)));
    const low = filtered(wave, { ...OFF, lowPassHz: 40 }, 500);
    expect(low.indexOf(Math.max(...low))).toBe(200);
    for (let at = 1; at < 150; at++) expect(low[200 - at]!).toBeCloseTo(low[200 + at]!, 9);
  });
  it("changes nothing when off, and gives the very same samples", () => {
    const samples = Float64Array.from([1, 2, 3]);
    expect(filtered(samples, OFF, 500)).toBe(samples);
  });
  it("leaves gaps as gaps and filters each side for itself", () => {
    const samples = Float64Array.from({ length: 300 }, (_, at) => (at > 99 && at < 150 ? NaN : 1));
    const out = filtered(samples, { ...OFF, lowPassHz: 40 }, 500);
    expect([...out].map(Number.isNaN)).toEqual([...samples].map(Number.isNaN));
    expect(out[99]!).toBeCloseTo(1, 9);
    expect(out[150]!).toBeCloseTo(1, 9);
  });
  it("keeps a single sample between gaps, and does nothing beyond half the rate", () => {
    expect([...zeroPhase(butterworth("low", 40, 500), Float64Array.from([2]), 10)]).toEqual([2]);
    const samples = Float64Array.from([0, 1, 0, 1]);
    expect(filtered(samples, { ...OFF, lowPassHz: 150 }, 250)).toBe(samples);
  });
});
