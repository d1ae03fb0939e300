import { describe, expect, it } from "vitest";
import { type Dataset, displaySets, frameDataset, paletteEntries, personName, spacingOf, ultrasoundRegions } from "./metadata";

const ds = (values: Record<string, unknown[]>): Dataset => Object.fromEntries(Object.entries(values).map(([tag, Value]) => [tag, { vr: "UN", Value }]));
const instance = (values: Record<string, unknown[]>): Dataset =>
  ds({ "0020000D": ["1.1"], "0020000E": ["1.1.1"], "00280010": [4], "00280011": [4], ...values });

describe("what a pixel measures (PS3.3 10.7.1)", () => {
  it("is the patient's for sections", () => {
    expect(spacingOf(ds({ "00080060": ["CT"], "00280030": ["0.5", "0.25"] }))).toEqual({ basis: "patient", rowMm: 0.5, columnMm: 0.25 });
  });
  it.each([
    ["equal to the detector's", { "00280030": [0.1, 0.1], "00181164": [0.1, 0.1] }, "detector"],
    ["differing from the detector's", { "00280030": [0.08, 0.08], "00181164": [0.1, 0.1] }, "calibrated"],
    ["with a calibration type", { "00280030": [0.1, 0.1], "00181164": [0.1, 0.1], "00280A02": ["FIDUCIAL"] }, "calibrated"],
    ["alone", { "00280030": [0.1, 0.1] }, "projection"],
    ["only the detector's", { "00181164": [0.1, 0.1] }, "detector"],
    ["zero, which is no spacing", { "00280030": [0, 0] }, "none"],
    ["not a number", { "00280030": ["", ""] }, "none"],
    ["absent", {}, "none"],
  ])("of a projection: %s", (_name, values, basis) => {
    expect(spacingOf(ds({ "00080060": ["DX"], ...values })).basis).toBe(basis);
  });
  it("keeps the aspect of pixels that have no size", () => {
    expect(spacingOf(ds({ "00280034": ["2", "1"] }))).toEqual({ basis: "none", rowMm: 2, columnMm: 1 });
  });
});

describe("stacks of a study", () => {
  it("orders by series and instance number, as numbers, and leaves out what is no picture", () => {
    const sets = displaySets(
      [
        instance({ "0020000E": ["1.2"], "00200011": ["10"], "00080018": ["b"], "00200013": ["1"] }),
        instance({ "00200011": ["9"], "00080018": ["d"], "00200013": ["10"] }),
        instance({ "00200011": ["9"], "00080018": ["c"], "00200013": ["2"] }),
        ds({ "0020000E": ["1.9"], "00080018": ["report"] }),
      ],
      "/dicom-web",
    );
    expect(sets.map((set) => set.images.map((image) => image.sopUid))).toEqual([["c", "d"], ["b"]]);
    expect(sets[0]!.images[0]!.imageId).toBe("wadors:/dicom-web/studies/1.1/series/1.1.1/instances/c/frames/1");
  });
  it("gives each multi-frame instance its own stack, with its own speed", () => {
    const sets = displaySets([instance({ "00080018": ["loop"], "00280008": ["3"], "00181063": ["40"] }), instance({ "00080018": ["still"] })], "");
    expect(sets.map((set) => [set.multiframe, set.images.length])).toEqual([[false, 1], [true, 3]]);
    expect(sets[1]!.framesPerSecond).toBe(25);
    expect(sets[1]!.images.map((image) => image.frame)).toEqual([1, 2, 3]);
  });
});

it("lays the functional groups of a frame flat, its own over the shared ones", () => {
  const group = (tag: string, values: Record<string, unknown[]>): Record<string, unknown[]> => ({ [tag]: [ds(values)] });
  const enhanced = ds({
    "00280008": [2],
    "52009229": [ds({ ...group("00289110", { "00280030": [0.7, 0.7] }), ...group("00289132", { "00281050": [40] }) })],
    "52009230": [ds(group("00289132", { "00281050": [1] })), ds(group("00289132", { "00281050": [2] }))],
  });
  const second = frameDataset(enhanced, 2);
  expect(second["00281050"]?.Value).toEqual([2]);
  expect(second["00280030"]?.Value).toEqual([0.7, 0.7]);
  expect(second["52009230"]).toBeUndefined();
});

it("takes only ultrasound regions in centimetres both ways", () => {
  const region = (units: number): Dataset =>
    ds({ "00186018": [0], "0018601A": [0], "0018601C": [99], "0018601E": [99], "0018602C": [-0.01], "0018602E": [0.02], "00186024": [units], "00186026": [units] });
  expect(ultrasoundRegions(ds({ "00186011": [region(3), region(4)] }))).toEqual([{ minX: 0, minY: 0, maxX: 99, maxY: 99, deltaX: 0.01, deltaY: 0.02 }]);
});

it("reads colour tables as little-endian words, or bytes when the descriptor says so", () => {
  expect(paletteEntries(Uint8Array.of(0, 255, 1, 2), [2, 0, 16])).toEqual([0xff00, 0x0201]);
  expect(paletteEntries(Uint8Array.of(7, 8), [2, 0, 8])).toEqual([7, 8]);
});

it.each([
  [{ Alphabetic: "Wang^XiaoDong", Ideographic: "王^小东" }, "王小东"],
  [{ Alphabetic: "Yamada^Tarou" }, "Yamada Tarou"],
  [undefined, ""],
])("names a person %j", (value, shown) => {
  expect(personName(value ? ds({ "00100010": [value] }) : {})).toBe(shown);
});
