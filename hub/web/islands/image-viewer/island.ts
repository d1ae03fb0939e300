/** Mounts the image viewer: `data-island="image-viewer"`. */

import { errorKey, postJson, reasonIn } from "../http";
import { register, type Unmount } from "../registry";
import { words } from "../texts";
import { say } from "../toast";
import { Engine, type ToolKey } from "./engine";
import { openingSet, presetsFor, secondPane } from "./layout";
import { LoadError, loadStudy, thumbnailUrl } from "./load";
import { lengthBetween, lengthText } from "./measure";
import type { DisplaySet } from "./metadata";
import { Pane } from "./pane";
import { type PriorStudy, Toolbar } from "./toolbar";

class Viewer {
  private readonly t;
  private readonly page = words();
  private readonly root: string;
  private readonly engine: Engine;
  private readonly toolbar: Toolbar;
  private readonly rail = Object.assign(document.createElement("div"), { className: "viewer-rail" });
  private readonly holder = Object.assign(document.createElement("div"), { className: "viewer-panes" });
  private readonly panes: Pane[] = [];
  private readonly priorLabels = new Map<DisplaySet, string>();
  private readonly resizing: ResizeObserver;
  private sets: DisplaySet[] = [];
  private active = 0;

  constructor(private readonly element: HTMLElement) {
    this.t = words(element);
    this.root = element.dataset["dicomwebRoot"] || "/dicom-web";
    this.engine = new Engine((image, from, to) => {
      const length = lengthBetween(image, from, to);
      return lengthText(length, this.t(length.basis));
    });
    const priors = JSON.parse(element.dataset["priorStudies"] || "[]") as PriorStudy[];
    this.toolbar = new Toolbar(this.t, element.dataset["icons"] ?? "", this.wishes(), priors, Boolean(element.dataset["keyImageUrl"]));
    if (this.engine.onCpu) this.toolbar.element.append(Object.assign(document.createElement("span"), { className: "muted small", textContent: this.t("cpu") }));
    element.append(this.toolbar.element, this.rail, this.holder);
    this.resizing = new ResizeObserver(() => this.engine.rendering.resize(true, true));
    this.resizing.observe(this.holder);
    this.addPane();
    this.element.addEventListener("wheel", (event) => event.preventDefault(), { passive: false });
    document.addEventListener("keydown", this.onKey);
  }

  async open(studyUid: string): Promise<void> {
    this.notice(this.t("loading_series"));
    const sets = await this.fetch(studyUid);
    if (!sets) return;
    this.sets = sets;
    if (sets.length === 0) return this.notice(this.t("no_images"));
    this.notice("");
    this.listSeries("", sets);
    const opening = openingSet(sets);
    if (opening) await this.panes[0]?.show(opening, 0);
    this.update();
  }

  destroy(): void {
    document.removeEventListener("keydown", this.onKey);
    this.resizing.disconnect();
    for (const pane of this.panes) pane.destroy();
    this.engine.destroy();
  }

  private async fetch(studyUid: string): Promise<DisplaySet[] | undefined> {
    try {
      return await loadStudy(this.root, studyUid);
    } catch (error) {
      const reason = error instanceof LoadError ? `${this.page(errorKey(error.status))} (${error.status})` : String(error);
      this.notice(this.t("series_failed", { reason }), true);
      return undefined;
    }
  }

  private wishes() {
    return {
      tool: (tool: ToolKey) => {
        this.engine.choose(tool);
        this.update();
      },
      invert: () => this.pane?.invert(),
      reset: () => this.pane?.reset(),
      play: () => {
        if (this.pane?.playing) this.pane.stop();
        else this.pane?.play();
        this.update();
      },
      layout: (layout: "1x1" | "1x2") => void this.setLayout(layout),
      preset: (preset: { width: number; center: number } | undefined) => this.pane?.setWindow(preset),
      compare: (prior: PriorStudy | undefined) => void this.compare(prior),
      keyImage: () => void this.markKeyImage(),
      clear: () => this.engine.clearMeasurements(),
    };
  }

  private get pane(): Pane | undefined {
    return this.panes[this.active];
  }

  private addPane(): Pane {
    const pane = new Pane(this.engine, `pane-${this.panes.length}`, this.holder, this.t, () => this.update());
    const at = this.panes.push(pane) - 1;
    pane.element.addEventListener("pointerdown", () => this.activate(at), true);
    return pane;
  }

  private activate(at: number): void {
    this.active = at;
    this.update();
  }

  private async setLayout(layout: "1x1" | "1x2"): Promise<void> {
    if (layout === "1x1" && this.panes.length === 2) {
      this.active = 0;
      this.panes.pop()?.destroy();
    }
    this.holder.dataset["layout"] = layout;
    if (layout === "1x2" && this.panes.length === 1) {
      const current = this.panes[0]?.set;
      const next = secondPane(this.sets.length, Math.max(0, current ? this.sets.indexOf(current) : 0), current?.images.length ?? 0);
      const pane = this.addPane();
      this.engine.rendering.resize(true, true);
      const set = this.sets[next.set];
      if (set) await pane.show(set, next.image);
    }
    // a pane of another shape: fit the pictures anew
    this.engine.rendering.resize(true, true);
    for (const pane of this.panes) pane.fit();
    this.update();
  }

  private async compare(prior: PriorStudy | undefined): Promise<void> {
    this.rail.querySelector("[data-prior]")?.remove();
    this.priorLabels.clear();
    if (!prior) return this.setLayout("1x1");
    const sets = await this.fetch(prior.study_uid);
    const label = this.t("prior", { date: prior.date });
    for (const set of sets ?? []) this.priorLabels.set(set, label);
    if (!sets || sets.length === 0) return;
    this.listSeries(label, sets);
    await this.setLayout("1x2");
    const alike = openingSet(sets, this.panes[0]?.set?.modality);
    if (alike) await this.panes[1]?.show(alike, 0, label);
  }

  private listSeries(title: string, sets: DisplaySet[]): void {
    const group = Object.assign(document.createElement("div"), { className: "stack" });
    if (title) {
      group.dataset["prior"] = "";
      group.append(Object.assign(document.createElement("div"), { className: "rail-title", textContent: title }));
    }
    for (const set of sets) group.append(this.seriesButton(set));
    this.rail.append(group);
  }

  private seriesButton(set: DisplaySet): HTMLButtonElement {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "viewer-series" });
    button.dataset["set"] = set.key;
    const image = Object.assign(document.createElement("img"), { src: thumbnailUrl(this.root, set), alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(Object.assign(document.createElement("div"), { className: "noimg", textContent: set.modality })));
    const name = [this.t("series", { number: set.seriesNumber }), set.description].filter(Boolean).join(" ");
    button.title = name;
    button.append(
      image,
      Object.assign(document.createElement("div"), { className: "ellipsis", textContent: name }),
      Object.assign(document.createElement("div"), { className: "rail-title", textContent: `${set.modality} ${this.t("images", { count: set.images.length })}` }),
    );
    button.addEventListener("click", () => void this.pane?.show(set, 0, this.priorLabels.get(set) ?? ""));
    return button;
  }

  private async markKeyImage(): Promise<void> {
    const pane = this.pane;
    const image = pane?.image;
    if (!pane?.settled || !image) return;
    const window = pane.window;
    let status = 0;
    let body = "";
    try {
      const response = await postJson(this.element.dataset["keyImageUrl"] ?? "", {
        study_instance_uid: image.studyUid,
        series_instance_uid: image.seriesUid,
        sop_instance_uid: image.sopUid,
        frame: image.frame,
        window_center: window?.center ?? null,
        window_width: window?.width ?? null,
      });
      status = response.status;
      body = await response.text();
      if (response.ok) {
        say("ok", this.t("key_image_saved"));
        document.dispatchEvent(new CustomEvent("key-image:saved", { bubbles: true }));
        return;
      }
    } catch {
      // unreachable: said below
    }
    say("danger", this.t("key_image_failed", { reason: reasonIn(body) || this.page(errorKey(status)) }));
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    const target = event.target as HTMLElement;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable || event.ctrlKey || event.altKey || event.metaKey) return;
    const count = this.pane?.set?.images.length ?? 0;
    const steps: Record<string, number> = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -count, End: count };
    const step = steps[event.key];
    if (step === undefined || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    this.pane?.scroll(step);
  };

  private notice(text: string, error = false): void {
    this.rail.querySelector(".rail-notice")?.remove();
    this.holder.querySelector(":scope > .notice")?.remove();
    if (!text) return;
    const pane = this.panes[0]?.element;
    const line = pane?.querySelector<HTMLElement>(".notice");
    if (!line) return;
    line.textContent = text;
    line.hidden = false;
    line.classList.toggle("error", error);
  }

  private update(): void {
    this.panes.forEach((pane, at) => pane.element.classList.toggle("active", at === this.active && this.panes.length > 1));
    const set = this.pane?.set;
    for (const button of this.rail.querySelectorAll<HTMLElement>(".viewer-series")) button.ariaPressed = String(button.dataset["set"] === set?.key);
    this.toolbar.update({
      tool: this.engine.chosen,
      layout: this.panes.length > 1 ? "1x2" : "1x1",
      playing: this.pane?.playing ?? false,
      canPlay: (set?.multiframe ?? false) && (set?.images.length ?? 0) > 1,
      canMark: this.pane?.settled ?? false,
      presets: presetsFor(set?.modality ?? ""),
    });
  }
}

export function mountImageViewer(element: HTMLElement): Unmount {
  const viewer = new Viewer(element);
  void viewer.open(element.dataset["study"] ?? "");
  return () => viewer.destroy();
}

register("image-viewer", mountImageViewer);
