import { expect, it } from "vitest";
import { lengthBetween, lengthText } from "./measure";
import { type Dataset, displaySets } from "./metadata";

function image(values: Record<string, unknown[]>) {
  const base = { "0020000D": ["1"], "0020000E": ["2"], "00080018": ["3"], "00280010": [512], "00280011": [512], ...values };
  const dataset: Dataset = Object.fromEntries(Object.entries(base).map(([tag, Value]) => [tag, { vr: "UN", Value }]));
  return displaySets([dataset], "")[0]!.images[0]!;
}

it("measures in the patient along a tilted plane: 30 columns of 0.5 mm and 40 rows of 1 mm", () => {
  const [c, s] = [Math.cos(0.4), Math.sin(0.4)];
  const ct = image({ "00080060": ["CT"], "00280030": [1, 0.5], "00200037": [1, 0, 0, 0, c, s], "00200032": [10, 20, 30] });
  const length = lengthBetween(ct, [10, 20, 30], [10 + 15, 20 + 40 * c, 30 + 40 * s]);
  expect(length.value).toBeCloseTo(Math.hypot(15, 40), 9);
  expect(length.basis).toBe("mm_patient");
});

it("says pixels, in pixels, where nothing gives a size, whatever the aspect", () => {
  const plain = image({ "00080060": ["OT"], "00280034": [2, 1] });
  // the renderer's world has rows 2 apart, columns 1 apart
  const length = lengthBetween(plain, [0, 0, 0], [3, 8, 0]);
  expect(length).toEqual({ value: 5, basis: "px_uncalibrated" });
  expect(lengthText(length, "px")).toBe("5 px");
});

it("measures ultrasound by its region, only when both ends lie in it", () => {
  const region = { "00186018": 10, "0018601A": 10, "0018601C": 200, "0018601E": 200, "0018602C": 0.05, "0018602E": 0.05, "00186024": 3, "00186026": 3 };
  const item = Object.fromEntries(Object.entries(region).map(([tag, value]) => [tag, { vr: "UN", Value: [value] }]));
  const us = image({ "00080060": ["US"], "00186011": [item] });
  expect(lengthBetween(us, [20, 20, 0], [50, 60, 0])).toEqual({ value: 25, basis: "mm_calibrated" });
  expect(lengthBetween(us, [5, 20, 0], [35, 60, 0])).toEqual({ value: 50, basis: "px_uncalibrated" });
});

it("says that a detector's millimetres are the detector's", () => {
  const dx = image({ "00080060": ["DX"], "00181164": [0.2, 0.2] });
  const length = lengthBetween(dx, [0, 0, 0], [20, 0, 0]);
  expect(length.basis).toBe("mm_imager");
  expect(length.value).toBeCloseTo(20, 9);
});
