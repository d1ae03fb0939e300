/** From recordings, medians and the reader's choice to what a board shows. No DOM. */

import { type Analysis, type Beat, type Bounds, landmarks, type StoredMedian } from "./analysis";
import type { Shown } from "./board";
import { type FilterChoice, filtered, isOff } from "./filters";
import { type Cell, inCabreraOrder, layOut, layOutMedian, layoutNamed, type Sheet, singleLead, STANDARD_LEADS } from "./layout";
import { decodeSamples, reachOf, type Recording, samplesOf, toMillivolts, withLimbLeads } from "./recording";
import { INK, type Mark, type Series } from "./scene";
import type { View } from "./view";

/** One ECG with what the machine says of it, when it says anything. */
export interface Loaded {
  examId: string;
  name: string;
  recording: Recording;
  analysis: Analysis | undefined;
}

type Leads = ReadonlyMap<string, Float64Array>;

const MISSING = -32768;
const WAVE_INK: Record<string, string> = { p: "#1667b8", q: INK.mark, t: "#8a3fb0" };
const kept = new WeakMap<Leads, Map<string, Leads>>();

/** The leads as the filters leave them; each choice is computed once for a recording. */
export function filteredLeads(leads: Leads, choice: FilterChoice, rateHz: number): Leads {
  if (isOff(choice)) return leads;
  const known = kept.get(leads) ?? new Map<string, Leads>();
  kept.set(leads, known);
  const key = Object.values(choice).join();
  const found = known.get(key) ?? new Map([...leads].map(([name, samples]) => [name, filtered(samples, choice, rateHz)]));
  known.set(key, found);
  return found;
}

function seriesOf(recording: Recording, choice: FilterChoice, color: string): Series {
  return { leads: filteredLeads(recording.leads, choice, recording.rateHz), rateHz: recording.rateHz, firstSample: recording.firstSample, color };
}

function boundaryMarks(bounds: Bounds, lead?: string): Mark[] {
  return Object.entries(bounds).flatMap(([name, sample]) => (typeof sample === "number" ? [{ sample, color: WAVE_INK[name.charAt(0)] ?? INK.mark, ...(lead ? { lead } : {}) }] : []));
}

export function marksOf(beats: readonly Beat[]): Mark[] {
  return beats.flatMap((beat) => [...boundaryMarks(beat.global), ...Object.entries(beat.leads ?? {}).flatMap(([lead, bounds]) => boundaryMarks(bounds, lead))]);
}

export const beatsOf = (loaded: Loaded): Beat[] => loaded.analysis?.measurement?.beats ?? [];

/**
 * How far to move in another recording's time so that its beat falls on the first beat of a cell.
 * Without beats in either, both begin together.
 */
export function alignment(cell: Cell, own: readonly number[], ownRateHz: number, other: readonly number[], otherRateHz: number): number {
  const first = own.find((sample) => sample / ownRateHz >= cell.fromS && sample / ownRateHz <= cell.toS);
  if (first === undefined || other.length === 0) return 0;
  const at = first / ownRateHz;
  const nearest = other.reduce((best, sample) => (Math.abs(sample / otherRateHz - at) < Math.abs(best / otherRateHz - at) ? sample : best));
  return nearest / otherRateHz - at;
}

function reachOfAll(series: readonly Series[], lead: string): readonly [number, number] | undefined {
  const reaches = series.map((each) => reachOf(each.leads, lead)).filter((reach) => reach !== undefined);
  return reaches.length > 0 ? [Math.min(...reaches.map(([low]) => low)), Math.max(...reaches.map(([, high]) => high))] : undefined;
}

/** The rhythm on paper; `over` is an earlier ECG laid over it, beat on beat. */
export function rhythm(loaded: Loaded, view: View, over?: Loaded): Shown {
  const { recording } = loaded;
  const chosen = view.single ? singleLead(view.single) : layoutNamed(view.layout);
  const arrangement = view.cabrera && !view.single ? inCabreraOrder(chosen) : chosen;
  const series = [seriesOf(recording, view.filters, INK.trace)];
  if (over) {
    const [own, other] = [loaded, over].map((each) => beatsOf(each).map((beat) => beat.sample)) as [number[], number[]];
    series.push({ ...seriesOf(over.recording, view.filters, INK.earlier), shiftS: (cell) => alignment(cell, own, recording.rateHz, other, over.recording.rateHz) });
  }
  const sheet = layOut(recording, arrangement, view, (lead) => reachOfAll(series, lead));
  const beats = beatsOf(loaded);
  return { sheet, series, marks: view.marks ? marksOf(beats) : [], landmarks: (lead) => landmarks(beats, lead) };
}

export interface Median {
  leads: Leads;
  rateHz: number;
  nSamples: number;
  fiducial: number;
}

/** Where all leads together swing furthest from their middle: the same rule for whoever made the beat. */
export function deflection(leads: Leads, nSamples: number): number {
  const total = new Float64Array(nSamples);
  for (const samples of leads.values()) {
    const middle = [...samples].filter((value) => !Number.isNaN(value)).sort((a, b) => a - b)[samples.length >> 1] ?? 0;
    for (let at = 0; at < nSamples; at++) total[at] = (total[at] as number) + Math.abs((samples[at] ?? middle) - middle || 0);
  }
  return total.reduce((best, value, at) => (value > (total[best] as number) ? at : best), 0);
}

export function medianOf(stored: StoredMedian | null | undefined): Median | undefined {
  if (!stored || !(stored.rate_hz > 0) || stored.leads.length === 0) return undefined;
  const plain = new Map(
    stored.leads.map((lead) => [lead.name, toMillivolts(typeof lead.samples === "string" ? decodeSamples(lead.samples) : lead.samples, lead.mv_per_unit, stored.missing ?? MISSING)]),
  );
  const leads = withLimbLeads(plain);
  const nSamples = Math.max(...[...leads.values()].map((samples) => samples.length));
  return { leads, rateHz: stored.rate_hz, nSamples, fiducial: deflection(leads, nSamples) };
}

/** A single beat is drawn larger than the rhythm; the sheet says so by its speed and gain. */
const MEDIAN_SCALE = 2;
const SUPERIMPOSED_SCALE = 4;
const CABRERA_LEADS = ["aVL", "I", "-aVR", "II", "aVF", "III", ...STANDARD_LEADS.slice(6)];

/** The median beat: the hub's, over it the device's own and that of the earlier ECG, each on its largest deflection. */
export function medianPicture(loaded: Loaded, view: View, over?: Loaded): Shown | undefined {
  const { analysis } = loaded;
  const ours = medianOf(analysis?.median);
  const device = medianOf(analysis?.device.median);
  const main = ours ?? device;
  if (!main) return undefined;
  const order: readonly string[] = view.cabrera ? CABRERA_LEADS : STANDARD_LEADS;
  const leads = order.filter((lead) => samplesOf(main.leads, lead));
  const superimposed = view.mode === "superimposed";
  const larger = superimposed ? SUPERIMPOSED_SCALE : MEDIAN_SCALE;
  const sheet: Sheet = layOutMedian({ rateHz: main.rateHz, totalSamples: main.nSamples }, leads, larger * view.mmPerS, larger * view.mmPerMv, superimposed);
  const layer = (median: Median | undefined, color: string): Series[] =>
    median ? [{ leads: filteredLeads(median.leads, view.filters, median.rateHz), rateHz: median.rateHz, firstSample: 0, color, shiftS: () => median.fiducial / median.rateHz - main.fiducial / main.rateHz }] : [];
  const stored = ours ? analysis?.median : undefined;
  const marks = [...boundaryMarks(stored?.over_all ?? {}), ...(view.mode === "median" ? Object.entries(stored?.per_lead ?? {}).flatMap(([lead, bounds]) => boundaryMarks(bounds, lead)) : [])];
  const others = view.mode === "median" ? [...layer(ours ? device : undefined, INK.device), ...layer(over && (medianOf(over.analysis?.median) ?? medianOf(over.analysis?.device.median)), INK.earlier)] : [];
  return { sheet, series: [...layer(main, INK.trace), ...others], marks, landmarks: (lead) => [...new Set(marks.filter((mark) => !mark.lead || mark.lead === lead).map((mark) => mark.sample))] };
}
