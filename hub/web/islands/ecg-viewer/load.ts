/** What the viewer asks the hub for. */

import { postJson, reasonIn, request } from "../http";
import type { Analysis, Earlier } from "./analysis";
import { decode, type Recording, type StoredRecording } from "./recording";

/** An answer that was no answer: status 0 is a server that could not be reached. */
export class LoadError extends Error {
  constructor(
    readonly status: number,
    reason: string,
  ) {
    super(reason);
  }
}

/** Longest stretch the hub gives at once. */
export const STRETCH_S = 120;
const PAGE = "/api/v1/exams";

async function answer<T>(asked: Promise<Response>): Promise<T> {
  let response: Response;
  try {
    response = await asked;
  } catch {
    throw new LoadError(0, "");
  }
  if (!response.ok) throw new LoadError(response.status, reasonIn(await response.text()));
  return (await response.json()) as T;
}

const query = (values: Record<string, string | number>): string => new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)])).toString();

/** A stretch of a recording that holds the moment asked for. */
export async function loadRecording(examId: string, source: string, startS = 0): Promise<Recording> {
  return decode(await answer<StoredRecording>(request(`${PAGE}/${examId}/ecg.json?${query({ source, start: startS, seconds: STRETCH_S })}`)));
}

export function loadAnalysis(examId: string, source: string): Promise<Analysis> {
  return answer<Analysis>(request(`${PAGE}/${examId}/ecg/analysis?${query({ source })}`));
}

export function loadEarlier(examId: string): Promise<Earlier[]> {
  return answer<Earlier[]>(request(`${PAGE}/${examId}/ecg/earlier`));
}

export interface NewEdit {
  source: string;
  name: string;
  lead: string;
  /** Null goes back to what the machine measured. */
  value: number | null;
  reason: string;
}

export function sendEdit(examId: string, edit: NewEdit): Promise<Analysis> {
  return answer<Analysis>(postJson(`${PAGE}/${examId}/ecg/edits`, edit));
}
