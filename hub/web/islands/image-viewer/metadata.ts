/** DICOM JSON (PS3.18 Annex F) in, what the viewer needs to know out. No DOM, no network. */

export interface JsonElement {
  vr: string;
  Value?: unknown[];
  BulkDataURI?: string;
  InlineBinary?: string;
}
export type Dataset = Record<string, JsonElement>;
export type Vector = readonly [number, number, number];

const SHARED_GROUPS = "52009229";
const PER_FRAME_GROUPS = "52009230";
/** Functional groups whose attributes describe how one frame is shown (PS3.3 C.7.6.16). */
const FRAME_MACROS = ["00209111", "00209113", "00209116", "00289110", "00289132", "00289145"];

/** One picture that can be put on the screen: an instance, or one frame of it. */
export interface ImageInfo {
  imageId: string;
  studyUid: string;
  seriesUid: string;
  sopUid: string;
  /** 1-based frame number within the instance. */
  frame: number;
  /** The frame's own dataset, functional groups laid flat; what the renderer is given. */
  dataset: Dataset;
  spacing: Spacing;
  regions: UltrasoundRegion[];
}

/** What the picture's pixels measure. `rowMm` is the distance between rows, `columnMm` between columns. */
export interface Spacing {
  basis: "patient" | "calibrated" | "detector" | "projection" | "none";
  rowMm: number;
  columnMm: number;
}

/** One region of an ultrasound picture with its own scale (PS3.3 C.8.5.5). Bounds in pixels, inclusive. */
export interface UltrasoundRegion {
  minX: number;
  minY: number;
  maxX: number;
  maxY: number;
  /** Centimetres per pixel. */
  deltaX: number;
  deltaY: number;
}

/** One stack of the rail: the single pictures of a series together, each multi-frame instance alone. */
export interface DisplaySet {
  key: string;
  seriesUid: string;
  seriesNumber: string;
  description: string;
  modality: string;
  images: ImageInfo[];
  multiframe: boolean;
  framesPerSecond: number;
}

/** First value of an attribute, or nothing. */
export function first(dataset: Dataset | undefined, tag: string): unknown {
  return dataset?.[tag]?.Value?.[0];
}

export function text(dataset: Dataset | undefined, tag: string): string {
  const value = first(dataset, tag);
  return value === undefined || value === null || typeof value === "object" ? "" : String(value).trim();
}

/** All values as numbers; an attribute that is absent or not numeric gives an empty list. */
export function numbers(dataset: Dataset | undefined, tag: string): number[] {
  const values = (dataset?.[tag]?.Value ?? []).map((value) => (value === null || value === "" ? NaN : Number(value)));
  return values.every(Number.isFinite) ? values : [];
}

export function number(dataset: Dataset | undefined, tag: string): number | undefined {
  return numbers(dataset, tag)[0];
}

/** A person's name: the ideographic group where there is one, else the alphabetic, carets as spaces. */
export function personName(dataset: Dataset, tag = "00100010"): string {
  const value = first(dataset, tag);
  const groups = (typeof value === "object" && value !== null ? value : { Alphabetic: value }) as Record<string, unknown>;
  const chosen = [groups["Ideographic"], groups["Alphabetic"], groups["Phonetic"]].find((group) => typeof group === "string" && group.trim());
  const parts = String(chosen ?? "").split("^").map((part) => part.trim()).filter(Boolean);
  const ideographic = parts.every((part) => /^[\p{Script=Han}·]+$/u.test(part));
  return parts.join(ideographic ? "" : " ");
}

function items(dataset: Dataset | undefined, tag: string): Dataset[] {
  return (dataset?.[tag]?.Value ?? []) as Dataset[];
}

/** The dataset of one frame: what its functional groups say laid over what the instance says. */
export function frameDataset(instance: Dataset, frame: number): Dataset {
  const flat: Dataset = { ...instance };
  for (const group of [items(instance, SHARED_GROUPS)[0], items(instance, PER_FRAME_GROUPS)[frame - 1]]) {
    for (const macro of FRAME_MACROS) Object.assign(flat, items(group, macro)[0]);
  }
  delete flat[SHARED_GROUPS];
  delete flat[PER_FRAME_GROUPS];
  delete flat["00280008"];
  return flat;
}

const PROJECTION = new Set(["CR", "DX", "MG", "RF", "XA", "IO", "PX", "DR"]);

/**
 * What a pixel measures and on what authority (PS3.3 10.7.1).
 *
 * Pixel Spacing equal to Imager Pixel Spacing is the detector's; differing, or with a calibration
 * type, it was corrected. A projection with Pixel Spacing alone does not say which.
 */
export function spacingOf(dataset: Dataset): Spacing {
  const pixel = numbers(dataset, "00280030");
  const imager = numbers(dataset, "00181164");
  const usable = (pair: number[]): pair is [number, number] => pair.length >= 2 && pair[0]! > 0 && pair[1]! > 0;
  if (usable(pixel)) {
    const [rowMm, columnMm] = pixel;
    if (!PROJECTION.has(text(dataset, "00080060"))) return { basis: "patient", rowMm, columnMm };
    if (text(dataset, "00280A02")) return { basis: "calibrated", rowMm, columnMm };
    if (!usable(imager)) return { basis: "projection", rowMm, columnMm };
    const same = Math.abs(pixel[0] - imager[0]) < 1e-6 && Math.abs(pixel[1] - imager[1]) < 1e-6;
    return { basis: same ? "detector" : "calibrated", rowMm, columnMm };
  }
  if (usable(imager)) return { basis: "detector", rowMm: imager[0], columnMm: imager[1] };
  const [vertical, horizontal] = numbers(dataset, "00280034");
  const aspect = vertical && horizontal && vertical > 0 && horizontal > 0 ? vertical / horizontal : 1;
  return { basis: "none", rowMm: aspect, columnMm: 1 };
}

const CENTIMETRES = 3;

/** Regions of an ultrasound picture that are scaled in centimetres both ways. */
export function ultrasoundRegions(dataset: Dataset): UltrasoundRegion[] {
  return items(dataset, "00186011").flatMap((item) => {
    const [minX, minY, maxX, maxY, deltaX, deltaY] = ["00186018", "0018601A", "0018601C", "0018601E", "0018602C", "0018602E"].map((tag) => number(item, tag));
    const centimetres = number(item, "00186024") === CENTIMETRES && number(item, "00186026") === CENTIMETRES;
    if (!centimetres || minX === undefined || minY === undefined || maxX === undefined || maxY === undefined || !deltaX || !deltaY) return [];
    return [{ minX, minY, maxX, maxY, deltaX: Math.abs(deltaX), deltaY: Math.abs(deltaY) }];
  });
}

function imageOf(instance: Dataset, frame: number, root: string): ImageInfo {
  const [studyUid, seriesUid, sopUid] = [text(instance, "0020000D"), text(instance, "0020000E"), text(instance, "00080018")];
  const flat = frameDataset(instance, frame);
  const spacing = spacingOf(flat);
  const regions = ultrasoundRegions(flat);
  // The renderer gets one spacing it cannot misread: ours. Ultrasound regions are ours alone.
  delete flat["00186011"];
  flat["00280030"] = { vr: "DS", Value: [spacing.rowMm, spacing.columnMm] };
  const imageId = `wadors:${root}/studies/${studyUid}/series/${seriesUid}/instances/${sopUid}/frames/${frame}`;
  return { imageId, studyUid, seriesUid, sopUid, frame, dataset: flat, spacing, regions };
}

function framesPerSecond(instance: Dataset): number {
  const frameTime = number(instance, "00181063");
  const rate = number(instance, "00082144") ?? number(instance, "00180040") ?? (frameTime ? 1000 / frameTime : undefined);
  return rate && rate > 0 ? Math.min(60, Math.max(1, rate)) : 10;
}

function byNumberThenUid(a: Dataset, b: Dataset): number {
  const difference = (number(a, "00200013") ?? Infinity) - (number(b, "00200013") ?? Infinity);
  return difference || text(a, "00080018").localeCompare(text(b, "00080018"));
}

/** Arrange the instances of one study into stacks, by series number, instance number and frame. */
export function displaySets(instances: Dataset[], root: string): DisplaySet[] {
  const bySeries = new Map<string, Dataset[]>();
  for (const instance of instances) {
    // what has no rows is a report, a presentation state or a trace: not for this viewer
    if (!number(instance, "00280010") || !number(instance, "00280011")) continue;
    const uid = text(instance, "0020000E");
    bySeries.set(uid, [...(bySeries.get(uid) ?? []), instance]);
  }
  const seriesOrder = ([, a]: [string, Dataset[]], [, b]: [string, Dataset[]]): number =>
    (number(a[0], "00200011") ?? Infinity) - (number(b[0], "00200011") ?? Infinity) || text(a[0], "0020000E").localeCompare(text(b[0], "0020000E"));
  return [...bySeries].sort(seriesOrder).flatMap(([uid, members]) => setsOfSeries(uid, members.sort(byNumberThenUid), root));
}

function setsOfSeries(seriesUid: string, members: Dataset[], root: string): DisplaySet[] {
  const framesOf = (instance: Dataset): number => Math.max(1, number(instance, "00280008") ?? 1);
  const about = (instance: Dataset) => ({
    seriesUid,
    seriesNumber: text(instance, "00200011"),
    description: text(instance, "0008103E"),
    modality: text(instance, "00080060"),
    framesPerSecond: framesPerSecond(instance),
  });
  const sets: DisplaySet[] = [];
  const singles = members.filter((instance) => framesOf(instance) === 1);
  if (singles[0]) sets.push({ ...about(singles[0]), key: seriesUid, images: singles.map((instance) => imageOf(instance, 1, root)), multiframe: false });
  for (const instance of members.filter((member) => framesOf(member) > 1)) {
    const images = Array.from({ length: framesOf(instance) }, (_, index) => imageOf(instance, index + 1, root));
    sets.push({ ...about(instance), key: text(instance, "00080018"), images, multiframe: true });
  }
  return sets;
}

export const PALETTE_TABLES = ["00281201", "00281202", "00281203"] as const;

/** Whether the colours of this instance stand in tables beside its pixels. */
export function hasPalette(instance: Dataset): boolean {
  return text(instance, "00280004") === "PALETTE COLOR";
}

/** The entries of a colour table (PS3.3 C.7.6.3.1.6): words, little endian, or bytes where the descriptor says 8 bits. */
export function paletteEntries(bytes: Uint8Array, descriptor: number[]): number[] {
  const [count = 0, , bits = 16] = descriptor;
  const entries = count === 0 ? 65_536 : count;
  if (bits === 8 && bytes.length < entries * 2) return [...bytes.subarray(0, entries)];
  return Array.from({ length: Math.min(entries, bytes.length >> 1) }, (_, at) => bytes[2 * at]! | (bytes[2 * at + 1]! << 8));
}

/** Row and column direction and position in the patient, with the defaults the renderer uses when absent. */
export function plane(dataset: Dataset): { known: boolean; origin: Vector; row: Vector; column: Vector } {
  const cosines = numbers(dataset, "00200037");
  const position = numbers(dataset, "00200032");
  const three = (values: number[], at: number): Vector => [values[at]!, values[at + 1]!, values[at + 2]!];
  const known = cosines.length === 6;
  return {
    known,
    origin: position.length === 3 ? three(position, 0) : [0, 0, 0],
    row: known ? three(cosines, 0) : [1, 0, 0],
    column: known ? three(cosines, 3) : [0, 1, 0],
  };
}
