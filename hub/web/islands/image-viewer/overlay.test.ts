import { describe, expect, it } from "vitest";
import { fill } from "../texts";
import { moved, openingSet, presetsFor, rangeOf, secondPane, storedWindow, windowOf } from "./layout";
import { type Dataset, displaySets } from "./metadata";
import { ageText, directionLetters, examTime, orientationMarkers, overlayTexts } from "./overlay";

const t = (key: string, values?: Record<string, string | number>): string => fill(`${key}${values ? ":" + JSON.stringify(values) : ""}`);
const ds = (values: Record<string, unknown[]>): Dataset => Object.fromEntries(Object.entries(values).map(([tag, Value]) => [tag, { vr: "UN", Value }]));

describe("letters at the edges", () => {
  it("of an axial section seen from the feet: the patient's right is on the left", () => {
    expect(orientationMarkers(ds({ "00200037": [1, 0, 0, 0, 1, 0] }))).toEqual({ left: "R", right: "L", top: "A", bottom: "P" });
  });
  it("of a sagittal and a coronal section", () => {
    expect(orientationMarkers(ds({ "00200037": [0, 1, 0, 0, 0, -1] }))).toEqual({ left: "A", right: "P", top: "H", bottom: "F" });
    expect(orientationMarkers(ds({ "00200037": [1, 0, 0, 0, 0, -1] }))).toEqual({ left: "R", right: "L", top: "H", bottom: "F" });
  });
  it("of a projection that states them, and of one that does not", () => {
    expect(orientationMarkers(ds({ "00200020": ["L", "F"] }))).toEqual({ left: "R", right: "L", top: "H", bottom: "F" });
    expect(orientationMarkers(ds({ "00200020": ["", ""] }))).toBeUndefined();
    expect(orientationMarkers(ds({ "00200020": ["LEFT", "F"] }))).toBeUndefined();
    expect(orientationMarkers({})).toBeUndefined();
  });
  it("names the stronger direction first", () => {
    expect(directionLetters([0, -0.9, 0.43])).toBe("AH");
  });
});

describe("windows (PS3.3 C.11.2.1.2.1)", () => {
  it("spans the grey values of a linear window", () => {
    expect(rangeOf({ width: 100, center: 50 })).toEqual({ lower: 0, upper: 99 });
    expect(windowOf({ lower: 0, upper: 99 })).toEqual({ width: 100, center: 50 });
    expect(windowOf(rangeOf({ width: 1, center: 0.5 }))).toEqual({ width: 1, center: 0.5 });
  });
  it("takes the file's first window, and none that is not one", () => {
    expect(storedWindow(ds({ "00281050": ["40", "400"], "00281051": ["80", "2000"] }))).toEqual({ width: 80, center: 40 });
    expect(storedWindow(ds({ "00281050": [40], "00281051": [0] }))).toBeUndefined();
  });
  it("offers Hounsfield presets for CT alone", () => {
    expect(presetsFor("CT").length).toBeGreaterThan(4);
    expect(presetsFor("MR")).toEqual([]);
  });
});

describe("panes", () => {
  const set = (modality: string, count: number) => ({ modality, images: Array.from({ length: count }) });
  it("opens with the first real series, not the scout", () => {
    const [scout, axial] = [set("CT", 1), set("CT", 28)];
    expect(openingSet([scout, axial])).toBe(axial);
    expect(openingSet([scout])).toBe(scout);
    expect(openingSet([set("MR", 20), scout, axial], "CT")).toBe(axial);
    expect(openingSet([])).toBeUndefined();
  });
  it("shows the lateral view beside the frontal one", () => {
    expect(secondPane(1, 0, 2)).toEqual({ set: 0, image: 1 });
    expect(secondPane(3, 2, 9)).toEqual({ set: 0, image: 0 });
  });
  it("does not scroll out of the stack", () => {
    expect([moved(0, -1, 5), moved(4, 1, 5), moved(2, 10, 5)]).toEqual([0, 4, 4]);
  });
});

it("says who, where, when, which and how in the corners", () => {
  const set = displaySets(
    [ds({ "0020000D": ["1"], "0020000E": ["2"], "00080018": ["3"], "00280010": [4], "00280011": [4], "00100010": [{ Alphabetic: "Li^Si" }], "00100040": ["F"], "00101010": ["045Y"], "00080080": ["XJZ"], "00080020": ["20260102"], "00080030": ["030405.123"], "00080060": ["CT"], "00200011": [7], "00282110": ["01"], "00282112": [10.04] })],
    "",
  )[0]!;
  const corners = overlayTexts(set, set.images[0]!, { index: 0, window: { width: 80, center: 40 }, zoom: 1.5 }, t);
  expect(corners.tl).toBe('Li Si  sex_F  age_Y:{"n":45}');
  expect(corners.tr).toBe("XJZ\n2026-01-02 03:04:05\nCT");
  expect(corners.bl).toContain('image_of:{"n":1,"total":1}');
  expect(corners.bl).toContain("10:1");
  expect(corners.br).toBe('window:{"width":"80","center":"40"}\nzoom_level:{"percent":150}');
});

it("leaves odd dates and ages as they came", () => {
  expect(examTime("2026.1.2", "")).toBe("2026.1.2");
  expect(examTime("20260102", "0304")).toBe("2026-01-02 03:04");
  expect(ageText("45", t)).toBe("45");
});
