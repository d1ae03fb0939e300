/** Mounts the ECG viewer: `data-island="ecg-viewer"`. Until it has drawn, and if it cannot, the server's sheet stays. */

import { errorKey } from "../http";
import type { Unmount } from "../registry";
import { words } from "../texts";
import { say } from "../toast";
import { type Earlier, keyOf } from "./analysis";
import { Board } from "./board";
import { calibrate, measuredPxPerMm, NOMINAL_PX_PER_MM } from "./calibration";
import { type Caliper, intervalMs, qtc, rrFor } from "./calipers";
import { button, make } from "./dom";
import { isOff } from "./filters";
import { Keys } from "./keys";
import { lastStart } from "./layout";
import { LoadError, loadAnalysis, loadEarlier, loadRecording, sendEdit, STRETCH_S } from "./load";
import { toSvg } from "./paint";
import { Panel, wordOf } from "./panel";
import { beatsOf, type Loaded, medianOf, medianPicture, rhythm } from "./picture";
import { type Source, Toolbar } from "./toolbar";
import { hashOf, START, type View, viewFrom } from "./view";

const LEAST_PX_PER_MM = 1.5;
const MOST_PX_PER_MM = 14;
/** Two sheets are scrolled rather than drawn smaller than this. */
const READABLE_PX_PER_MM = 2.4;
const WIDE_PX = 1150;
const PANEL_KEY = "hub.ecg.panel";

class Viewer {
  private readonly t;
  private readonly page = words();
  private readonly exam: string;
  private readonly sources: Source[];
  private readonly toolbar: Toolbar;
  private readonly panel: Panel;
  private readonly root = make("div", "ecg-live");
  private readonly summary = make("div", "ecg-summary no-print");
  private readonly stage = make("div", "ecg-stage");
  private readonly status = make("div", "ecg-status no-print");
  private readonly printed = make("div", "ecg-print");
  private readonly boards: [Board, Board];
  private readonly resizing: ResizeObserver;
  private readonly keys: Keys;
  private readonly loaded = new Map<string, Loaded>();
  private active: Board;
  private view: View;
  private tool: Caliper["kind"] | undefined;
  private panelOpen: boolean;
  private earlier: Earlier[] = [];
  private main: Loaded | undefined;
  private other: Loaded | undefined;
  private asked = 0;
  private waiting = 0;

  constructor(private readonly element: HTMLElement) {
    this.t = words(element);
    this.exam = element.dataset["exam"] ?? "";
    this.sources = JSON.parse(element.dataset["sources"] || "[]") as Source[];
    const started: View = { ...START, source: this.sources.at(-1)?.id ?? "", compare: element.dataset["compare"] ?? "" };
    this.view = viewFrom(element.dataset["own"] === "true" ? location.hash : "", started);
    const mayEdit = element.dataset["mayEdit"] === "true";
    this.toolbar = new Toolbar(this.t, element.dataset["icons"] ?? "", this.wishes(), this.sources);
    this.panel = new Panel(this.t, mayEdit, (at) => this.time(at), { edit: (...change) => this.edit(...change) });
    const hooks = {
      changed: (board: Board) => this.chosen(board),
      zoom: (lead: string) => this.zoom(lead),
      caliperText: (caliper: Caliper) => this.caliperText(caliper),
    };
    this.boards = [new Board(hooks), new Board(hooks)];
    this.active = this.boards[0];
    this.panelOpen = localStorage.getItem(PANEL_KEY) ? localStorage.getItem(PANEL_KEY) === "open" : element.clientWidth >= WIDE_PX;
    this.summary.setAttribute("role", "status");
    this.status.setAttribute("aria-live", "polite");
    this.stage.append(...this.boards.map((board) => board.element));
    this.root.append(this.toolbar.element, this.summary, make("div", "ecg-main", this.stage, this.panel.element), this.status, this.printed);
    this.keys = new Keys(this.t, {
      board: () => this.active,
      page: (pages) => this.turn(pages),
      seconds: (seconds) => this.jump(this.view.startS + seconds),
      ends: (last) => this.jump(last ? Infinity : 0),
      place: () => this.place(),
      leave: () => this.leave(),
    });
    this.root.append(this.keys.help);
    this.resizing = new ResizeObserver(() => this.later());
    window.addEventListener("beforeprint", this.preparePrint);
  }

  async open(): Promise<void> {
    if (this.sources.length === 0) return;
    try {
      await this.load();
    } catch (error) {
      // the server's sheet stays, and what was wrong is said beside it
      say("warn", this.t("failed", { reason: this.reason(error) }));
      return;
    }
    this.element.append(this.root);
    this.element.classList.add("live");
    this.boards[0].calipers = [...this.view.calipers];
    this.resizing.observe(this.stage);
    this.keys.install();
    this.draw();
    void this.loadMore();
  }

  destroy(): void {
    this.resizing.disconnect();
    this.keys.remove();
    window.removeEventListener("beforeprint", this.preparePrint);
    this.root.remove();
    this.element.classList.remove("live");
  }

  private wishes(): ConstructorParameters<typeof Toolbar>[2] {
    return {
      view: (change) => this.change(change),
      single: () => this.zoom(this.view.single ? "" : (this.active.chosen?.lead ?? "II") || "II"),
      tool: (kind) => {
        this.tool = kind;
        this.draw();
      },
      page: (pages) => this.turn(pages),
      jump: (seconds) => this.jump(seconds),
      calibrate: () => calibrate(this.t, () => this.change({ fit: false })),
      panel: () => {
        this.panelOpen = !this.panelOpen;
        localStorage.setItem(PANEL_KEY, this.panelOpen ? "open" : "shut");
        this.draw();
      },
      print: () => this.print(),
    };
  }

  private change(change: Partial<View>): void {
    const before = this.view;
    this.view = { ...this.view, ...change };
    if (change.calipers) for (const board of this.boards) [board.calipers, board.chosen] = [[], undefined];
    this.clampStart();
    this.draw();
    if (this.view.source !== before.source || this.view.compare !== before.compare || !this.holds(this.main)) void this.reload();
  }

  /** Load what the view asks for and is not there; of two requests only the later is shown. */
  private async reload(): Promise<void> {
    const asked = ++this.asked;
    try {
      await this.load();
      if (asked === this.asked) this.draw();
      await this.loadMore();
    } catch (error) {
      if (asked !== this.asked) return;
      say("danger", this.t("failed", { reason: this.reason(error) }));
      this.view = { ...this.view, compare: "" };
      this.draw();
    }
  }

  private async load(): Promise<void> {
    const { source, startS } = this.view;
    const known = this.loaded.get(source);
    if (known && this.holds(known)) {
      this.main = known;
      return;
    }
    const recording = await loadRecording(this.exam, source, startS > STRETCH_S / 2 ? startS - 20 : 0);
    const whole = { examId: this.exam, name: this.t("this_ecg"), recording, analysis: known?.analysis };
    this.loaded.set(source, whole);
    if (source === this.view.source) this.main = whole;
    this.clampStart();
  }

  /** What is pleasant to have and must not keep the tracing waiting: the analysis, earlier ECGs, the one compared. */
  private async loadMore(): Promise<void> {
    const main = this.main;
    if (!main) return;
    if (!main.analysis) {
      try {
        main.analysis = await loadAnalysis(this.exam, main.recording.source);
        this.panel.show(main.analysis);
      } catch (error) {
        this.panel.show(undefined, this.t("analysis_failed", { reason: this.reason(error) }));
      }
    } else this.panel.show(main.analysis);
    if (this.earlier.length === 0) this.earlier = await loadEarlier(this.exam).catch(() => []);
    this.toolbar.offer(this.earlier, (at) => this.time(at));
    await this.loadOther();
    this.draw();
  }

  private async loadOther(): Promise<void> {
    const wanted = this.view.compare;
    this.other = undefined;
    const found = this.earlier.find((each) => keyOf(each) === wanted) ?? this.earlier.find((each) => each.exam_id === wanted);
    if (!found) {
      this.view = { ...this.view, compare: "" };
      return;
    }
    const key = keyOf(found);
    let other = this.loaded.get(key);
    if (!other) {
      const [recording, analysis] = await Promise.all([loadRecording(found.exam_id, found.source), loadAnalysis(found.exam_id, found.source).catch(() => undefined)]);
      other = { examId: found.exam_id, name: `${this.time(found.taken_at)} · ${found.number}`, recording, analysis };
      this.loaded.set(key, other);
    }
    if (this.view.compare !== wanted) return;
    this.view = { ...this.view, compare: key };
    this.other = other;
  }

  private holds(loaded: Loaded | undefined): boolean {
    if (!loaded || loaded.recording.source !== this.view.source) return false;
    const { firstSample, nSamples, totalSamples, rateHz } = loaded.recording;
    const shown = this.boards[0].sheet?.shownS ?? 10;
    const last = Math.min(totalSamples, Math.ceil((this.view.startS + shown) * rateHz));
    return this.view.startS * rateHz >= firstSample - 1 && last <= firstSample + nSamples + 1;
  }

  private clampStart(): void {
    if (!this.main) return;
    const sheet = rhythm(this.main, this.view).sheet;
    this.view = { ...this.view, startS: Math.min(Math.max(0, this.view.startS), lastStart(this.main.recording, sheet.shownS)) };
  }

  private later(): void {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    const { main, view } = this;
    if (!main) return;
    this.root.dataset["panel"] = this.panelOpen ? "open" : "shut";
    const stacked = this.other !== undefined && view.mode === "sheet" && !view.overlay;
    const over = stacked ? undefined : this.other;
    const shown = (view.mode === "sheet" ? undefined : medianPicture(main, view, over)) ?? rhythm(main, view, over);
    this.boards[1].element.hidden = !stacked;
    this.boards[0].title.textContent = stacked ? main.name : over ? this.t("laid_over", { name: over.name }) : "";
    const pxPerMm = this.scaleFor(shown.sheet.widthMm, shown.sheet.heightMm, stacked);
    for (const board of this.boards) [board.tool, board.snap] = [this.tool, view.snap];
    this.stage.classList.toggle("measuring", this.tool !== undefined);
    this.boards[0].show(shown, pxPerMm);
    this.boards[0].describe(this.t("sheet_label", { scale: this.scaleWords() }));
    this.caption(this.boards[0], pxPerMm);
    if (stacked && this.other) {
      this.boards[1].title.textContent = this.other.name;
      this.boards[1].show(rhythm(this.other, { ...view, startS: 0 }), pxPerMm);
      this.boards[1].describe(this.other.name);
      this.caption(this.boards[1], pxPerMm);
    }
    this.update(view.mode === "sheet" ? shown.sheet.shownS : Infinity);
  }

  /** CSS pixels a millimetre is drawn with: as large as the pane allows, or as the screen was measured. */
  private scaleFor(widthMm: number, heightMm: number, stacked: boolean): number {
    this.stage.classList.remove("beside");
    if (!this.view.fit) return measuredPxPerMm() ?? NOMINAL_PX_PER_MM;
    const extra = 26 + (this.boards[0].title.textContent ? 22 : 0);
    const byWidth = (this.stage.clientWidth - 12) / widthMm;
    const byHeight = (this.stage.clientHeight - extra - 8) / heightMm;
    const [above, beside] = [Math.min(byWidth, (this.stage.clientHeight / 2 - extra - 8) / heightMm), Math.min((this.stage.clientWidth - 28) / 2 / widthMm, byHeight)];
    const readable = Math.max(above, beside) >= READABLE_PX_PER_MM;
    this.stage.classList.toggle("beside", stacked && readable && beside > above);
    const wanted = !stacked ? Math.min(byWidth, byHeight) : readable ? Math.max(above, beside) : byWidth;
    return Math.min(MOST_PX_PER_MM, Math.max(LEAST_PX_PER_MM, wanted));
  }

  private update(shownS: number): void {
    const { main, view } = this;
    if (!main) return;
    const { recording, analysis } = main;
    this.toolbar.update({
      view,
      tool: this.tool,
      panel: this.panelOpen,
      calibrated: measuredPxPerMm() !== undefined,
      hasBeats: beatsOf(main).length > 0,
      hasMedian: Boolean(medianOf(analysis?.median) ?? medianOf(analysis?.device.median)),
      shownS,
      durationS: recording.totalSamples / recording.rateHz,
      rateHz: recording.rateHz,
    });
    const summary = this.panel.summary();
    const urgent = (analysis?.hints ?? []).filter((hint) => hint.level !== "note");
    this.summary.replaceChildren(
      ...(summary ? [make("span", "badge grey", this.panel.summarySource()), make("span", "num", summary)] : []),
      ...(analysis?.quality && analysis.quality.verdict !== "good" ? [make("span", `badge ${analysis.quality.verdict === "repeat" ? "red" : "orange"}`, `${this.t("quality")}: ${this.t(`verdict_${analysis.quality.verdict}`)}`)] : []),
      ...urgent.slice(0, 3).map((hint) => make("span", `badge ${hint.level === "critical" ? "red" : "orange"}`, wordOf(this.t, `hint.${hint.rule}`, hint.rule))),
    );
    this.summary.hidden = this.summary.childElementCount === 0;
    this.tellCaliper();
  }

  private filterWords(): string {
    const { filters } = this.view;
    if (isOff(filters)) return this.t("unfiltered");
    const parts = [
      filters.highPassHz ? this.t("high_pass_at", { hz: filters.highPassHz }) : "",
      filters.lowPassHz ? this.t("low_pass_at", { hz: filters.lowPassHz }) : "",
      filters.notchHz ? this.t("notch_at", { hz: filters.notchHz }) : "",
    ];
    return this.t("filtered", { filters: parts.filter(Boolean).join(" · ") });
  }

  private scaleWords(): string {
    const { view } = this;
    const sheet = this.boards[0].sheet;
    const what = view.mode !== "sheet" ? this.t(`mode_${view.mode}`) : view.single ? this.t("lead_alone", { lead: view.single }) : view.layout.replace("x", "×") + (view.cabrera ? " Cabrera" : "");
    return `${sheet?.mmPerS ?? view.mmPerS} mm/s · ${sheet?.mmPerMv ?? view.mmPerMv} mm/mV · ${what}`;
  }

  private timeWords(board: Board): string {
    const { sheet } = board;
    if (!sheet || this.view.mode !== "sheet") return "";
    return this.t("stretch", { from: sheet.startS.toFixed(1), to: (sheet.startS + sheet.shownS).toFixed(1) });
  }

  private caption(board: Board, pxPerMm: number): void {
    const measured = measuredPxPerMm();
    const share = Math.round((100 * pxPerMm) / (measured ?? NOMINAL_PX_PER_MM));
    const size = measured === undefined ? this.t("uncalibrated") : share === 100 ? this.t("true_size") : this.t("scaled", { percent: share });
    const cut = board.sheet?.cut ? [make("span", "strong warn", this.t("cut"))] : [];
    board.words.replaceChildren(make("span", isOff(this.view.filters) ? "" : "strong warn", this.filterWords()), ...cut, make("span", "push", [this.timeWords(board), this.scaleWords()].filter(Boolean).join(" · ")), make("span", measured === undefined ? "warn" : "muted", size));
  }

  private caliperText(caliper: Caliper): string {
    const rateHz = this.boards[0].calipers.includes(caliper) ? this.boards[0].sheet?.rateHz : this.boards[1].sheet?.rateHz;
    if (caliper.kind === "volt") return `${Math.abs(caliper.b - caliper.a).toFixed(2)} mV`;
    const ms = intervalMs(caliper, rateHz ?? 1);
    const role = caliper.role ? `${caliper.role.toUpperCase()} ` : "";
    return `${role}${Math.round(ms)} ms${caliper.role !== "qt" && ms > 200 ? ` · ${Math.round(60000 / ms)}/min` : ""}`;
  }

  private chosen(board: Board): void {
    this.active = board;
    this.tellCaliper();
  }

  /** The line below: what the chosen caliper measures and what can be done with it, or how to begin. */
  private tellCaliper(): void {
    const board = this.active;
    const caliper = board.chosen;
    if (!caliper) {
      this.status.replaceChildren(make("span", "muted", this.t(this.tool ? `draw_${this.tool}` : "idle")));
      return;
    }
    const set = (change: Partial<Caliper>): void => {
      if (change.role) for (const each of board.calipers) if (each.role === change.role) each.role = "";
      Object.assign(caliper, change);
      board.paintCalipers();
      this.tellCaliper();
    };
    const toggle = (word: string, key: string, on: boolean, act: () => void): HTMLButtonElement => Object.assign(button({ text: this.t(`${word}_short`), label: this.t(word), key }, act), { ariaPressed: String(on) });
    const time = caliper.kind === "time";
    this.status.replaceChildren(
      make("span", "strong num", `${caliper.lead} ${this.caliperText(caliper)}`),
      ...(time
        ? [
            toggle("march", "m", caliper.march, () => set({ march: !caliper.march })),
            toggle("role_rr", "r", caliper.role === "rr", () => set({ role: caliper.role === "rr" ? "" : "rr" })),
            toggle("role_qt", "q", caliper.role === "qt", () => set({ role: caliper.role === "qt" ? "" : "qt" })),
          ]
        : []),
      button({ text: this.t("ends_short"), label: this.t("ends"), key: "w" }, () => this.nextEnd()),
      button({ text: this.t("remove_short"), label: this.t("remove"), key: "x" }, () => board.remove()),
      make("span", "num", this.qtcWords(board)),
    );
  }

  private nextEnd(): void {
    const ends = ["b", "a", "both"] as const;
    this.active.end = ends[(ends.indexOf(this.active.end) + 1) % ends.length] as (typeof ends)[number];
    this.active.paintCalipers();
  }

  private qtcWords(board: Board): string {
    const qt = board.calipers.find((each) => each.role === "qt");
    const rateHz = board.sheet?.rateHz ?? 1;
    const loaded = board === this.boards[0] ? this.main : this.other;
    const rr = rrFor(board.calipers, rateHz, loaded?.analysis?.measurement?.rr_ms ?? null);
    if (!qt) return "";
    if (!rr) return this.t("qtc_needs_rr");
    const ms = intervalMs(qt, rateHz);
    const values = Object.fromEntries(Object.entries(qtc(ms, rr.ms)).map(([name, value]) => [name, Math.round(value)]));
    return this.t("qtc", { qt: Math.round(ms), rr: Math.round(rr.ms), by: this.t(rr.byHand ? "rr_by_caliper" : "rr_by_machine"), ...values });
  }

  private place(): boolean {
    if (!this.tool) return false;
    const loaded = this.active === this.boards[0] ? this.main : this.other;
    this.active.place(this.tool, loaded && this.view.mode === "sheet" ? beatsOf(loaded).map((beat) => beat.sample) : [], this.view.single || "II");
    return true;
  }

  /** One step back: a caliper let go, the tool laid down, the single lead left. */
  private leave(): boolean {
    if (this.active.chosen) this.active.choose(undefined);
    else if (this.tool) {
      this.tool = undefined;
      this.draw();
    } else if (this.view.single) this.zoom("");
    else if (this.view.mode !== "sheet") this.change({ mode: "sheet", calipers: [] });
    else return false;
    return true;
  }

  private zoom(lead: string): void {
    this.change({ single: lead === this.view.single ? "" : lead, mode: "sheet" });
  }

  private turn(pages: number): void {
    this.jump(this.view.startS + pages * (this.boards[0].sheet?.shownS ?? 10));
  }

  private jump(seconds: number): void {
    const end = (this.main?.recording.totalSamples ?? 0) / (this.main?.recording.rateHz ?? 1);
    this.change({ startS: Math.min(end, Math.max(0, seconds)) });
  }

  private async edit(name: string, lead: string, value: number | null, reason: string): Promise<boolean> {
    const { main } = this;
    if (!main) return false;
    try {
      main.analysis = await sendEdit(this.exam, { source: main.recording.source, name, lead, value, reason });
      this.panel.show(main.analysis);
      this.draw();
      say("ok", this.t("edit_kept"));
      return true;
    } catch (error) {
      say("danger", this.t("edit_failed", { reason: this.reason(error) }));
      return false;
    }
  }

  private print(): void {
    if (this.element.dataset["own"] === "true") return window.print();
    const view: View = { ...this.view, calipers: this.boards[0].calipers };
    window.open(`/exams/${this.exam}/ecg${hashOf(view)}`, "_blank", "noopener");
  }

  /** Paper shows what the screen shows: the same scenes, in true millimetres. */
  private readonly preparePrint = (): void => {
    const header = this.sources.find((source) => source.id === this.view.source)?.header ?? [];
    const summary = this.panel.summary();
    const sheets = this.boards.filter((board) => !board.element.hidden).map((board) => {
      const lines = [...header, ...(board.title.textContent ? [board.title.textContent] : []), ...(board === this.boards[0] && summary ? [`${this.panel.summarySource()}   ${summary}`] : [])];
      return toSvg(board.scenes(), { header: lines, footerLeft: [this.filterWords(), board.sheet?.cut ? this.t("cut") : ""].filter(Boolean).join(" · "), footerRight: [this.timeWords(board), this.scaleWords()].filter(Boolean).join(" · ") });
    });
    this.printed.innerHTML = sheets.map((svg) => `<div class="ecg-print-sheet">${svg}</div>`).join("");
  };

  private time(at: string | null): string {
    if (!at) return this.t("time_unknown");
    // a device's own clock, which states no zone, stands as it is written
    if (!/(Z|[+-]\d\d:?\d\d)$/.test(at)) return at.replace("T", " ");
    const moment = new Date(at);
    return Number.isNaN(moment.valueOf()) ? at : moment.toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "short", timeZone: this.element.dataset["zone"] || undefined });
  }

  private reason(error: unknown): string {
    if (!(error instanceof LoadError)) return String(error);
    return error.message || this.page(errorKey(error.status));
  }
}

export function mountEcgViewer(element: HTMLElement): Unmount {
  const viewer = new Viewer(element);
  void viewer.open();
  return () => viewer.destroy();
}
