/** A table body that is fetched anew: the selected row stays selected, rows that were not there before flash. */

import type { Unmount } from "./registry";

const SELECTED = "tr[aria-selected='true']";

/** Ids of the rows of a table body. */
export function rowIds(body: HTMLElement): Set<string> {
  return new Set([...body.querySelectorAll("tr[id]")].map((row) => row.id));
}

export function mountLiveRows(body: HTMLElement): Unmount {
  let known = rowIds(body);
  let selected = "";
  const before = (event: Event): void => {
    if ((event as CustomEvent<{ target?: Element }>).detail.target !== body) return;
    known = rowIds(body);
    selected = body.querySelector(SELECTED)?.id ?? "";
  };
  const after = (event: Event): void => {
    if ((event as CustomEvent<{ target?: Element }>).detail.target !== body) return;
    for (const row of body.querySelectorAll("tr[id]")) row.classList.toggle("fresh", !known.has(row.id));
    const again = selected ? body.querySelector(`#${CSS.escape(selected)}`) : null;
    if (!body.querySelector(SELECTED)) again?.setAttribute("aria-selected", "true");
  };
  body.addEventListener("htmx:beforeSwap", before);
  body.addEventListener("htmx:afterSwap", after);
  return () => {
    body.removeEventListener("htmx:beforeSwap", before);
    body.removeEventListener("htmx:afterSwap", after);
  };
}
