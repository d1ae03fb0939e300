/** Windows and panes: numbers only. */

import { type Dataset, numbers } from "./metadata";

export interface Window {
  width: number;
  center: number;
}

export interface Preset extends Window {
  key: string;
}

/** Windows in Hounsfield units that radiologists know by name; values in common use, not of any one maker. */
export const CT_PRESETS: readonly Preset[] = [
  { key: "preset_brain", width: 80, center: 40 },
  { key: "preset_subdural", width: 200, center: 75 },
  { key: "preset_bone", width: 2000, center: 500 },
  { key: "preset_lung", width: 1500, center: -600 },
  { key: "preset_mediastinum", width: 350, center: 50 },
  { key: "preset_abdomen", width: 400, center: 40 },
];

/** Grey values shown darkest and brightest, linear (PS3.3 C.11.2.1.2.1). */
export function rangeOf({ width, center }: Window): { lower: number; upper: number } {
  return { lower: center - 0.5 - (width - 1) / 2, upper: center - 0.5 + (width - 1) / 2 };
}

/** The window of a range; the inverse of {@link rangeOf}. */
export function windowOf(range: { lower: number; upper: number }): Window {
  return { width: Math.abs(range.upper - range.lower) + 1, center: (range.lower + range.upper + 1) / 2 };
}

/** The first window that the file itself gives, if it gives one. */
export function storedWindow(dataset: Dataset): Window | undefined {
  const [center, width] = [numbers(dataset, "00281050")[0], numbers(dataset, "00281051")[0]];
  return center === undefined || width === undefined || width < 1 ? undefined : { width, center };
}

/** Presets that mean something for this modality: Hounsfield windows for CT alone. */
export function presetsFor(modality: string): readonly Preset[] {
  return modality === "CT" ? CT_PRESETS : [];
}

/** Which picture the second pane opens with: the next stack, or the next picture of the only one. */
export function secondPane(setCount: number, currentSet: number, imageCount: number): { set: number; image: number } {
  if (setCount > 1) return { set: (currentSet + 1) % setCount, image: 0 };
  return { set: currentSet, image: imageCount > 1 ? 1 : 0 };
}

/** The stack to open with: the first that is a real series, since CT and MR begin with scouts. */
export function openingSet<T extends { images: unknown[]; modality: string }>(sets: readonly T[], modality = ""): T | undefined {
  const alike = modality ? sets.filter((set) => set.modality === modality) : sets;
  const candidates = alike.length > 0 ? alike : sets;
  return candidates.find((set) => !["CT", "MR"].includes(set.modality) || set.images.length > 3) ?? candidates[0];
}

/** Index after moving `step` pictures, held within the stack. */
export function moved(index: number, step: number, count: number): number {
  return Math.max(0, Math.min(count - 1, index + step));
}
