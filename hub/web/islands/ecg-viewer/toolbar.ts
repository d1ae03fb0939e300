/**
 * The viewer's buttons. They say what was asked for; the island does it. Each has a key, and none of those
 * that pages use which show an ECG: c v y o s (claim, go on, normal, open, skip), j and k.
 */

import type { Words } from "../texts";
import { type Earlier, keyOf } from "./analysis";
import type { Caliper } from "./calipers";
import { button, icon, make } from "./dom";
import { type FilterChoice, HIGH_PASSES, LOW_PASSES, NOTCHES } from "./filters";
import { GAINS, LAYOUTS, SPEEDS } from "./layout";
import { next, nextMode, type View } from "./view";

export interface Wishes {
  /** Change what is shown. */
  view(change: Partial<View>): void;
  single(): void;
  tool(kind: Caliper["kind"] | undefined): void;
  page(pages: number): void;
  jump(seconds: number): void;
  calibrate(): void;
  panel(): void;
  print(): void;
}

export interface Shown {
  view: View;
  tool: Caliper["kind"] | undefined;
  panel: boolean;
  calibrated: boolean;
  hasBeats: boolean;
  hasMedian: boolean;
  shownS: number;
  durationS: number;
  /** Which filters half the sampling rate leaves no room for. */
  rateHz: number;
}

export interface Source {
  id: string;
  label: string;
  /** What stands above the printed sheet: whose it is, where and when it was taken. */
  header: string[];
}

export class Toolbar {
  readonly element = make("div", "ecg-bar no-print");
  private readonly layouts = new Map<string, HTMLButtonElement>();
  private readonly toggles: [HTMLButtonElement, (shown: Shown) => boolean][] = [];
  private readonly texts: [HTMLButtonElement, (shown: Shown) => string][] = [];
  private readonly enabled: [HTMLButtonElement | HTMLSelectElement | HTMLInputElement, (shown: Shown) => boolean][] = [];
  private readonly compare = make("select", "input auto");
  private readonly slider = make("input", "ecg-slider");
  private shown: Shown | undefined;

  constructor(
    private readonly t: Words,
    private readonly icons: string,
    private readonly wishes: Wishes,
    sources: readonly Source[],
  ) {
    this.element.setAttribute("role", "toolbar");
    this.element.setAttribute("aria-label", t("tools"));
    if (sources.length > 1) this.sourcePicker(sources);
    this.arrangement();
    this.scale();
    this.filters();
    this.measuring();
    this.comparing();
    this.moving();
    this.end();
  }

  update(shown: Shown): void {
    this.shown = shown;
    for (const [name, made] of this.layouts) made.ariaPressed = String(shown.view.mode === "sheet" && !shown.view.single && name === shown.view.layout);
    for (const [made, pressed] of this.toggles) made.ariaPressed = String(pressed(shown));
    for (const [made, text] of this.texts) made.textContent = text(shown);
    for (const [made, enabled] of this.enabled) made.disabled = !enabled(shown);
    const last = Math.max(0, shown.durationS - shown.shownS);
    this.slider.max = String(last);
    this.slider.value = String(shown.view.startS);
    this.slider.hidden = last <= 0;
    this.compare.value = shown.view.compare;
  }

  /** Offer the earlier ECGs of the same person. */
  offer(earlier: readonly Earlier[], time: (at: string | null) => string): void {
    const line = (each: Earlier): string => [time(each.taken_at), each.hr_bpm ? `${Math.round(each.hr_bpm)}/min` : "", each.qrs_ms ? `QRS ${Math.round(each.qrs_ms)}` : "", each.qtc_ms ? `QTc ${Math.round(each.qtc_ms)}` : ""].filter(Boolean).join(" · ");
    this.compare.replaceChildren(new Option(this.t("compare_none"), ""), ...earlier.map((each) => new Option(line(each), keyOf(each))));
    this.compare.hidden = earlier.length === 0;
  }

  private get view(): View {
    return (this.shown as Shown).view;
  }

  private group(label: string): HTMLElement {
    const made = make("span", "ecg-group");
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", this.t(label));
    this.element.append(made);
    return made;
  }

  private sourcePicker(sources: readonly Source[]): void {
    const picker = make("select", "input auto");
    picker.setAttribute("aria-label", this.t("source"));
    picker.append(...sources.map((source) => new Option(source.label, source.id)));
    picker.addEventListener("change", () => this.wishes.view({ source: picker.value, startS: 0, calipers: [] }));
    this.element.append(picker);
  }

  private arrangement(): void {
    const group = this.group("layout");
    for (const [at, { name }] of LAYOUTS.entries()) {
      const made = button({ text: name.replace("x", "×"), label: this.t("layout_of", { name: name.replace("x", "×") }), key: String(at + 1) }, () => this.wishes.view({ layout: name, single: "", mode: "sheet" }));
      this.layouts.set(name, made);
      group.append(made);
    }
    group.append(this.toggle("single", "5", (shown) => shown.view.single !== "", () => this.wishes.single()), this.toggle("cabrera", "d", (shown) => shown.view.cabrera, () => this.wishes.view({ cabrera: !this.view.cabrera })));
  }

  private scale(): void {
    const group = this.group("scale");
    group.append(
      this.cycle("speed", "z", (shown) => `${shown.view.mmPerS} mm/s`, () => this.wishes.view({ mmPerS: next<number>(SPEEDS, this.view.mmPerS) })),
      this.cycle("gain", "g", (shown) => `${shown.view.mmPerMv} mm/mV`, () => this.wishes.view({ mmPerMv: next<number>(GAINS, this.view.mmPerMv) })),
      this.cycle("fit", "f", (shown) => this.t(shown.view.fit ? "fit_on" : "fit_off"), () => this.wishes.view({ fit: !this.view.fit })),
    );
    const ruler = button({ label: this.t("calibrate"), key: "u" }, () => this.wishes.calibrate(), icon(this.icons, "ruler"));
    this.toggles.push([ruler, (shown) => shown.calibrated]);
    group.append(ruler);
  }

  private filters(): void {
    const group = this.group("filters");
    const reachable = (values: readonly number[]): number[] => values.filter((hz) => hz < (this.shown as Shown).rateHz / 2);
    const change = (part: Partial<FilterChoice>): void => this.wishes.view({ filters: { ...this.view.filters, ...part } });
    const text = (word: string, hz: number): string => (hz ? this.t(`${word}_at`, { hz }) : this.t(`${word}_off`));
    group.append(
      this.cycle("high_pass", "h", (shown) => text("high_pass", shown.view.filters.highPassHz), () => change({ highPassHz: next(HIGH_PASSES as readonly number[], this.view.filters.highPassHz) })),
      this.cycle("low_pass", "l", (shown) => text("low_pass", shown.view.filters.lowPassHz), () => change({ lowPassHz: next(reachable(LOW_PASSES), this.view.filters.lowPassHz) })),
      this.cycle("notch", "n", (shown) => text("notch", shown.view.filters.notchHz), () => change({ notchHz: next(reachable(NOTCHES), this.view.filters.notchHz) })),
    );
  }

  private measuring(): void {
    const group = this.group("measuring");
    const arm = (kind: Caliper["kind"]): void => this.wishes.tool(this.shown?.tool === kind ? undefined : kind);
    const marks = this.toggle("marks", "0", (shown) => shown.view.marks, () => this.wishes.view({ marks: !this.view.marks }));
    const median = this.toggle("median", "b", (shown) => shown.view.mode !== "sheet", () => this.wishes.view({ mode: nextMode(this.view.mode), calipers: [] }));
    this.enabled.push([marks, (shown) => shown.hasBeats], [median, (shown) => shown.hasMedian]);
    group.append(
      this.toggle("caliper_time", "t", (shown) => shown.tool === "time", () => arm("time")),
      this.toggle("caliper_volt", "a", (shown) => shown.tool === "volt", () => arm("volt")),
      this.toggle("snap", "i", (shown) => shown.view.snap, () => this.wishes.view({ snap: !this.view.snap })),
      marks,
      median,
    );
  }

  private comparing(): void {
    const group = this.group("compare");
    this.compare.dataset["key"] = "e";
    this.compare.title = `${this.t("compare")} (e)`;
    this.compare.setAttribute("aria-label", this.t("compare"));
    this.compare.hidden = true;
    this.compare.addEventListener("change", () => {
      this.wishes.view({ compare: this.compare.value });
      this.compare.blur();
    });
    const overlay = this.cycle("overlay", "6", (shown) => this.t(shown.view.overlay ? "overlay_on" : "overlay_off"), () => this.wishes.view({ overlay: !this.view.overlay }));
    this.enabled.push([overlay, (shown) => shown.view.compare !== "" && shown.view.mode === "sheet"]);
    group.append(this.compare, overlay);
  }

  private moving(): void {
    const group = this.group("time");
    this.slider.type = "range";
    this.slider.min = "0";
    this.slider.step = "0.1";
    this.slider.setAttribute("aria-label", this.t("time"));
    this.slider.addEventListener("input", () => this.wishes.jump(Number(this.slider.value)));
    // the keys move the sheet, not the slider that happens to have been clicked last
    this.slider.addEventListener("change", () => this.slider.blur());
    const more = (shown: Shown): boolean => shown.durationS > shown.shownS + 0.01;
    for (const [word, picture, key, pages] of [["page_back", "left", "PageUp", -1], ["page_on", "right", "PageDown", 1]] as const) {
      const made = button({ label: this.t(word), key }, () => this.wishes.page(pages), icon(this.icons, picture));
      this.enabled.push([made, more]);
      if (pages > 0) group.append(this.slider);
      group.append(made);
    }
  }

  private end(): void {
    const group = this.group("more");
    group.classList.add("push");
    const panel = button({ text: this.t("panel_short"), label: this.t("panel"), key: "p" }, () => this.wishes.panel());
    this.toggles.push([panel, (shown) => shown.panel]);
    group.append(panel, button({ label: this.t("print"), key: "Alt+p" }, () => this.wishes.print(), icon(this.icons, "print")));
  }

  private toggle(word: string, key: string, pressed: (shown: Shown) => boolean, act: () => void): HTMLButtonElement {
    const made = button({ text: this.t(`${word}_short`), label: this.t(word), key }, act);
    this.toggles.push([made, pressed]);
    return made;
  }

  private cycle(word: string, key: string, text: (shown: Shown) => string, act: () => void): HTMLButtonElement {
    const made = button({ text: " ", label: this.t(word), key }, act);
    this.texts.push([made, text]);
    return made;
  }
}
