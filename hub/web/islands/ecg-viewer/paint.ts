/** Two painters for a scene: the screen's canvas and an SVG true to scale for paper. */

import type { Label, Scene } from "./scene";

const PAPER = "#fffafa";
const GRID = { minor: "#f6cdcf", major: "#e79a9f", edge: "#d9787f" };
/** Where few dots make a millimetre its lines would run together to a pink: they are drawn paler. */
const PALER: readonly [number, string][] = [[2.7, "#fdeced"], [3.6, "#fadfe0"]];
const FONTS = "'Noto Sans CJK SC','Source Han Sans SC','Noto Sans SC','Microsoft YaHei','PingFang SC',sans-serif";

/** The 1 mm grid, drawn once for a size and scale. `dots` are dots of the screen per millimetre. */
export function paintGrid(context: CanvasRenderingContext2D, widthMm: number, heightMm: number, dots: number): void {
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.fillStyle = PAPER;
  context.fillRect(0, 0, widthMm, heightMm);
  const minor = PALER.find(([below]) => dots < below)?.[1] ?? GRID.minor;
  const passes: [string, number, (at: number) => boolean][] = [
    [minor, Math.max(0.1, 1 / dots), (at) => at % 5 !== 0],
    [GRID.major, Math.max(0.18, 1.2 / dots), (at) => at % 5 === 0],
  ];
  for (const [color, width, wanted] of passes) {
    context.beginPath();
    for (let x = 0; x <= widthMm; x++) if (wanted(x)) line(context, x, 0, x, heightMm);
    for (let y = 0; y <= heightMm; y++) if (wanted(y)) line(context, 0, y, widthMm, y);
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }
  context.strokeStyle = GRID.edge;
  context.lineWidth = Math.max(0.3, 1 / dots);
  context.strokeRect(0, 0, widthMm, heightMm);
}

function line(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
}

export function paintScene(context: CanvasRenderingContext2D, scene: Scene, dots: number): void {
  context.setTransform(dots, 0, 0, dots, 0, 0);
  paintLabels(context, scene.names, dots);
  for (const { points, color, widthMm, dash } of scene.lines) {
    // on lines hardly wider than a dot round joins are not seen, and cost twice the time
    context.lineJoin = context.lineCap = "round";
    if (widthMm * dots < 2) [context.lineJoin, context.lineCap] = ["bevel", "butt"];
    context.beginPath();
    context.moveTo(points[0] as number, points[1] as number);
    for (let at = 2; at < points.length; at += 2) context.lineTo(points[at] as number, points[at + 1] as number);
    context.strokeStyle = color;
    context.lineWidth = Math.max(widthMm, 1 / dots);
    context.setLineDash(dash ? [...dash] : []);
    context.stroke();
  }
  context.setLineDash([]);
  paintLabels(context, scene.labels, dots);
}

function paintLabels(context: CanvasRenderingContext2D, labels: readonly Label[], dots: number): void {
  context.lineJoin = "round";
  for (const label of labels) {
    context.font = `${label.bold ? "bold " : ""}${Math.max(label.sizeMm, 10 / dots)}px ${FONTS}`;
    context.textAlign = label.anchor === "middle" ? "center" : (label.anchor ?? "start");
    context.strokeStyle = PAPER;
    context.lineWidth = 0.9;
    context.strokeText(label.text, label.x, label.y);
    context.fillStyle = label.color;
    context.fillText(label.text, label.x, label.y);
  }
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const number = (value: number): string => String(Math.round(value * 100) / 100);

function gridPaths(widthMm: number, heightMm: number): string {
  const paths = { thin: "", strong: "" };
  for (let x = 0; x <= widthMm; x++) paths[x % 5 ? "thin" : "strong"] += `M${x} 0V${heightMm}`;
  for (let y = 0; y <= heightMm; y++) paths[y % 5 ? "thin" : "strong"] += `M0 ${y}H${widthMm}`;
  return (
    `<rect width="${widthMm}" height="${heightMm}" fill="${PAPER}"/><path d="${paths.thin}" fill="none" stroke="${GRID.minor}" stroke-width="0.1"/>` +
    `<path d="${paths.strong}" fill="none" stroke="${GRID.major}" stroke-width="0.18"/><rect width="${widthMm}" height="${heightMm}" fill="none" stroke="${GRID.edge}" stroke-width="0.3"/>`
  );
}

function pathOf(points: ArrayLike<number>): string {
  let path = `M${number(points[0] as number)} ${number(points[1] as number)}L`;
  for (let at = 2; at < points.length; at += 2) path += `${number(points[at] as number)} ${number(points[at + 1] as number)} `;
  return path;
}

export interface Words {
  header: readonly string[];
  footerLeft: string;
  footerRight: string;
}

const PAGE_MM = 277;
const HEADER_LINE_MM = 5;
let sheets = 0;

/** The scenes of one sheet, one over another, as an SVG whose width and height are in mm: A4 landscape less its margins. */
export function toSvg(scenes: readonly Scene[], words: Words): string {
  const base = scenes[0];
  if (!base) return "";
  const top = words.header.length ? 4.5 + HEADER_LINE_MM * (words.header.length - 1) + 3.5 : 1;
  const height = top + base.heightMm + 6;
  const left = (PAGE_MM - base.widthMm) / 2;
  const clip = `ecg-print-${sheets++}`;
  const text = (x: number, y: number, content: string, size: number, more = ""): string => `<text x="${number(x)}" y="${number(y)}" font-size="${size}" ${more}>${escaped(content)}</text>`;
  const lines = scenes.flatMap((scene) => scene.lines).map(({ points, color, widthMm, dash }) => `<path d="${pathOf(points)}" stroke="${color}" stroke-width="${widthMm}"${dash ? ` stroke-dasharray="${dash.join(" ")}"` : ""}/>`);
  const written = (labels: readonly Label[]): string =>
    labels.map((label) => text(label.x, label.y, label.text, label.sizeMm, `fill="${label.color}" text-anchor="${label.anchor ?? "start"}"${label.bold ? ' font-weight="bold"' : ""} stroke="${PAPER}" stroke-width="0.9" paint-order="stroke"`)).join("");
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${PAGE_MM}mm" height="${number(height)}mm" viewBox="0 0 ${PAGE_MM} ${number(height)}" font-family="${FONTS}" role="img">` +
    words.header.map((content, at) => text(left, 4.5 + HEADER_LINE_MM * at, content, at ? 3.2 : 4, at ? "" : 'font-weight="bold"')).join("") +
    `<g transform="translate(${number(left)} ${number(top)})">${gridPaths(base.widthMm, base.heightMm)}` +
    `<clipPath id="${clip}"><rect width="${base.widthMm}" height="${base.heightMm}"/></clipPath>${written(scenes.flatMap((scene) => scene.names))}` +
    `<g clip-path="url(#${clip})" fill="none" stroke-linejoin="round" stroke-linecap="round">${lines.join("")}</g>${written(scenes.flatMap((scene) => scene.labels))}</g>` +
    text(left, top + base.heightMm + 4.3, words.footerLeft, 2.9, 'fill="#5b6673"') +
    text(left + base.widthMm, top + base.heightMm + 4.3, words.footerRight, 2.9, 'fill="#5b6673" text-anchor="end"') +
    "</svg>"
  );
}
