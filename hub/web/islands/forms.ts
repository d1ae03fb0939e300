/**
 * Plain forms. The hub takes a change from a browser only with the CSRF header, which a form cannot
 * send by itself: the page sends it, then goes where the answer leads or shows the page that came back.
 */

import { errorKey, reasonIn, request } from "./http";
import { mountAll, unmountAll } from "./registry";
import { words } from "./texts";
import { say } from "./toast";

const HTMX_VERBS = ["hx-get", "hx-post", "hx-put", "hx-patch", "hx-delete", "hx-boost"];

/** Whether the page sends this form: a plain POST that nothing else takes care of. */
export function isPlainPost(form: HTMLFormElement, submitter: HTMLElement | null): boolean {
  if ((submitter?.getAttribute("formmethod") ?? form.method).toLowerCase() !== "post") return false;
  if (form.dataset["plain"] !== undefined || form.dataset["island"] === "autosave") return false;
  return !HTMX_VERBS.some((verb) => form.hasAttribute(verb) || form.hasAttribute(`data-${verb}`) || submitter?.hasAttribute(verb));
}

function bodyOf(form: HTMLFormElement, submitter: HTMLElement | null): BodyInit {
  const data = new FormData(form, submitter);
  if (form.enctype === "multipart/form-data") return data;
  return new URLSearchParams([...data].map(([name, value]): [string, string] => [name, typeof value === "string" ? value : value.name]));
}

function showPage(html: string, process: (root: HTMLElement) => void): void {
  const page = new DOMParser().parseFromString(html, "text/html");
  unmountAll(document.body);
  document.title = page.title;
  document.body.replaceWith(document.adoptNode(page.body));
  process(document.body);
  mountAll(document.body);
  document.querySelector<HTMLElement>("[aria-invalid='true'], [autofocus]")?.focus();
}

/** Send plain forms with `process` (htmx's) called on a page that came back in place of a redirect. */
export function installForms(process: (root: HTMLElement) => void): void {
  const busy = new WeakSet<HTMLFormElement>();
  const send = async (form: HTMLFormElement, submitter: HTMLElement | null): Promise<void> => {
    const action = submitter?.getAttribute("formaction") ?? form.getAttribute("action") ?? location.href;
    busy.add(form);
    try {
      const response = await request(action, { method: "POST", body: bodyOf(form, submitter) });
      if (response.redirected) return location.assign(response.url);
      const text = await response.text();
      if (response.headers.get("content-type")?.startsWith("text/html")) return showPage(text, process);
      if (response.ok) return location.reload();
      const said = reasonIn(text);
      say("danger", [words()(errorKey(response.status)), said].filter(Boolean).join(" "));
    } catch {
      say("danger", words()("error_network"));
    } finally {
      busy.delete(form);
    }
  };
  document.addEventListener("submit", (event) => {
    const form = event.target as HTMLFormElement;
    if (event.defaultPrevented || !isPlainPost(form, event.submitter)) return;
    event.preventDefault();
    if (!busy.has(form)) void send(form, event.submitter);
  });
}
