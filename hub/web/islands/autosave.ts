/** Drafts that save themselves; what the server did not take is kept in this computer and offered again. */

import { hideBanner, showBanner } from "./banner";
import { postJson, reasonIn } from "./http";
import type { Unmount } from "./registry";
import { words } from "./texts";

export type Fields = Record<string, string>;
export type SaveStatus = "" | "dirty" | "saving" | "saved" | "failed" | "offline" | "conflict";

interface Kept {
  at: string;
  fields: Fields;
}

/** The named controls of a form as text; checks and multiple values are joined by line feeds. */
export function fieldsOf(form: HTMLFormElement): Fields {
  const fields: Fields = {};
  for (const control of form.querySelectorAll<HTMLInputElement>("[name]")) {
    if (control.name === "csrf_token" || control.disabled) continue;
    fields[control.name] ??= "";
    if (/^(checkbox|radio)$/.test(control.type) && !control.checked) continue;
    fields[control.name] = [fields[control.name], control.value].filter(Boolean).join("\n");
  }
  return fields;
}

/** The fields of `now` that differ from `before`. */
export function changedFields(before: Fields, now: Fields): Fields {
  return Object.fromEntries(Object.entries(now).filter(([name, value]) => before[name] !== value));
}

function clockTime(iso?: string): string {
  const moment = iso ? new Date(iso) : new Date();
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

class Autosave {
  private readonly t = words();
  private readonly url: string;
  private readonly storeKey: string;
  private readonly everyMs: number;
  private saved: Fields;
  private version: string | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sending: Promise<void> | undefined;
  status: SaveStatus = "";

  constructor(private readonly form: HTMLFormElement) {
    this.url = form.dataset["url"] ?? form.action;
    this.storeKey = `hub-draft:${form.dataset["storeKey"] ?? location.pathname}`;
    this.everyMs = Number(form.dataset["everyMs"] ?? 2000);
    this.version = form.dataset["version"];
    this.saved = fieldsOf(form);
  }

  get dirty(): boolean {
    return Object.keys(changedFields(this.saved, fieldsOf(this.form))).length > 0;
  }

  changed(): void {
    if (this.status === "conflict" || !this.dirty) return;
    if (!this.sending && this.status !== "offline") this.show("dirty");
    this.schedule(this.everyMs);
  }

  /** Save now what is not saved; resolves when the server has answered. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.sending) await this.sending;
    if (this.status === "conflict" || !this.dirty) return;
    this.sending = this.send(fieldsOf(this.form)).finally(() => (this.sending = undefined));
    await this.sending;
  }

  lost(): void {
    if (this.dirty) this.keep();
    this.stop();
    this.show("conflict", this.t("autosave_conflict"));
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** Offer text that an earlier visit could not deliver. */
  offerKept(): void {
    const kept = this.kept();
    if (!kept) return;
    const current = fieldsOf(this.form);
    if (Object.entries(kept.fields).every(([name, value]) => current[name] === value)) return this.forget();
    const done = (): void => {
      hideBanner("autosave");
      this.forget();
    };
    showBanner("autosave", "warn", this.t("autosave_recovered", { time: kept.at.slice(0, 16).replace("T", " ") }), [
      [this.t("autosave_restore"), () => {
        for (const [name, value] of Object.entries(kept.fields)) {
          const control = this.form.elements.namedItem(name);
          if (control instanceof HTMLTextAreaElement || (control instanceof HTMLInputElement && /^(text|date|number)$/.test(control.type))) control.value = value;
        }
        done();
        this.changed();
      }],
      [this.t("autosave_discard"), done],
    ]);
  }

  private schedule(ms: number): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.flush();
    }, ms);
  }

  private async send(now: Fields): Promise<void> {
    this.show("saving", this.t("autosave_saving"));
    const body = { token: this.form.dataset["token"] ?? "", version: this.version ?? null, fields: changedFields(this.saved, now) };
    let response: Response;
    try {
      response = await postJson(this.url, body);
    } catch {
      return this.retryLater();
    }
    const text = await response.text().catch(() => "");
    if (response.redirected || response.status === 401 || response.status >= 500) return this.retryLater();
    if (response.status === 404 || response.status === 409 || response.status === 403) return this.lost();
    if (!response.ok) {
      this.keep();
      return this.show("failed", this.t("autosave_failed", { reason: reasonIn(text) || String(response.status) }));
    }
    const answer = (parsedOrNothing(text) ?? {}) as { version?: string | number; saved_at?: string };
    if (answer.version !== undefined) this.version = String(answer.version);
    this.saved = { ...this.saved, ...now };
    this.forget();
    if (this.dirty) this.changed();
    else this.show("saved", this.t("autosave_saved", { time: clockTime(answer.saved_at) }));
  }

  private retryLater(): void {
    this.keep();
    this.show("offline", this.t("autosave_offline"));
    this.schedule(this.everyMs * 3);
  }

  private keep(): void {
    const kept: Kept = { at: localIso(), fields: fieldsOf(this.form) };
    try {
      localStorage.setItem(this.storeKey, JSON.stringify(kept));
    } catch {
      // storage full or forbidden: the status line already says that nothing reached the server
    }
  }

  private kept(): Kept | undefined {
    return (parsedOrNothing(localStorage.getItem(this.storeKey) ?? "") as Kept | undefined) ?? undefined;
  }

  private forget(): void {
    localStorage.removeItem(this.storeKey);
  }

  private show(status: SaveStatus, text = this.t(`autosave_${status}`)): void {
    this.status = status;
    const holder = this.form.querySelector("[data-autosave-status]") ?? this.form.closest(".side")?.querySelector("[data-autosave-status]");
    if (holder instanceof HTMLElement) {
      holder.dataset["status"] = status;
      holder.textContent = text;
    }
  }
}

function localIso(): string {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString();
}

function parsedOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function mountAutosave(element: HTMLElement): Unmount {
  const form = element as HTMLFormElement;
  const autosave = new Autosave(form);
  const onInput = (): void => autosave.changed();
  const onFlush = (): void => void autosave.flush();
  const onLost = (): void => autosave.lost();
  const onLeave = (event: BeforeUnloadEvent): void => {
    if (autosave.dirty) event.preventDefault();
  };
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    void autosave.flush();
  };
  /** A button that hands the text on waits until the text is saved; if it cannot be, it does not act. */
  const onAction = async (event: Event): Promise<void> => {
    const source = (event.target as Element).closest<HTMLElement>("[data-after-save]");
    if (!source || !form.matches(source.dataset["afterSave"] || "form") || !autosave.dirty) return;
    if (event.type === "click" && source instanceof HTMLFormElement) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const submitter = (event as SubmitEvent).submitter ?? null;
    await autosave.flush();
    if (autosave.dirty) return;
    if (source instanceof HTMLFormElement) source.requestSubmit(submitter);
    else source.click();
  };
  // on the window, so that saving comes before the question of confirm-dialog on the document
  form.addEventListener("input", onInput);
  form.addEventListener("change", onInput);
  form.addEventListener("submit", onSubmit);
  form.addEventListener("autosave:flush", onFlush);
  document.addEventListener("lease:lost", onLost);
  window.addEventListener("click", onAction, true);
  window.addEventListener("submit", onAction, true);
  window.addEventListener("beforeunload", onLeave);
  window.addEventListener("online", onFlush);
  autosave.offerKept();
  return () => {
    void autosave.flush();
    autosave.stop();
    document.removeEventListener("lease:lost", onLost);
    window.removeEventListener("click", onAction, true);
    window.removeEventListener("submit", onAction, true);
    window.removeEventListener("beforeunload", onLeave);
    window.removeEventListener("online", onFlush);
  };
}
