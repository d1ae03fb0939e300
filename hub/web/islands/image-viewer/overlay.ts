/** The words in the corners of a picture and the letters at its edges. */

import type { Words } from "../texts";
import type { Window } from "./layout";
import { type Dataset, number, personName, plane, text, type DisplaySet, type ImageInfo, type Vector } from "./metadata";

export interface ShownState {
  /** 0-based index of the picture that is really on the screen. */
  index: number;
  window: Window | undefined;
  /** Screen pixels per pixel of the picture. */
  zoom: number | undefined;
}

export interface OverlayTexts {
  tl: string;
  tr: string;
  bl: string;
  br: string;
}

export interface Markers {
  left: string;
  right: string;
  top: string;
  bottom: string;
}

/** `20240131`, `093005.12` as `2024-01-31 09:30:05`; what is no date or time is left as it came. */
export function examTime(date: string, time: string): string {
  const day = /^\d{8}$/.test(date) ? `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6)}` : date;
  const clock = /^\d{4,6}/.exec(time)?.[0] ?? "";
  return [day, clock.match(/\d\d/g)?.join(":") ?? ""].filter(Boolean).join(" ");
}

/** `045Y` in words; anything else as it stands. */
export function ageText(age: string, t: Words): string {
  const parts = /^(\d{3})([DWMY])$/.exec(age);
  return parts ? t(`age_${parts[2]}`, { n: Number(parts[1]) }) : age;
}

function patientLine(dataset: Dataset, t: Words): string {
  const sex = text(dataset, "00100040");
  const words = ["M", "F", "O"].includes(sex) ? t(`sex_${sex}`) : sex;
  return [personName(dataset) || t("no_name"), words, ageText(text(dataset, "00101010"), t)].filter(Boolean).join("  ");
}

function dateTimePair(dataset: Dataset): [string, string] {
  const pairs: [string, string][] = [["00080022", "00080032"], ["00080023", "00080033"], ["00080020", "00080030"]];
  const found = pairs.find(([date]) => text(dataset, date)) ?? ["00080020", "00080030"];
  return [text(dataset, found[0]), text(dataset, found[1])];
}

const shortNumber = (value: number): string => (Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(2) : String(Math.round(value)));

/** Everything the four corners say about one picture. */
export function overlayTexts(set: DisplaySet, image: ImageInfo, shown: ShownState, t: Words): OverlayTexts {
  const dataset = image.dataset;
  const counter = t(set.multiframe ? "frame_of" : "image_of", { n: shown.index + 1, total: set.images.length });
  const window = shown.window && t("window", { width: shortNumber(shown.window.width), center: shortNumber(shown.window.center) });
  const lossy = text(dataset, "00282110") === "01" && t("lossy", { ratio: ratioText(number(dataset, "00282112")) });
  const lines = (...each: (string | undefined | false)[]): string => each.filter(Boolean).join("\n");
  return {
    tl: lines(patientLine(dataset, t), text(dataset, "00100020")),
    tr: lines(text(dataset, "00080080"), examTime(...dateTimePair(dataset)), [set.modality, text(dataset, "00180015"), text(dataset, "00185101")].filter(Boolean).join(" ")),
    bl: lines(lossy, [t("series", { number: set.seriesNumber }), set.description].filter(Boolean).join("  "), counter),
    br: lines(window, shown.zoom !== undefined && t("zoom_level", { percent: Math.round(shown.zoom * 100) })),
  };
}

function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "" : `${Math.round(ratio * 10) / 10}:1`;
}

/** Letters of a direction in the patient, strongest first; a tilt under about 5 degrees is not named. */
export function directionLetters(direction: Vector): string {
  const names: [number, string, string][] = [[direction[0], "L", "R"], [direction[1], "P", "A"], [direction[2], "H", "F"]];
  return names
    .filter(([amount]) => Math.abs(amount) > 0.087)
    .sort(([a], [b]) => Math.abs(b) - Math.abs(a))
    .slice(0, 2)
    .map(([amount, positive, negative]) => (amount > 0 ? positive : negative))
    .join("");
}

const OPPOSITE: Record<string, string> = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };

function opposite(letters: string): string {
  return [...letters].map((letter) => OPPOSITE[letter] ?? "").join("");
}

/**
 * Letters at the four edges of a picture shown as stored: from its geometry (PS3.3 C.7.6.2), else
 * from Patient Orientation (C.7.6.1.1.1), which names the direction of rows and of columns. With
 * neither nothing is shown: a guessed side is worse than none.
 */
export function orientationMarkers(dataset: Dataset): Markers | undefined {
  const { known, row, column } = plane(dataset);
  let right = "";
  let bottom = "";
  if (known) {
    right = directionLetters(row);
    bottom = directionLetters(column);
  } else {
    const stated = (dataset["00200020"]?.Value ?? []).map((value) => String(value ?? "").trim().toUpperCase());
    if (stated.length !== 2 || !stated.every((letters) => /^[LRAPHF]{1,3}$/.test(letters))) return undefined;
    [right, bottom] = stated as [string, string];
  }
  if (!right || !bottom) return undefined;
  return { right, left: opposite(right), bottom, top: opposite(bottom) };
}
