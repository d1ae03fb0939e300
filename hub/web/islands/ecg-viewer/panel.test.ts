import { describe, expect, it } from "vitest";
import { fill, type Words } from "../texts";
import { numberText } from "./panel";

const table: Record<string, string> = {
  "number.einthoven_mv": "II differs from I + III by {value} mV",
  "number.bpm": "{value}/min",
  "number.limit_assumed": "sex or age unknown",
  "number.limit": "limit: {number}",
  "number.lead_mv": "{lead} {value} mV",
  "number.lead_ms": "{lead} {value} ms",
  "number.reciprocal_mv": "{lead} reciprocal {value} mV",
};
const t: Words = (key, values) => fill(table[key] ?? `⟦${key}⟧`, values);

describe("the numbers of findings and hints", () => {
  it.each([
    ["einthoven_mv", 0.404, "II differs from I + III by 0.4 mV"],
    ["limit_bpm", 150, "limit: 150/min"],
    ["limit_assumed", 1, "sex or age unknown"],
    ["V1_ms", 78.04, "V1 78 ms"],
    ["aVF_mv", 0.15, "aVF 0.15 mV"],
    ["limit_V3R_mv", 0.05, "limit: V3R 0.05 mV"],
    ["reciprocal_III_mv", -0.06, "III reciprocal -0.06 mV"],
    ["other_mv", 0.3, "other_mv 0.3"],
  ])("says %s in words", (name, value, text) => expect(numberText(t, name, value)).toBe(text));
});
