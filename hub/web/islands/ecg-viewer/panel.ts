/** What the machines measured, side by side, and what the reader makes of it. Marked as the machine's throughout. */

import type { Words } from "../texts";
import { type Analysis, deviceValue, type Edit, editOf, type Finding, type Hint, inForce, type Row, rowsOf } from "./analysis";
import { make } from "./dom";

export interface PanelWishes {
  /** Keep the reader's value, or with null go back to the machine's; tells whether it was kept. */
  edit(name: string, lead: string, value: number | null, reason: string): Promise<boolean>;
}

const ST_POINTS = ["j", "j20", "j60", "j80"] as const;
const KNOWN = /^\u27e6/;

/** A word of the catalogue, or the code itself where the catalogue has none. */
export function wordOf(t: Words, key: string, code: string): string {
  const text = t(key);
  return KNOWN.test(text) ? code : text;
}

const shownNumber = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : String(Math.round(value * 10) / 10));
const rounded = (value: number | null | undefined): number | null => (value === null || value === undefined ? null : Math.round(value));
const LEAD_NUMBER = /^(reciprocal_)?(I{1,3}|aV[RLF]|V\d{1,2}R?)_((?:t_)?mv|ms)$/;

/** One number that a finding or hint was measured by, in words with its unit; a name without words as it stands. */
export function numberText(t: Words, name: string, value: number): string {
  // Hundredths matter in millivolts and shares, where 0.15 must not read 0.2.
  const shown = /_(ms|uv|bpm)$/.test(name) ? shownNumber(value) : String(Math.round(value * 100) / 100);
  const said = (key: string, lead = ""): string => t(key, { value: shown, lead });
  const known = (text: string): boolean => !KNOWN.test(text);
  const own = said(`number.${name}`);
  if (known(own)) return own;
  if (name.startsWith("limit_")) return t("number.limit", { number: numberText(t, name.slice("limit_".length), value) });
  const [, reciprocal, lead, unit] = LEAD_NUMBER.exec(name) ?? [];
  const ofLead = lead ? said(`number.${reciprocal ? "reciprocal" : "lead"}_${unit}`, lead) : "";
  return ofLead && known(ofLead) ? ofLead : `${name} ${shown}`;
}

const numbersText = (t: Words, numbers: Record<string, number>): string =>
  Object.entries(numbers ?? {})
    .map(([name, value]) => numberText(t, name, value))
    .join(" · ");

export class Panel {
  readonly element = make("aside", "ecg-panel no-print");
  private analysis: Analysis | undefined;
  private editing = "";

  constructor(
    private readonly t: Words,
    private readonly mayEdit: boolean,
    private readonly time: (at: string | null) => string,
    private readonly wishes: PanelWishes,
  ) {
    this.element.setAttribute("aria-label", t("panel"));
    this.element.tabIndex = 0;
  }

  show(analysis: Analysis | undefined, notice = ""): void {
    this.analysis = analysis;
    this.editing = "";
    this.draw(notice);
  }

  /** The few numbers a reader looks for first, on one line; the reader's own where they were given. */
  summary(): string {
    const { analysis, t } = this;
    if (!analysis?.measurement) return "";
    const values = inForce(analysis);
    const text = (name: string): string => shownNumber(rounded(values.get(name)?.value));
    return t("summary", { hr: text("hr_bpm"), pr: text("pr_ms"), qrs: text("qrs_ms"), qt: text("qt_ms"), qtc: text("qtc_fridericia_ms"), axis: text("qrs_axis_deg") });
  }

  /** Whose these numbers are: the machine's, or the machine's with a reader's among them. */
  summarySource(): string {
    const changed = this.analysis ? [...inForce(this.analysis).values()].some((value) => value.edited) : false;
    return this.t(changed ? "by_machine_and_reader" : "by_machine");
  }

  private draw(notice = ""): void {
    const { analysis, t } = this;
    if (!analysis) return this.element.replaceChildren(make("p", "muted", notice || t("no_analysis")));
    this.element.replaceChildren(
      make("p", "small muted", analysis.measurement ? t("machine_note", { engine: analysis.engine }) : t("no_analysis")),
      ...this.hints(analysis.hints),
      ...this.quality(analysis.quality?.findings ?? [], analysis.quality?.verdict ?? ""),
      this.table(analysis),
      ...this.segment(analysis),
      ...this.device(analysis),
      ...this.history(analysis.edits),
    );
  }

  private hints(hints: readonly Hint[]): Node[] {
    if (hints.length === 0) return [];
    const kinds: Record<string, string> = { critical: "red", urgent: "orange" };
    const lines = hints.map((hint) =>
      make(
        "li",
        `ecg-hint ${kinds[hint.level] ?? "grey"}`,
        make("span", `badge ${kinds[hint.level] ?? "grey"}`, wordOf(this.t, `level_${hint.level}`, hint.level)),
        ` ${wordOf(this.t, `hint.${hint.rule}`, hint.rule)} `,
        make("span", "small", [hint.leads.join(" "), numbersText(this.t, hint.numbers)].filter(Boolean).join(" · ")),
        make("div", "small muted", hint.source),
      ),
    );
    return [make("h3", "", this.t("hints")), make("ul", "plain ecg-hints machine", ...lines)];
  }

  private quality(findings: readonly Finding[], verdict: string): Node[] {
    if (!verdict) return [];
    const kind = { good: "green", usable: "orange", repeat: "red" }[verdict] ?? "grey";
    const title = make("h3", "", `${this.t("quality")} `, make("span", `badge ${kind}`, wordOf(this.t, `verdict_${verdict}`, verdict)));
    if (findings.length === 0) return [title];
    const lines = findings.map((finding) =>
      make(
        "li",
        finding.repeat ? "danger" : "",
        `${wordOf(this.t, `quality.${finding.code}`, finding.code)} `,
        make("span", "small muted", [finding.leads.join(" "), finding.likelihood < 1 ? this.t("likelihood", { percent: Math.round(100 * finding.likelihood) }) : "", numbersText(this.t, finding.numbers)].filter(Boolean).join(" · ")),
      ),
    );
    return [title, make("ul", "plain machine", ...lines)];
  }

  private table(analysis: Analysis): HTMLElement {
    const { t } = this;
    const head = make("tr", "", ...["m_value", "by_device", "by_hub", "by_reader"].map((word) => make("th", "", t(word))));
    const rows = rowsOf(analysis.measurement);
    const body = rows.flatMap((row) => {
      const device = deviceValue(analysis, row.name);
      const line = make("tr", "", make("th", "", t(`m_${row.name}`), make("span", "unit", t(`unit_${row.unit}`))), make("td", "", shownNumber(device?.value)), this.machineCell(row), this.readerCell(analysis, row, ""));
      return [line, ...this.form(row, "", 4)];
    });
    const known = new Set(rows.map((row) => row.name));
    const more = analysis.device.measurements
      .filter((each) => !each.lead && !known.has(each.name))
      .map((each) => make("tr", "", make("th", "", wordOf(t, `m_${each.name}`, each.name), make("span", "unit", each.unit)), make("td", "", shownNumber(each.value)), make("td", "", ""), make("td", "", "")));
    return make("table", "ecg-table machine", make("thead", "", head), make("tbody", "", ...body, ...more));
  }

  private machineCell(row: Row): HTMLElement {
    if (row.value !== null) return make("td", "", shownNumber(Math.round(row.value)));
    const cell = make("td", "muted", "–");
    if (row.reason) {
      cell.title = wordOf(this.t, `reason.${row.reason}`, row.reason);
      cell.append(make("span", "why", cell.title));
    }
    return cell;
  }

  private readerCell(analysis: Analysis, row: Row, lead: string): HTMLElement {
    const edit = editOf(analysis.edits, row.name, lead);
    const following = lead ? undefined : inForce(analysis).get(row.name);
    const text = edit ? shownNumber(edit.value) : following?.follows ? shownNumber(rounded(following.value)) : "";
    const cell = make("td", edit ? "ecg-edited" : following?.follows ? "ecg-follows" : "");
    if (following?.follows) cell.title = this.t("follows");
    if (!this.mayEdit) {
      cell.append(text);
      return cell;
    }
    const made = make("button", "ecg-edit", text || "✎");
    made.type = "button";
    const label = `${this.t("edit")}: ${this.t(`m_${row.name}`)}${lead ? ` ${lead}` : ""}${following?.follows ? ` (${this.t("follows")})` : ""}`;
    made.title = label;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", () => {
      this.editing = this.editing === `${row.name}/${lead}` ? "" : `${row.name}/${lead}`;
      this.draw();
      this.element.querySelector<HTMLInputElement>(".ecg-form input")?.select();
    });
    cell.append(made);
    return cell;
  }

  /** The line under a value that is being changed: the value, why, and the way back to the machine's. */
  private form(row: Row, lead: string, columns: number): HTMLElement[] {
    if (this.editing !== `${row.name}/${lead}` || !this.analysis) return [];
    const { t } = this;
    const edit = editOf(this.analysis.edits, row.name, lead);
    const value = Object.assign(make("input", "input"), { type: "number", step: "any", required: true, value: shownNumber(edit?.value ?? row.value).replace("–", "") });
    value.setAttribute("aria-label", t(`m_${row.name}`));
    const reason = Object.assign(make("input", "input"), { maxLength: 500, required: true, placeholder: t("edit_reason") });
    reason.setAttribute("aria-label", t("edit_reason"));
    const save = Object.assign(make("button", "button small primary", t("edit_save")), { type: "submit" });
    const form = make("form", "ecg-form", value, reason, save);
    form.dataset["plain"] = "";
    const send = async (wanted: number | null): Promise<void> => {
      save.disabled = true;
      if (!(await this.wishes.edit(row.name, lead, wanted, reason.value.trim()))) save.disabled = false;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (Number.isFinite(value.valueAsNumber) && reason.value.trim()) void send(value.valueAsNumber);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      this.editing = "";
      this.draw();
    });
    if (edit) {
      const back = Object.assign(make("button", "button small quiet", t("edit_back")), { type: "button" });
      back.addEventListener("click", () => (reason.value.trim() ? void send(null) : reason.reportValidity()));
      form.append(back);
    }
    const cell = Object.assign(make("td", "", form), { colSpan: columns });
    return [make("tr", "ecg-form-row", cell)];
  }

  private segment(analysis: Analysis): Node[] {
    const st = analysis.measurement?.st_uv;
    if (!st || Object.keys(st).length === 0) return [];
    const head = make("tr", "", make("th", "", this.t("lead")), ...ST_POINTS.map((point) => make("th", "", this.t(`st_${point}`))));
    const body = Object.entries(st).flatMap(([lead, points]) => {
      const rows = ST_POINTS.map((point): Row => ({ name: `st_${point}_uv`, unit: "uV", value: points[point] ?? null, reason: "" }));
      const cells = rows.map((row) => {
        const cell = this.readerCell(analysis, row, lead);
        const shown = cell.querySelector("button");
        if (shown && !editOf(analysis.edits, row.name, lead)) shown.textContent = shownNumber(row.value === null ? null : Math.round(row.value));
        if (!shown && !cell.textContent) cell.textContent = shownNumber(row.value === null ? null : Math.round(row.value));
        return cell;
      });
      return [make("tr", "", make("th", "", lead), ...cells), ...rows.flatMap((row) => this.form(row, lead, 5))];
    });
    const open = this.editing.includes("/") && !this.editing.endsWith("/");
    return [Object.assign(make("details", "machine", make("summary", "", this.t("st_title")), make("table", "ecg-table", make("thead", "", head), make("tbody", "", ...body))), { open })];
  }

  private device(analysis: Analysis): Node[] {
    const { device } = analysis;
    if (device.statements.length === 0) return [];
    const list = make("ul", "plain", ...device.statements.map((line) => make("li", "", line)));
    return [make("details", "machine", make("summary", "", this.t("device_says", { n: device.statements.length, name: device.name })), list)];
  }

  private history(edits: readonly Edit[]): Node[] {
    if (edits.length === 0) return [];
    const line = (edit: Edit): HTMLElement =>
      make(
        "li",
        "",
        make("span", "strong", `${wordOf(this.t, `m_${edit.name}`, edit.name)}${edit.lead ? ` ${edit.lead}` : ""}`),
        ` ${shownNumber(edit.was)} → ${edit.value === null ? this.t("edit_machine") : shownNumber(edit.value)} ${edit.unit ? wordOf(this.t, `unit_${edit.unit}`, edit.unit) : ""}`,
        make("div", "small muted", `${edit.by} · ${this.time(edit.at)} · ${edit.reason}`),
      );
    const newest = [...edits].sort((a, b) => b.at.localeCompare(a.at));
    return [make("h3", "", this.t("history")), make("ul", "plain ecg-history", ...newest.map(line))];
  }
}
