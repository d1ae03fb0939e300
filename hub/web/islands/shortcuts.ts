/**
 * The keyboard: `data-key` presses what carries it, j/k/Enter walk `table[data-rows]`, `?` lists it all, and
 * with it what islands do on keys of their own (`data-key-help`).
 */

import type { Unmount } from "./registry";
import { words } from "./texts";

/** Name of the pressed key as `data-key` writes it: `n`, `Ctrl+Enter`, `Alt+s`. */
export function keyName(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey">): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", key].filter(Boolean).join("+");
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function press(element: HTMLElement): void {
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName)) element.focus();
  else element.click();
}

function rows(): HTMLTableRowElement[] {
  return [...document.querySelectorAll<HTMLTableRowElement>("table[data-rows] tbody tr[data-href]")];
}

/** Move the selection by `step` rows and return the row selected. */
export function moveSelection(step: number): HTMLTableRowElement | undefined {
  const all = rows();
  const at = all.findIndex((row) => row.ariaSelected === "true" || row.getAttribute("aria-selected") === "true");
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  if (!next) return undefined;
  for (const row of all) row.removeAttribute("aria-selected");
  next.setAttribute("aria-selected", "true");
  next.scrollIntoView?.({ block: "nearest" });
  return next;
}

function help(): void {
  const open = document.querySelector<HTMLDialogElement>("dialog[data-shortcuts]");
  if (open) return open.close();
  const t = words();
  const dialog = document.createElement("dialog");
  dialog.dataset["shortcuts"] = "";
  const entries: [string, string][] = [...document.querySelectorAll<HTMLElement>("[data-key]")]
    .filter((element) => element.offsetParent !== null)
    .map((element) => [element.dataset["key"] ?? "", labelOf(element)]);
  for (const element of document.querySelectorAll<HTMLElement>("[data-key-help]")) entries.push([element.dataset["keyHelp"] ?? "", labelOf(element)]);
  if (rows().length > 0) entries.unshift(["j", t("shortcuts_next")], ["k", t("shortcuts_previous")], ["Enter", t("shortcuts_open")]);
  entries.push(["?", t("shortcuts_help")]);
  const list = Object.assign(document.createElement("dl"), { className: "keys" });
  for (const [key, label] of entries) {
    const term = document.createElement("dt");
    term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    list.append(term, Object.assign(document.createElement("dd"), { textContent: label }));
  }
  const body = Object.assign(document.createElement("div"), { className: "dialog-body" });
  body.append(Object.assign(document.createElement("h2"), { textContent: t("shortcuts_title") }), list);
  dialog.append(body);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.showModal();
}

function labelOf(element: HTMLElement): string {
  const label = element.getAttribute("aria-label") || element.title || (element as HTMLInputElement).labels?.[0]?.textContent;
  if (label) return label.trim();
  const copy = element.cloneNode(true) as HTMLElement;
  copy.querySelectorAll("kbd").forEach((kbd) => kbd.remove());
  return (copy.textContent ?? "").trim();
}

function openRow(row: HTMLTableRowElement | null): void {
  if (row?.dataset["href"]) location.assign(row.dataset["href"]);
}

export function mountShortcuts(): Unmount {
  const onKey = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.isComposing) return;
    const name = keyName(event);
    const plain = !name.includes("+") || name === "+";
    if (plain && isTyping(event.target)) return;
    const dialogOpen = document.querySelector("dialog[open]") !== null;
    if (dialogOpen && name !== "?") return;
    const target = [...document.querySelectorAll<HTMLElement>("[data-key]")].find(
      (element) => element.dataset["key"]?.toLowerCase() === name.toLowerCase() && !element.matches(":disabled"),
    );
    if (name === "?") help();
    else if (target) press(target);
    else if (name === "j" || name === "k") moveSelection(name === "j" ? 1 : -1);
    else if (name === "Enter" && (event.target === document.body || event.target === document.getElementById("main")))
      openRow(document.querySelector("table[data-rows] tr[aria-selected='true']"));
    else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent): void => {
    const target = event.target as Element;
    if (target.closest("[data-action='shortcuts']")) return help();
    if (target.closest("a, button, input, select, textarea, label, summary")) return;
    if (document.getSelection()?.toString()) return;
    openRow(target.closest("table[data-rows] tr[data-href]"));
  };
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  return () => {
    document.removeEventListener("keydown", onKey);
    document.removeEventListener("click", onClick);
  };
}
