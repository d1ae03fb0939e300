/** Lengths on a picture, in the unit its metadata entitles it to. Points are the renderer's world points. */

import { type ImageInfo, plane, type Vector } from "./metadata";

export type LengthBasis = "mm_patient" | "mm_calibrated" | "mm_imager" | "mm_projection" | "px_uncalibrated";

export interface Length {
  value: number;
  basis: LengthBasis;
}

const BASES: Record<ImageInfo["spacing"]["basis"], LengthBasis> = {
  patient: "mm_patient",
  calibrated: "mm_calibrated",
  detector: "mm_imager",
  projection: "mm_projection",
  none: "px_uncalibrated",
};

/** Column and row (in pixels, the first pixel's centre is 0, 0) of a world point. */
export function pixelOf(image: ImageInfo, point: Vector): [number, number] {
  const { origin, row, column } = plane(image.dataset);
  const offset: Vector = [point[0] - origin[0], point[1] - origin[1], point[2] - origin[2]];
  const along = (axis: Vector): number => offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2];
  return [along(row) / image.spacing.columnMm, along(column) / image.spacing.rowMm];
}

/** Length between two points: millimetres where known, else pixels along the picture's own grid. */
export function lengthBetween(image: ImageInfo, from: Vector, to: Vector): Length {
  const [a, b] = [pixelOf(image, from), pixelOf(image, to)];
  const [columns, rows] = [b[0] - a[0], b[1] - a[1]];
  const region = image.regions.find((each) =>
    [a, b].every(([x, y]) => x >= each.minX && x <= each.maxX && y >= each.minY && y <= each.maxY),
  );
  if (region) return { value: 10 * Math.hypot(columns * region.deltaX, rows * region.deltaY), basis: "mm_calibrated" };
  const basis = BASES[image.spacing.basis];
  if (basis === "px_uncalibrated") return { value: Math.hypot(columns, rows), basis };
  return { value: Math.hypot(columns * image.spacing.columnMm, rows * image.spacing.rowMm), basis };
}

/** One decimal for millimetres, whole pixels. */
export function lengthText(length: Length, unit: string): string {
  return `${length.value.toFixed(length.basis === "px_uncalibrated" ? 0 : 1)} ${unit}`;
}
