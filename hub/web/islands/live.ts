/** What htmx does, held to the hub's rules: token on every request, errors seen, live updates watched. */

import htmx from "htmx.org";
import { hideBanner, showBanner } from "./banner";
import { csrfToken } from "./http";
import { mountAll, unmount } from "./registry";
import { words } from "./texts";

interface BeforeSwap {
  xhr: XMLHttpRequest;
  shouldSwap: boolean;
  isError: boolean;
}

export function installHtmxRules(): void {
  document.addEventListener("htmx:configRequest", (event) => {
    const detail = (event as CustomEvent<{ headers: Record<string, string> }>).detail;
    detail.headers["X-CSRF-Token"] = csrfToken();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const detail = (event as CustomEvent<BeforeSwap>).detail;
    const { xhr } = detail;
    if (xhr.responseURL && new URL(xhr.responseURL).pathname === "/login" && location.pathname !== "/login") {
      // the session ended and the answer is the login page: never inside a table row
      detail.shouldSwap = false;
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    } else if (xhr.status === 422 && xhr.getResponseHeader("content-type")?.startsWith("text/html")) {
      detail.shouldSwap = true;
      detail.isError = false;
    }
  });
  document.addEventListener("htmx:load", (event) => {
    mountAll((event as CustomEvent<{ elt: HTMLElement }>).detail.elt);
  });
  document.addEventListener("htmx:beforeCleanupElement", (event) => unmount(event.target as Element));
  document.addEventListener("htmx:sseError", () => showBanner("live", "warn", words()("live_lost")));
  document.addEventListener("htmx:sseOpen", () => hideBanner("live"));
}

/** Let htmx see elements that it did not bring itself. */
export function processWithHtmx(root: HTMLElement): void {
  htmx.process(root);
}
