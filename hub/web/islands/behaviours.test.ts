import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { changedFields, fieldsOf, mountAutosave } from "./autosave";
import { mountConfirm } from "./confirm-dialog";
import { verdictOf } from "./dropzone";
import { isPlainPost } from "./forms";
import { errorKey, reasonIn, request } from "./http";
import { mountLease } from "./lease";
import { dueState, spanText } from "./live-clock";
import { mountAll, register, unmount } from "./registry";
import { keyName, moveSelection } from "./shortcuts";
import { fill, words } from "./texts";
import { mountToasts } from "./toast";

const TEXTS = `<script type="application/json" data-island-text>${JSON.stringify({
  autosave_saved: "saved {time}", autosave_offline: "offline", autosave_conflict: "conflict", autosave_failed: "failed {reason}", autosave_saving: "saving",
  autosave_dirty: "dirty", autosave_recovered: "kept {time}", autosave_restore: "restore", autosave_discard: "discard",
  lease_lost: "lost", lease_unreachable: "unreachable", error_409: "conflict.", clock_hours: "h", clock_minutes: "min", clock_seconds: "s", clock_days: "d",
  clock_left: "{time} left", clock_over: "{time} over",
})}</script>`;

const answer = (status: number, body: unknown = {}): Response => new Response(JSON.stringify(body), { status });
let fetched: ReturnType<typeof vi.fn<typeof fetch>>;

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  document.head.innerHTML = '<meta name="csrf-token" content="T">';
  document.body.innerHTML = `<div id="banners"></div>${TEXTS}`;
  fetched = vi.fn<typeof fetch>(async () => answer(200));
  vi.stubGlobal("fetch", fetched);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const sent = (call = 0): { token: string; version: string | null; fields: Record<string, string> } => JSON.parse(String(fetched.mock.calls[call]?.[1]?.body));

describe("autosave", () => {
  function form(): HTMLFormElement {
    document.body.insertAdjacentHTML(
      "beforeend",
      '<form data-url="/draft" data-token="L" data-version="1" data-store-key="x"><textarea name="findings">a</textarea><textarea name="impression"></textarea><span data-autosave-status></span></form>',
    );
    return document.querySelector("form")!;
  }
  function type(name: string, value: string): void {
    const control = document.querySelector<HTMLTextAreaElement>(`[name=${name}]`)!;
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const status = (): string | undefined => document.querySelector<HTMLElement>("[data-autosave-status]")!.dataset["status"];

  it("sends only what changed, with token and version, two seconds after the change", async () => {
    fetched.mockImplementation(async () => answer(200, { version: 2 }));
    const stop = mountAutosave(form());
    type("findings", "ab");
    await vi.advanceTimersByTimeAsync(1999);
    expect(fetched).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(2);
    expect(sent()).toEqual({ token: "L", version: "1", fields: { findings: "ab" } });
    expect(new Headers(fetched.mock.calls[0]?.[1]?.headers).get("X-CSRF-Token")).toBe("T");
    expect(status()).toBe("saved");
    type("impression", "c");
    await vi.advanceTimersByTimeAsync(2001);
    expect(sent(1)).toEqual({ token: "L", version: "2", fields: { impression: "c" } });
    stop?.();
  });

  it("keeps the text in this computer while the server is away, and delivers it later", async () => {
    fetched.mockRejectedValueOnce(new TypeError("offline"));
    const stop = mountAutosave(form());
    type("findings", "ab");
    await vi.advanceTimersByTimeAsync(2001);
    expect(status()).toBe("offline");
    expect(localStorage.getItem("hub-draft:x")).toContain("ab");
    await vi.advanceTimersByTimeAsync(6001);
    expect(status()).toBe("saved");
    expect(localStorage.getItem("hub-draft:x")).toBeNull();
    stop?.();
  });

  it("stops at a conflict and says so, with the text kept", async () => {
    fetched.mockImplementation(async () => answer(409));
    const stop = mountAutosave(form());
    type("findings", "ab");
    await vi.advanceTimersByTimeAsync(2001);
    expect(status()).toBe("conflict");
    expect(localStorage.getItem("hub-draft:x")).toContain("ab");
    type("findings", "abc");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetched).toHaveBeenCalledTimes(1);
    stop?.();
  });

  it("offers text that never arrived, and puts it back on request", async () => {
    localStorage.setItem("hub-draft:x", JSON.stringify({ at: "2026-01-02T03:04:05Z", fields: { findings: "kept text" } }));
    const stop = mountAutosave(form());
    expect(document.querySelector(".banner")?.textContent).toContain("kept 2026-01-02 03:04");
    document.querySelector<HTMLButtonElement>(".banner button")!.click();
    expect(document.querySelector<HTMLTextAreaElement>("[name=findings]")!.value).toBe("kept text");
    await vi.advanceTimersByTimeAsync(2001);
    expect(sent().fields).toEqual({ findings: "kept text" });
    stop?.();
  });

  it("warns on leaving with unsaved text only", () => {
    const stop = mountAutosave(form());
    const leave = (): boolean => !window.dispatchEvent(new Event("beforeunload", { cancelable: true }));
    expect(leave()).toBe(false);
    type("findings", "ab");
    expect(leave()).toBe(true);
    stop?.();
  });

  it("reads checks and leaves the CSRF field out", () => {
    document.body.innerHTML = '<form><input name="csrf_token" value="x"><input type="checkbox" name="c" value="1" checked><input type="checkbox" name="c" value="2"><input name="n" value="v"></form>';
    expect(fieldsOf(document.querySelector("form")!)).toEqual({ c: "1", n: "v" });
    expect(changedFields({ a: "1", b: "2" }, { a: "1", b: "3" })).toEqual({ b: "3" });
  });
});

describe("lease", () => {
  it("renews while held, and says loudly when it is lost", async () => {
    document.body.insertAdjacentHTML("beforeend", '<i data-url="/lease" data-every-seconds="10" data-token="L"></i>');
    const lost = vi.fn();
    document.addEventListener("lease:lost", lost);
    const stop = mountLease(document.querySelector("i")!);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(JSON.parse(String(fetched.mock.calls[0]?.[1]?.body))).toEqual({ token: "L" });
    fetched.mockRejectedValueOnce(new TypeError("offline"));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(document.querySelector(".banner")?.textContent).toBe("unreachable");
    expect(lost).not.toHaveBeenCalled();
    fetched.mockImplementation(async () => answer(409));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(document.querySelector(".banner.danger")?.textContent).toBe("lost");
    expect(lost).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetched).toHaveBeenCalledTimes(3);
    stop?.();
  });
});

describe("clock", () => {
  it("names the two largest units, rounded down", () => {
    expect([0, 59.9, 60, 3661, 90_000].map((seconds) => spanText(seconds, words()))).toEqual(["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
  });
  it("turns soon, then overdue", () => {
    const at = (left: number) => dueState(left * 1000, 0, 600, words());
    expect(at(601)).toEqual({ text: "10 min left", level: "" });
    expect(at(600).level).toBe("soon");
    expect(at(-90)).toEqual({ text: "1 min over", level: "overdue" });
  });
});

describe("errors are seen", () => {
  it("shows an htmx error with the server's reason", () => {
    document.body.insertAdjacentHTML("beforeend", '<div id="toasts"></div>');
    const stop = mountToasts(document.getElementById("toasts")!);
    document.body.dispatchEvent(new CustomEvent("htmx:responseError", { bubbles: true, detail: { xhr: { status: 409, responseText: '{"message":"taken"}' } } }));
    expect(document.querySelector(".toast.danger")?.textContent).toContain("conflict. taken");
    stop?.();
  });
  it("finds the reason in the answers the hub gives, and none in pages", () => {
    expect(reasonIn('{"detail":"d"}')).toBe("d");
    expect(reasonIn('{"error":{"message":"m"}}')).toBe("m");
    expect(reasonIn("<html>")).toBe("");
    expect([0, 401, 418, 503].map(errorKey)).toEqual(["error_network", "error_401", "error_other", "error_5xx"]);
  });
});

describe("uploads", () => {
  it("believes the server's verdict per file", () => {
    expect(verdictOf(200, '{"accepted":["1"]}', "x")).toEqual({ accepted: true, reason: "" });
    expect(verdictOf(200, '{"accepted":[],"refused":[{"name":"a","message":"no DICOM"}]}', "x")).toEqual({ accepted: false, reason: "a: no DICOM" });
    expect(verdictOf(201, '{"accepted":["1"],"refused":[],"repeat":true,"message":"record again"}', "x")).toEqual({ accepted: true, repeat: true, reason: "record again" });
    expect(verdictOf(413, "", "too large")).toEqual({ accepted: false, reason: "too large" });
    expect(verdictOf(204, "", "x").accepted).toBe(true);
  });
});

describe("keyboard", () => {
  it("names keys as data-key writes them", () => {
    const event = (key: string, ctrlKey = false, altKey = false) => ({ key, ctrlKey, altKey, metaKey: false });
    expect([event("N"), event("Enter", true), event("s", false, true), event("?")].map(keyName)).toEqual(["n", "Ctrl+Enter", "Alt+s", "?"]);
  });
  it("walks rows and stays within them", () => {
    document.body.innerHTML = '<table data-rows><tbody><tr data-href="/1"></tr><tr data-href="/2"></tr></tbody></table>';
    expect([1, 1, 1, -1].map((step) => moveSelection(step)?.dataset["href"])).toEqual(["/1", "/2", "/2", "/1"]);
    expect(document.querySelectorAll("[aria-selected]").length).toBe(1);
  });
});

describe("forms and questions", () => {
  it("sends plain posts, and leaves htmx, GET and marked forms alone", () => {
    const made = (attributes: string): HTMLFormElement => {
      document.body.innerHTML = `<form ${attributes}><button></button></form>`;
      return document.querySelector("form")!;
    };
    expect(isPlainPost(made('method="post"'), null)).toBe(true);
    expect(["", 'method="post" hx-post="/x"', 'method="post" data-plain', 'method="post" data-island="autosave"'].map((each) => isPlainPost(made(each), null))).toEqual([false, false, false, false]);
  });
  it("asks once, and acts once on yes", async () => {
    HTMLDialogElement.prototype.showModal = function show(this: HTMLDialogElement) { this.open = true; };
    HTMLDialogElement.prototype.close = function close(this: HTMLDialogElement, value?: string) {
      this.returnValue = value ?? "";
      this.dispatchEvent(new Event("close"));
    };
    document.body.insertAdjacentHTML("beforeend", '<button id="go" type="button" data-confirm="sure?"></button>');
    const acted = vi.fn();
    document.getElementById("go")!.addEventListener("click", acted);
    const stop = mountConfirm();
    document.getElementById("go")!.click();
    expect(acted).not.toHaveBeenCalled();
    document.querySelectorAll<HTMLButtonElement>("dialog button")[1]!.click();
    await vi.advanceTimersByTimeAsync(1);
    expect(acted).toHaveBeenCalledOnce();
    expect(document.querySelector("dialog")).toBeNull();
    stop?.();
  });
});

describe("islands", () => {
  it("are mounted once each, also when they come later, and let go", () => {
    const gone = vi.fn();
    const mount = vi.fn(() => gone);
    document.body.innerHTML = '<b data-island="probe"></b>';
    register("probe", mount);
    document.body.insertAdjacentHTML("beforeend", '<b data-island="probe"></b>');
    mountAll(document.body);
    expect(mount).toHaveBeenCalledTimes(2);
    unmount(document.querySelector("b")!);
    expect(gone).toHaveBeenCalledOnce();
  });
  it("put values into texts and leave unknown placeholders visible", () => {
    expect(fill("{a} {b}", { a: 1 })).toBe("1 {b}");
    expect(words()("nowhere")).toBe("⟦nowhere⟧");
  });
  it("send the token with every request", async () => {
    await request("/x");
    expect(new Headers(fetched.mock.calls[0]?.[1]?.headers).get("X-CSRF-Token")).toBe("T");
  });
});
