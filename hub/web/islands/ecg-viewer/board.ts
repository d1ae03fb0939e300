/** One sheet on the screen: a canvas for the paper and the traces, one above it for calipers, and the pointer. */

import { type Caliper, snapMillivolts, snapSample } from "./calipers";
import { type Cell, cellAt, millivoltsAt, secondsAt, type Sheet } from "./layout";
import { CALIPER_GRIP_MM, caliperScene, grip, type Grip } from "./marking";
import { paintGrid, paintScene } from "./paint";
import { samplesOf } from "./recording";
import { type Mark, type Scene, sceneOf, type Series } from "./scene";

export interface Shown {
  sheet: Sheet;
  /** The sheet's own recording first, then what is laid over it. */
  series: readonly Series[];
  marks: readonly Mark[];
  landmarks(lead: string): number[];
}

export interface Hooks {
  /** A caliper was made, moved, chosen or let go of. */
  changed(board: Board): void;
  zoom(lead: string): void;
  caliperText(caliper: Caliper): string;
}

/** Which end the keys move. */
export type End = "a" | "b" | "both";

const SNAP_MM = 1.5;
const PRINT_DOTS_PER_MM = 20;
const VOLT_STEP = 0.01;

export class Board {
  readonly element = Object.assign(document.createElement("div"), { className: "ecg-board" });
  readonly words = Object.assign(document.createElement("div"), { className: "ecg-words" });
  readonly title = Object.assign(document.createElement("div"), { className: "ecg-board-title" });
  calipers: Caliper[] = [];
  chosen: Caliper | undefined;
  end: End = "b";
  /** What a drag over empty paper makes; nothing when undefined. */
  tool: Caliper["kind"] | undefined;
  snap = true;
  private readonly base = document.createElement("canvas");
  private readonly over = Object.assign(document.createElement("canvas"), { className: "over" });
  private readonly paper = Object.assign(document.createElement("div"), { className: "ecg-canvas" });
  private shown: Shown | undefined;
  private pxPerMm = 1;
  private held: { grip: Grip; fromX: number; fromY: number; start: Caliper } | undefined;
  private pointerCell: Cell | undefined;

  constructor(private readonly hooks: Hooks) {
    this.paper.append(this.base, this.over);
    this.element.append(this.title, this.paper, this.words);
    this.over.addEventListener("pointerdown", (event) => this.press(event));
    this.over.addEventListener("pointermove", (event) => this.move(event));
    this.over.addEventListener("pointerup", () => this.release());
    this.over.addEventListener("pointercancel", () => this.release());
    this.over.addEventListener("dblclick", (event) => {
      const cell = this.cellUnder(event);
      if (cell && !cell.overlay) hooks.zoom(cell.lead);
    });
  }

  get sheet(): Sheet | undefined {
    return this.shown?.sheet;
  }

  show(shown: Shown, pxPerMm: number): void {
    this.shown = shown;
    this.pxPerMm = pxPerMm;
    const began = performance.now();
    const dots = this.size(shown.sheet);
    const context = this.base.getContext("2d");
    if (context) {
      paintGrid(context, shown.sheet.widthMm, shown.sheet.heightMm, dots);
      paintScene(context, sceneOf(shown.sheet, shown.series, shown.marks, dots), dots);
    }
    performance.measure("ecg-paint", { start: began, end: performance.now() });
    this.paintCalipers();
  }

  /** Say in words what the picture shows. */
  describe(label: string): void {
    this.over.setAttribute("role", "img");
    this.over.setAttribute("aria-label", label);
  }

  /** Everything shown, calipers included, as scenes for the printed page. */
  scenes(): Scene[] {
    if (!this.shown) return [];
    const { sheet, series, marks } = this.shown;
    return [sceneOf(sheet, series, marks, PRINT_DOTS_PER_MM), this.caliperScene()];
  }

  paintCalipers(): void {
    const context = this.over.getContext("2d");
    if (!context || !this.shown) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.over.width, this.over.height);
    paintScene(context, this.caliperScene(), this.dots);
  }

  /** Put a caliper where it is useful: on the first two beats of a lead, or over its peak-to-peak height. */
  place(kind: Caliper["kind"], beats: readonly number[], wantedLead = ""): void {
    const sheet = this.shown?.sheet;
    const cell = this.pointerCell ?? sheet?.cells.find((each) => each.lead === wantedLead) ?? sheet?.cells.at(-1);
    if (!sheet || !cell) return;
    const inside = beats.filter((sample) => sample >= cell.first && sample <= cell.last);
    const samples = samplesOf(this.shown?.series[0]?.leads ?? new Map(), cell.lead);
    const height = (sample: number): number => samples?.[sample - (this.shown?.series[0]?.firstSample ?? 0)] || 0;
    const [first, second] = inside.length > 1 ? (inside as [number, number]) : [Math.round(cell.first + 0.2 * (cell.last - cell.first)), Math.round(cell.first + 0.4 * (cell.last - cell.first))];
    const caliper: Caliper = kind === "time" ? { kind, lead: this.leadOf(cell), a: first, b: second, across: 0.8, march: false, role: "" } : { kind, lead: this.leadOf(cell), a: height(this.levelBefore(first, cell)), b: height(first) || 1, across: first, march: false, role: "" };
    this.calipers.push(caliper);
    this.choose(caliper);
  }

  /** Where the wave at a sample begins, as far as it was detected: the level to measure its height from. */
  private levelBefore(sample: number, cell: Cell): number {
    const reach = 0.1 * (this.shown?.sheet.rateHz ?? 0);
    return this.shown?.landmarks(cell.lead).find((mark) => mark < sample && sample - mark < reach) ?? sample - Math.round(reach / 2);
  }

  choose(caliper: Caliper | undefined): void {
    this.chosen = caliper;
    this.end = "b";
    this.changed();
  }

  remove(): void {
    this.calipers = this.calipers.filter((each) => each !== this.chosen);
    this.choose(this.calipers.at(-1));
  }

  /** Move the chosen caliper's end by samples (time) or hundredths of a millivolt (amplitude). */
  nudge(steps: number): void {
    const caliper = this.chosen;
    if (!caliper) return;
    const by = caliper.kind === "time" ? steps : steps * VOLT_STEP;
    if (this.end !== "b") caliper.a += by;
    if (this.end !== "a") caliper.b += by;
    this.changed();
  }

  /** Move it across: the bar of a time caliper up and down, an amplitude caliper along the time. */
  shift(steps: number): void {
    if (!this.chosen) return;
    this.chosen.across += this.chosen.kind === "time" ? -steps * 0.05 : steps;
    this.changed();
  }

  private get dots(): number {
    return this.pxPerMm * (window.devicePixelRatio || 1);
  }

  private size(sheet: Sheet): number {
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(sheet.widthMm * this.dots);
      canvas.height = Math.round(sheet.heightMm * this.dots);
      canvas.style.width = `${sheet.widthMm * this.pxPerMm}px`;
      canvas.style.height = `${sheet.heightMm * this.pxPerMm}px`;
    }
    this.paper.style.width = `${sheet.widthMm * this.pxPerMm}px`;
    this.paper.style.height = `${sheet.heightMm * this.pxPerMm}px`;
    return this.dots;
  }

  private caliperScene(): Scene {
    const sheet = this.shown?.sheet;
    if (!sheet) return { widthMm: 0, heightMm: 0, names: [], lines: [], labels: [] };
    return caliperScene(sheet, this.calipers, this.chosen, this.end, (caliper) => this.hooks.caliperText(caliper));
  }

  private changed(): void {
    this.paintCalipers();
    this.hooks.changed(this);
  }

  private leadOf(cell: Cell): string {
    return cell.overlay ? "" : cell.lead;
  }

  private millimetres(event: MouseEvent): [number, number] {
    const box = this.over.getBoundingClientRect();
    return [(event.clientX - box.left) / this.pxPerMm, (event.clientY - box.top) / this.pxPerMm];
  }

  private cellUnder(event: MouseEvent): Cell | undefined {
    const sheet = this.shown?.sheet;
    return sheet && cellAt(sheet, ...this.millimetres(event));
  }

  /** The sample and height under a place, snapped unless Alt is held. */
  private snapped(cell: Cell, x: number, y: number, free: boolean, kind: Caliper["kind"]): { sample: number; millivolts: number } {
    const { sheet, series, landmarks } = this.shown as Shown;
    const own = series[0];
    const sample = secondsAt(sheet, cell, x) * sheet.rateHz;
    const millivolts = millivoltsAt(sheet, cell, y);
    if (free || !own) return { sample: Math.round(sample), millivolts };
    const samples = cell.overlay ? undefined : samplesOf(own.leads, cell.lead);
    const marks = landmarks(cell.lead);
    const reach = (SNAP_MM / sheet.mmPerS) * sheet.rateHz;
    if (kind === "time") return { sample: snapSample(sample, marks, samples, own.firstSample, reach), millivolts };
    return { sample: Math.round(sample), millivolts: snapMillivolts(millivolts, sample, marks, samples, own.firstSample, { samples: reach, millivolts: SNAP_MM / sheet.mmPerMv }) };
  }

  private press(event: PointerEvent): void {
    const sheet = this.shown?.sheet;
    if (!sheet || event.button !== 0) return;
    const [x, y] = this.millimetres(event);
    this.pointerCell = cellAt(sheet, x, y);
    const reach = Math.max(CALIPER_GRIP_MM, 7 / this.pxPerMm);
    const found = this.calipers.map((caliper) => grip(sheet, caliper, x, y, reach)).find((each) => each !== undefined);
    if (found) {
      this.held = { grip: found, fromX: x, fromY: y, start: { ...found.caliper } };
      this.chosen = found.caliper;
      this.end = found.end;
    } else if (this.tool && this.pointerCell) {
      this.begin(this.tool, this.pointerCell, x, y, event.altKey);
    } else {
      if (this.chosen) this.choose(undefined);
      return;
    }
    this.over.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.changed();
  }

  private begin(kind: Caliper["kind"], cell: Cell, x: number, y: number, alt: boolean): void {
    const at = this.snapped(cell, x, y, alt || !this.snap, kind);
    const lead = this.leadOf(cell);
    const caliper: Caliper =
      kind === "time" ? { kind, lead, a: at.sample, b: at.sample, across: at.millivolts, march: false, role: "" } : { kind, lead, a: at.millivolts, b: at.millivolts, across: at.sample, march: false, role: "" };
    this.calipers.push(caliper);
    this.chosen = caliper;
    this.end = "b";
    this.held = { grip: { caliper, end: "b", cell }, fromX: x, fromY: y, start: { ...caliper } };
  }

  private move(event: PointerEvent): void {
    const held = this.held;
    const sheet = this.shown?.sheet;
    if (!held || !sheet) return;
    const [x, y] = this.millimetres(event);
    const { caliper, end, cell } = held.grip;
    const along = caliper.kind === "time" ? ((x - held.fromX) / sheet.mmPerS) * sheet.rateHz : (held.fromY - y) / sheet.mmPerMv;
    if (end === "both") {
      const by = caliper.kind === "time" ? Math.round(along) : along;
      [caliper.a, caliper.b] = [held.start.a + by, held.start.b + by];
      caliper.across = held.start.across + (caliper.kind === "time" ? (held.fromY - y) / sheet.mmPerMv : Math.round(((x - held.fromX) / sheet.mmPerS) * sheet.rateHz));
    } else {
      const at = this.snapped(cell, x, y, event.altKey || !this.snap, caliper.kind);
      caliper[end] = caliper.kind === "time" ? at.sample : at.millivolts;
    }
    this.changed();
  }

  private release(): void {
    const caliper = this.held?.grip.caliper;
    this.held = undefined;
    // a press without a drag made nothing
    if (caliper && caliper.a === caliper.b) {
      this.calipers = this.calipers.filter((each) => each !== caliper);
      this.choose(undefined);
    }
  }
}
