/** One picture on the screen with its corners, edge letters and honest notices. */

import * as core from "@cornerstonejs/core";
import * as tools from "@cornerstonejs/tools";
import { errorKey } from "../http";
import { type Words, words } from "../texts";
import { type Engine, introduce } from "./engine";
import { moved, rangeOf, type Window, windowOf } from "./layout";
import { type DisplaySet, type ImageInfo, plane } from "./metadata";
import { type Markers, orientationMarkers, overlayTexts } from "./overlay";

const CORNERS = ["tl", "tr", "bl", "br"] as const;
const EDGES = ["left", "right", "top", "bottom"] as const;

export class Pane {
  readonly element: HTMLDivElement;
  private readonly canvas: HTMLDivElement;
  private readonly notice: HTMLDivElement;
  private readonly priorMark: HTMLDivElement;
  private readonly viewport: core.Types.IStackViewport;
  private readonly pageWords = words();
  private readonly failures = new Map<string, string>();
  private wanted = 0;
  /** What was drawn last. The viewport's own index moves before the picture has come. */
  private onScreen = "";
  private loadingTimer: ReturnType<typeof setTimeout> | undefined;
  set: DisplaySet | undefined;
  playing = false;

  constructor(private readonly engine: Engine, readonly id: string, holder: HTMLElement, private readonly t: Words, private readonly onChange: () => void) {
    const part = (className: string): HTMLDivElement => Object.assign(document.createElement("div"), { className });
    this.element = part("viewer-pane");
    this.canvas = part("canvas");
    this.notice = part("notice");
    this.priorMark = part("prior-mark");
    this.notice.hidden = this.priorMark.hidden = true;
    this.element.append(this.canvas, ...CORNERS.map((corner) => part(`overlay ${corner}`)), ...EDGES.map((edge) => part(`marker ${edge}`)), this.notice, this.priorMark);
    holder.append(this.element);
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.viewport = engine.open(id, this.canvas);
    const { Events } = core.Enums;
    this.canvas.addEventListener(Events.STACK_VIEWPORT_SCROLL, (event) => this.expect((event as CustomEvent<{ newImageIdIndex: number }>).detail.newImageIdIndex));
    this.canvas.addEventListener(Events.STACK_NEW_IMAGE, (event) => {
      this.onScreen = (event as CustomEvent<{ imageId: string }>).detail.imageId;
      this.failures.delete(this.onScreen);
      this.refresh();
    });
    for (const name of [Events.IMAGE_RENDERED, Events.VOI_MODIFIED, Events.CAMERA_MODIFIED]) this.canvas.addEventListener(name, () => this.refresh());
    core.eventTarget.addEventListener(Events.IMAGE_LOAD_ERROR, this.onLoadError);
    core.eventTarget.addEventListener(Events.IMAGE_LOAD_FAILED, this.onLoadError);
    window.addEventListener("unhandledrejection", this.onSilentFailure);
  }

  /** The picture on the screen, or the one that should be and failed. */
  get image(): ImageInfo | undefined {
    return this.set?.images[this.wanted];
  }

  /** Whether the picture that should be shown is the one that is. */
  get settled(): boolean {
    return this.image !== undefined && this.onScreen === this.image.imageId && !this.failures.has(this.image.imageId);
  }

  get window(): Window | undefined {
    const range = this.viewport.getProperties().voiRange;
    return range ? windowOf(range) : undefined;
  }

  async show(set: DisplaySet, index: number, priorLabel = ""): Promise<void> {
    this.stop();
    this.set = set;
    this.wanted = index;
    this.onScreen = "";
    this.failures.clear();
    this.priorMark.textContent = priorLabel;
    this.priorMark.hidden = !priorLabel;
    introduce(set);
    this.tell(this.t("loading"));
    try {
      await this.viewport.setStack(set.images.map((image) => image.imageId), index);
      if (!this.settled) return this.refresh();
      this.original();
      this.viewport.resetCamera();
      this.viewport.render();
      tools.utilities.stackPrefetch.enable(this.canvas);
    } catch (error) {
      this.fail(this.image?.imageId ?? "", error);
    }
    this.refresh();
  }

  scroll(step: number): void {
    if (!this.set) return;
    this.goTo(moved(this.wanted, step, this.set.images.length));
  }

  goTo(index: number): void {
    if (!this.set || index === this.wanted) return;
    this.expect(index);
    this.viewport.setImageIdIndex(index).catch((error: unknown) => this.fail(this.set?.images[index]?.imageId ?? "", error));
  }

  /** Fit the picture to the pane again, its window kept. */
  fit(): void {
    this.viewport.resetCamera();
    this.viewport.render();
  }

  setWindow(window: Window | undefined): void {
    if (window) this.viewport.setProperties({ voiRange: rangeOf(window) });
    else this.original();
    this.viewport.render();
  }

  invert(): void {
    this.viewport.setProperties({ invert: !this.viewport.getProperties().invert });
    this.viewport.render();
  }

  reset(): void {
    this.original();
    this.viewport.resetCamera();
    this.viewport.render();
  }

  /**
   * Window and polarity as the object states them. Cornerstone's reset puts back the colours from before it
   * inverted a MONOCHROME1 picture while it still calls it inverted: such a picture would show as its negative.
   */
  private original(): void {
    this.viewport.resetProperties();
    const actor = this.viewport.getDefaultActor()?.actor as core.Types.ImageActor | undefined;
    if (!this.viewport.getProperties().invert || core.getShouldUseCPURendering()) return;
    const colours = actor?.getProperty().getRGBTransferFunction(0);
    if (colours) core.utilities.invertRgbTransferFunction(colours);
  }

  play(): void {
    if (!this.set) return;
    this.playing = true;
    tools.utilities.cine.playClip(this.canvas, { framesPerSecond: this.set.framesPerSecond, loop: true });
  }

  stop(): void {
    if (this.playing) tools.utilities.cine.stopClip(this.canvas);
    this.playing = false;
  }

  destroy(): void {
    this.stop();
    clearTimeout(this.loadingTimer);
    core.eventTarget.removeEventListener(core.Enums.Events.IMAGE_LOAD_ERROR, this.onLoadError);
    core.eventTarget.removeEventListener(core.Enums.Events.IMAGE_LOAD_FAILED, this.onLoadError);
    window.removeEventListener("unhandledrejection", this.onSilentFailure);
    this.engine.close(this.id);
    this.element.remove();
  }

  /** The stack moves to `index`; until its picture is there the old one must not pass for it. */
  private expect(index: number): void {
    this.wanted = index;
    clearTimeout(this.loadingTimer);
    this.loadingTimer = setTimeout(() => this.refresh(), 120);
    if (this.failures.has(this.image?.imageId ?? "")) this.refresh();
  }

  private readonly onLoadError = (event: Event): void => {
    const detail = (event as CustomEvent<{ imageId?: string; error?: unknown }>).detail;
    if (detail.imageId && this.set?.images.some((image) => image.imageId === detail.imageId)) this.fail(detail.imageId, detail.error);
  };

  /** Some decoders throw where nobody waits: a picture still missing then will not come. */
  private readonly onSilentFailure = (event: PromiseRejectionEvent): void => {
    if (!(event.reason instanceof Error)) return; // a refused request reports itself
    const imageId = this.image?.imageId ?? "";
    setTimeout(() => {
      if (this.image?.imageId === imageId && !this.settled) this.fail(imageId, event.reason);
    }, 500);
  };

  private fail(imageId: string, error: unknown): void {
    if (this.failures.has(imageId)) return;
    this.failures.set(imageId, this.reasonOf(error));
    this.refresh();
  }

  private reasonOf(error: unknown): string {
    const inner = (error as { error?: unknown } | undefined)?.error ?? error;
    const status = (inner as { status?: number } | undefined)?.status;
    if (typeof status === "number") return `${this.pageWords(errorKey(status))} (${status})`;
    return inner instanceof Error ? inner.message : String(inner ?? "");
  }

  /** Screen pixels per pixel of the picture, the same for both ways of rendering. */
  private zoom(image: ImageInfo): number {
    const { origin, row } = plane(image.dataset);
    const span = 100 * image.spacing.columnMm;
    const end = origin.map((value, axis) => value + row[axis]! * span) as [number, number, number];
    const [a, b] = [this.viewport.worldToCanvas([...origin]), this.viewport.worldToCanvas(end)];
    return Math.hypot(b[0] - a[0], b[1] - a[1]) / 100;
  }

  private tell(text: string, error = false): void {
    this.notice.textContent = text;
    this.notice.hidden = !text;
    this.notice.classList.toggle("error", error);
  }

  private refresh(): void {
    const { set, image } = this;
    if (!set || !image) return;
    const failure = this.failures.get(image.imageId);
    const settled = this.settled;
    if (failure !== undefined) this.tell(this.t("image_failed", { n: this.wanted + 1, reason: failure }), true);
    else this.tell(settled ? "" : this.t("loading"));
    this.canvas.style.visibility = settled ? "visible" : "hidden";
    const texts = overlayTexts(set, image, { index: this.wanted, window: settled ? this.window : undefined, zoom: settled ? this.zoom(image) : undefined }, this.t);
    for (const corner of CORNERS) this.element.querySelector(`.overlay.${corner}`)!.textContent = texts[corner];
    const markers: Partial<Markers> = settled ? (orientationMarkers(image.dataset) ?? {}) : {};
    for (const edge of EDGES) this.element.querySelector(`.marker.${edge}`)!.textContent = markers[edge] ?? "";
    this.element.dataset["settled"] = String(settled);
    this.onChange();
  }
}
