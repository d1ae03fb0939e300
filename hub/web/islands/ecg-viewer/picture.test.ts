import { describe, expect, it } from "vitest";
import { type Analysis, deviceValue, editOf, inForce, landmarks, rowsOf } from "./analysis";
import { layOut, layoutNamed } from "./layout";
import { toSvg } from "./paint";
import { alignment, deflection, medianOf, medianPicture, rhythm } from "./picture";
import { decode, decodeSamples, samplesOf, type StoredRecording } from "./recording";
import { sceneOf, type Series, tracesOf } from "./scene";
import { START, viewFrom, hashOf, next } from "./view";

const base64 = (values: number[]): string => btoa(String.fromCharCode(...new Uint8Array(Int16Array.from(values).buffer)));
const stored: StoredRecording = {
  source: "s1",
  rate_hz: 500,
  n_samples_total: 5000,
  first_sample: 0,
  n_samples: 5000,
  started_at: null,
  missing: -32768,
  leads: [
    { name: "I", mv_per_unit: 0.005, samples: base64(Array.from({ length: 5000 }, (_, at) => (at === 7 ? -32768 : at % 200))) },
    { name: "II", mv_per_unit: 0.01, samples: base64(Array.from({ length: 5000 }, () => 100)) },
  ],
};
const recording = decode(stored);
const analysis = (beats: number[]): Analysis => ({
  source: "s1",
  engine: "1",
  measurement: { hr_bpm: 75, rr_ms: 800, p_ms: null, pr_ms: null, qrs_ms: 90, qt_ms: 400, qtc_ms: { bazett: 447 }, axes_deg: { qrs: 41 }, st_uv: {}, beats: beats.map((sample) => ({ sample, class: "dominant", global: { qrs_on: sample - 20, p_on: null }, leads: { II: { qrs_on: sample - 15 } } })), reasons: { pr_ms: "no_p_wave" } },
  quality: null,
  hints: [],
  median: null,
  device: { name: "", measurements: [{ name: "qrs_ms", value: 96, unit: "ms", lead: "" }], statements: [], median: null },
  edits: [],
});

describe("samples", () => {
  it("are little-endian 16-bit integers times the lead's unit, gaps where nothing was recorded", () => {
    expect([...decodeSamples(base64([1, -2, 300, -32768]))]).toEqual([1, -2, 300, -32768]);
    expect(recording.leads.get("I")![100]!).toBeCloseTo(0.5, 12);
    expect(recording.leads.get("I")![7]!).toBeNaN();
  });
  it("give the limb leads that were not recorded", () => {
    const [one, two] = [0.5, 1];
    expect(recording.leads.get("III")![100]!).toBeCloseTo(two - one, 12);
    expect(recording.leads.get("aVR")![100]!).toBeCloseTo(-(one + two) / 2, 12);
    expect(recording.leads.get("aVL")![100]!).toBeCloseTo(one - two / 2, 12);
    expect(recording.leads.get("aVF")![100]!).toBeCloseTo(two - one / 2, 12);
    expect(samplesOf(recording.leads, "-aVR")![100]!).toBeCloseTo((one + two) / 2, 12);
    expect(recording.recorded).toEqual(["I", "II"]);
  });
});

describe("traces", () => {
  const sheet = layOut(recording, layoutNamed("12x1"), START);
  const series: Series = { leads: recording.leads, rateHz: 500, firstSample: 0, color: "#000" };
  it("are cut at missing samples", () => {
    const lines = tracesOf(sheet, sheet.cells[0]!, recording.leads.get("I")!, series, 40);
    expect(lines.map((line) => line.length / 2)).toEqual([7, 4992]);
  });
  it("keep every peak when the screen is coarser than the samples", () => {
    const spiky = new Float64Array(5000);
    spiky[1234] = 2;
    spiky[4321] = -1;
    const [coarse] = tracesOf(sheet, sheet.cells[1]!, spiky, series, 2);
    expect(coarse!.length / 2).toBeLessThan(2500);
    const heights = coarse!.filter((_, at) => at % 2 === 1);
    const baseline = sheet.cells[1]!.baselineMm;
    expect(Math.min(...heights)).toBeCloseTo(baseline - 20, 9);
    expect(Math.max(...heights)).toBeCloseTo(baseline + 10, 9);
  });
  it("of hostile samples are drawn as gaps, not as anything else", () => {
    expect(tracesOf(sheet, sheet.cells[0]!, new Float64Array(5000).fill(NaN), series, 4)).toEqual([]);
  });
  it("of a lead that was not recorded are none, and its name is grey", () => {
    const scene = sceneOf(sheet, [series], [], 4);
    expect(scene.names.find((label) => label.text === "V1")!.bold).toBe(false);
    expect(scene.names.find((label) => label.text === "aVF")!.bold).toBe(true);
  });
});

describe("comparison", () => {
  it("lays the nearest beat of the other on the first beat of a cell", () => {
    const cell = layOut(recording, layoutNamed("12x1"), START).cells[0]!;
    expect(alignment(cell, [500, 900], 500, [300, 1100, 1900], 1000)).toBeCloseTo(0.1, 12); // 1.1 s on 1.0 s
    expect(alignment(cell, [], 500, [300], 500)).toBe(0);
  });
  it("is drawn below the ECG that is read", () => {
    const loaded = { examId: "1", name: "", recording, analysis: analysis([500]) };
    const shown = rhythm(loaded, START, { ...loaded, analysis: analysis([600]) });
    expect(shown.series).toHaveLength(2);
    expect(shown.series[1]!.shiftS!(shown.sheet.cells[0]!)).toBeCloseTo(0.2, 12);
  });
});

describe("median beats", () => {
  const beat = (peak: number): Parameters<typeof medianOf>[0] => ({ rate_hz: 500, leads: [{ name: "I", mv_per_unit: 0.001, samples: Array.from({ length: 300 }, (_, at) => (at === peak ? 1000 : 0)) }] });
  it("are aligned on their largest deflection", () => {
    expect(medianOf(beat(120))!.fiducial).toBe(120);
    expect(deflection(new Map([["I", new Float64Array(50)]]), 50)).toBe(0);
    const whole = { ...analysis([]), median: beat(120)!, device: { ...analysis([]).device, median: beat(100)! } };
    const shown = medianPicture({ examId: "1", name: "", recording, analysis: whole }, { ...START, mode: "median" })!;
    expect(shown.series).toHaveLength(2);
    expect(shown.series[1]!.shiftS!(shown.sheet.cells[0]!)).toBeCloseTo(-0.04, 12);
  });
  it("are not shown where there is none", () => {
    expect(medianPicture({ examId: "1", name: "", recording, analysis: analysis([]) }, START)).toBeUndefined();
  });
});

describe("values", () => {
  it("are listed all, with the reason where there is none", () => {
    const rows = rowsOf(analysis([]).measurement);
    expect(rows.map((row) => row.name)).toContain("qtc_hodges_ms");
    expect(rows.find((row) => row.name === "pr_ms")).toEqual({ name: "pr_ms", unit: "ms", value: null, reason: "no_p_wave" });
    expect(rowsOf(null).every((row) => row.value === null)).toBe(true);
    expect(deviceValue(analysis([]), "qrs_ms")!.value).toBe(96);
  });
  it("take the reader's last change; a change to nothing is the machine's again", () => {
    const edit = (value: number | null, at: string) => ({ name: "qt_ms", lead: "", value, was: 400, unit: "ms", by: "x", at, reason: "r" });
    expect(editOf([edit(412, "2026-01-02"), edit(410, "2026-01-01")], "qt_ms")!.value).toBe(412);
    expect(editOf([edit(412, "2026-01-01"), edit(null, "2026-01-02")], "qt_ms")).toBeUndefined();
    expect(editOf([edit(412, "2026-01-01")], "qt_ms", "II")).toBeUndefined();
  });
  it("of a QTc follow a QT that the reader has put right, until the reader sets the QTc too", () => {
    const edit = (name: string, value: number) => ({ name, lead: "", value, was: 400, unit: "ms", by: "x", at: "2026-01-01", reason: "r" });
    const changed = { ...analysis([]), edits: [edit("qt_ms", 420)] };
    expect(inForce(analysis([])).get("qtc_bazett_ms")).toEqual({ value: 447, edited: false, follows: false });
    expect(inForce(changed).get("qtc_bazett_ms")!.value).toBeCloseTo(420 / Math.sqrt(0.8), 9); // 75/min is RR 0.8 s
    expect(inForce({ ...changed, edits: [...changed.edits, edit("qtc_bazett_ms", 455)] }).get("qtc_bazett_ms")).toEqual({ value: 455, edited: true, follows: false });
  });
  it("offer their boundaries to snap to: of all leads and of the lead itself", () => {
    expect(landmarks(analysis([500]).measurement!.beats, "II")).toEqual([480, 485, 500]);
    expect(landmarks(analysis([500]).measurement!.beats, "V1")).toEqual([480, 500]);
  });
});

describe("the printed page", () => {
  it("is an SVG in true millimetres that holds no markup from text", () => {
    const sheet = layOut(recording, layoutNamed("3x4+1"), START);
    const svg = toSvg([sceneOf(sheet, [{ leads: recording.leads, rateHz: 500, firstSample: 0, color: "#000" }], [], 20)], { header: ["<script>alert(1)</script>"], footerLeft: "a&b", footerRight: "25 mm/s" });
    // a lead's name must not hide a wave: all names come before the traces
    expect(svg.lastIndexOf('paint-order="stroke"')).toBeLessThan(svg.indexOf("<g clip-path"));
    const root = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    expect(root.getAttribute("width")).toBe("277mm");
    expect(root.getAttribute("viewBox")!.split(" ").map(Number).slice(0, 3)).toEqual([0, 0, 277]);
    expect(root.querySelector("script")).toBeNull();
    expect(root.querySelector("text")!.textContent).toBe("<script>alert(1)</script>");
  });
});

describe("a view", () => {
  it("travels in the address and comes back as it was", () => {
    const view = { ...START, layout: "6x2", mmPerS: 50, filters: { highPassHz: 0.5, lowPassHz: 40, notchHz: 50 }, calipers: [{ kind: "time" as const, lead: "II", a: 1, b: 2, across: 0.5, march: true, role: "qt" as const }] };
    expect(viewFrom(hashOf(view))).toEqual(view);
  });
  it("from a hostile address is the view a page begins with", () => {
    for (const hash of ["", "#%", "#null", "#[]", `#${encodeURIComponent('{"layout":"x","mmPerS":1e9,"startS":"a","filters":7,"calipers":[{"a":null}]}')}`]) expect(viewFrom(hash)).toEqual(START);
  });
  it("goes round its choices", () => {
    expect([12.5, 25, 50].map((speed) => next([12.5, 25, 50], speed))).toEqual([25, 50, 12.5]);
  });
});
