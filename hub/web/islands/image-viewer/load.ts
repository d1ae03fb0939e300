/** DICOMweb reading: what a study holds. */

import { request } from "../http";
import { type Dataset, displaySets, type DisplaySet, text } from "./metadata";

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

/** The stacks of a study, series by series (QIDO-RS for the list, WADO-RS for the metadata). */
export async function loadStudy(root: string, studyUid: string): Promise<DisplaySet[]> {
  const series = await json(`${root}/studies/${studyUid}/series`);
  const metadata = await Promise.all(
    series.map((each) => json(`${root}/studies/${studyUid}/series/${text(each, "0020000E")}/metadata`)),
  );
  return displaySets(metadata.flat(), root);
}

/** Address of a small picture that the server draws, for the rail. */
export function thumbnailUrl(root: string, set: DisplaySet): string {
  const image = set.images[Math.floor((set.images.length - 1) / 2)];
  if (!image) return "";
  const instance = `${root}/studies/${image.studyUid}/series/${image.seriesUid}/instances/${image.sopUid}`;
  return `${instance}${set.multiframe ? `/frames/${image.frame}` : ""}/rendered?viewport=128,128`;
}
