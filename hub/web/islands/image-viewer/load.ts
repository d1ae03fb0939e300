/** DICOMweb reading: what a study holds. */

import { request } from "../http";
import { type Dataset, displaySets, type DisplaySet, hasPalette, type JsonElement, numbers, PALETTE_TABLES, paletteEntries, text } from "./metadata";

/** The server said no; `status` is 0 when it could not be reached. */
export class LoadError extends Error {
  constructor(readonly status: number) {
    super(`DICOMweb ${status}`);
  }
}

async function json(url: string): Promise<Dataset[]> {
  let response: Response;
  try {
    response = await request(url, { headers: { Accept: "application/dicom+json" } });
  } catch {
    throw new LoadError(0);
  }
  if (response.status === 204) return [];
  if (!response.ok) throw new LoadError(response.status);
  return (await response.json()) as Dataset[];
}

async function bytesOf(element: JsonElement): Promise<Uint8Array | undefined> {
  if (element.InlineBinary) return Uint8Array.from(atob(element.InlineBinary), (letter) => letter.charCodeAt(0));
  if (!element.BulkDataURI) return undefined;
  const response = await request(element.BulkDataURI, { headers: { Accept: "application/octet-stream" } });
  if (!response.ok) throw new LoadError(response.status);
  return new Uint8Array(await response.arrayBuffer());
}

/** Write the colour tables of a palette picture as values: the decoder reads nothing else. */
async function layOutPalette(instance: Dataset): Promise<void> {
  for (const tag of PALETTE_TABLES) {
    const element = instance[tag];
    const bytes = element && (await bytesOf(element));
    if (bytes) instance[tag] = { vr: "US", Value: paletteEntries(bytes, numbers(instance, tag.replace("002812", "002811"))) };
  }
}

/** The stacks of a study, series by series (QIDO-RS for the list, WADO-RS for the metadata). */
export async function loadStudy(root: string, studyUid: string): Promise<DisplaySet[]> {
  const series = await json(`${root}/studies/${studyUid}/series`);
  const metadata = await Promise.all(
    series.map((each) => json(`${root}/studies/${studyUid}/series/${text(each, "0020000E")}/metadata`)),
  );
  const instances = metadata.flat();
  await Promise.all(instances.filter(hasPalette).map(layOutPalette));
  return displaySets(instances, root);
}

/** Address of a small picture that the server draws, for the rail. */
export function thumbnailUrl(root: string, set: DisplaySet): string {
  const image = set.images[Math.floor((set.images.length - 1) / 2)];
  if (!image) return "";
  const instance = `${root}/studies/${image.studyUid}/series/${image.seriesUid}/instances/${image.sopUid}`;
  return `${instance}${set.multiframe ? `/frames/${image.frame}` : ""}/rendered?viewport=128,128`;
}
