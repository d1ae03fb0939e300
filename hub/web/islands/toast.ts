/** Toasts: the server's `HX-Trigger: {"toast": …}` and every htmx answer that is an error. */

import { errorKey, reasonIn } from "./http";
import type { Unmount } from "./registry";
import { words } from "./texts";

export interface Toast {
  kind: "ok" | "info" | "warn" | "danger";
  text: string;
}

const SHOWN_MS: Record<Toast["kind"], number> = { ok: 4000, info: 5000, warn: 9000, danger: 15000 };

/** Ask the page to show a toast. */
export function say(kind: Toast["kind"], text: string): void {
  document.body.dispatchEvent(new CustomEvent("toast", { bubbles: true, detail: { kind, text } }));
}

interface HtmxFailure {
  xhr?: XMLHttpRequest;
}

export function mountToasts(element: HTMLElement): Unmount {
  const t = words();
  const show = (event: Event): void => {
    const { kind, text } = (event as CustomEvent<Toast>).detail;
    const toast = document.createElement("div");
    toast.className = `toast ${kind}`;
    toast.append(Object.assign(document.createElement("div"), { textContent: text }));
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: t("close") });
    close.addEventListener("click", () => toast.remove());
    toast.append(close);
    element.append(toast);
    setTimeout(() => toast.remove(), SHOWN_MS[kind] ?? SHOWN_MS.info);
  };
  const fail = (event: Event): void => {
    const xhr = (event as CustomEvent<HtmxFailure>).detail.xhr;
    const said = reasonIn(xhr?.responseText ?? "");
    const text = t(errorKey(xhr?.status ?? 0));
    say("danger", said ? `${text} ${said}` : text);
  };
  const failures = ["htmx:responseError", "htmx:sendError", "htmx:timeout"];
  document.addEventListener("toast", show);
  for (const name of failures) document.addEventListener(name, fail);
  return () => {
    document.removeEventListener("toast", show);
    for (const name of failures) document.removeEventListener(name, fail);
  };
}
