/** Statements picked by a few letters instead of typed: a search over both languages and the sound of the Chinese. */

import { request } from "./http";
import type { Unmount } from "./registry";
import { words } from "./texts";

export interface Statement {
  code: string;
  zh: string;
  en: string;
  positive: boolean;
  keys: string;
}

export interface Group {
  code: string;
  zh: string;
  en: string;
  statements: Statement[];
}

export type Lang = "zh" | "en";

/** The statements that every word of `query` occurs in, best first: those that begin with it, then the others. */
export function found(groups: readonly Group[], query: string): Statement[] {
  const parts = query.toLowerCase().split(/\s+/).filter(Boolean);
  const all = groups.flatMap((group) => group.statements);
  if (parts.length === 0) return all;
  const textOf = (each: Statement): string => `${each.zh} ${each.en.toLowerCase()} ${each.keys} ${each.code}`;
  const begins = (each: Statement): number =>
    [each.zh, each.en.toLowerCase(), ...each.keys.split(" ")].some((text) => text.startsWith(parts[0] ?? "")) ? 0 : 1;
  return all
    .filter((each) => parts.every((part) => textOf(each).includes(part)))
    .map((each, at) => ({ each, at, rank: begins(each) }))
    .sort((a, b) => a.rank - b.rank || a.at - b.at)
    .map(({ each }) => each);
}

/** The text with one more statement: a line of its own, never twice. */
export function added(text: string, statement: string): string {
  const lines = text.split("\n").map((line) => line.trimEnd());
  if (lines.some((line) => line.trim() === statement)) return text;
  return [...lines.filter((line, at) => line !== "" || at < lines.length - 1), statement].join("\n").replace(/^\n+/, "");
}

export function mountStatementPicker(element: HTMLElement): Unmount {
  const t = words(element);
  const search = element.querySelector<HTMLInputElement>("input[type=search]");
  const list = element.querySelector<HTMLElement>("[role=listbox]");
  const toggle = element.querySelector<HTMLButtonElement>("button[data-switch]");
  const form = element.closest("form") ?? document.querySelector<HTMLFormElement>(element.dataset["form"] ?? "form");
  if (!search || !list || !form) return () => undefined;
  let lang: Lang = element.dataset["writes"] === "en" ? "en" : "zh";
  let groups: Group[] | undefined;
  let shown: Statement[] = [];
  let at = 0;

  const option = (each: Statement, number: number): HTMLElement => {
    const item = document.createElement("div");
    item.setAttribute("role", "option");
    item.id = `statement-${each.code}`;
    item.setAttribute("aria-selected", String(number === at));
    const other = lang === "zh" ? "en" : "zh";
    item.append(
      Object.assign(document.createElement("span"), { textContent: each[lang] }),
      Object.assign(document.createElement("span"), { className: "muted small", textContent: each[other] }),
    );
    item.addEventListener("mousedown", (event) => event.preventDefault());
    item.addEventListener("click", () => pick(each));
    return item;
  };

  const draw = (): void => {
    shown = found(groups ?? [], search.value);
    at = Math.min(at, Math.max(0, shown.length - 1));
    list.replaceChildren(...shown.map(option));
    if (shown.length === 0 && groups) list.textContent = t("none");
    const current = list.children[at];
    current?.scrollIntoView?.({ block: "nearest" });
    if (current) search.setAttribute("aria-activedescendant", current.id);
    if (toggle) toggle.textContent = t(lang === "zh" ? "language_zh" : "language_en");
  };

  const pick = (each: Statement): void => {
    const target = form.querySelector<HTMLTextAreaElement>(`textarea[name=${element.dataset["target"] ?? "impression"}]`);
    if (!target) return;
    target.value = added(target.value, each[lang]);
    const choice = form.querySelectorAll<HTMLInputElement>("input[name=positive]");
    // A choice of the reader's own is never changed; a finding makes an open one positive.
    if (each.positive && ![...choice].some((input) => input.checked)) {
      for (const input of choice) input.checked = input.value === "yes";
    }
    target.dispatchEvent(new Event("input", { bubbles: true }));
    target.dispatchEvent(new Event("change", { bubbles: true }));
    search.value = "";
    at = 0;
    draw();
  };

  const open = async (): Promise<void> => {
    list.hidden = false;
    if (!groups) {
      try {
        const answer = await request(element.dataset["url"] ?? "");
        if (!answer.ok) throw new Error(String(answer.status));
        groups = (await answer.json()) as Group[];
      } catch {
        list.textContent = t("failed");
        return;
      }
    }
    draw();
  };

  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      at = (at + step + shown.length) % Math.max(1, shown.length);
      draw();
    } else if (event.key === "Enter") {
      const each = shown[at];
      if (each) pick(each);
    } else if (event.key === "Escape") {
      list.hidden = true;
      search.blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onInput = (event: Event): void => {
    // The search is no field of the report.
    event.stopPropagation();
    at = 0;
    draw();
  };
  const onFocus = (): void => void open();
  const onBlur = (): void => void (list.hidden = true);
  const onToggle = (): void => {
    lang = lang === "zh" ? "en" : "zh";
    draw();
  };
  search.addEventListener("keydown", onKey);
  search.addEventListener("input", onInput);
  search.addEventListener("focus", onFocus);
  search.addEventListener("blur", onBlur);
  toggle?.addEventListener("click", onToggle);
  return () => {
    search.removeEventListener("keydown", onKey);
    search.removeEventListener("input", onInput);
    search.removeEventListener("focus", onFocus);
    search.removeEventListener("blur", onBlur);
    toggle?.removeEventListener("click", onToggle);
  };
}
