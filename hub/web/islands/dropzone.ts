/** Files by drag and drop or picker, each with its own progress and its own answer. */

import { csrfToken, errorKey, reasonIn } from "./http";
import type { Unmount } from "./registry";
import { words } from "./texts";

const AT_ONCE = 3;

export interface Verdict {
  accepted: boolean;
  reason: string;
  /** Received, but taken so badly that it should be taken again before the patient leaves. */
  repeat?: boolean;
}

interface Answer {
  accepted?: unknown[];
  refused?: { name?: string; message?: string }[];
  message?: string;
  repeat?: boolean;
}

/** What the server's answer means for the file. An answer that names refused files is a refusal of those. */
export function verdictOf(status: number, body: string, fallback: string): Verdict {
  if (status < 200 || status >= 300) return { accepted: false, reason: reasonIn(body) || fallback };
  let answer: Answer = {};
  try {
    answer = JSON.parse(body) as Answer;
  } catch {
    // an empty 2xx answer accepts
  }
  const refused = answer.refused ?? [];
  const reasons = refused.map((each) => [each.name, each.message].filter(Boolean).join(": ")).join("; ");
  const verdict = { accepted: refused.length === 0, reason: reasons || answer.message || "" };
  if (!answer.repeat) return verdict;
  return { ...verdict, repeat: true, reason: [answer.message, reasons].filter(Boolean).join("; ") };
}

export function mountDropzone(element: HTMLElement): Unmount {
  const t = words();
  const zone = element.querySelector<HTMLElement>(".dropzone");
  const picker = element.querySelector<HTMLInputElement>("input[type=file]");
  const list = element.querySelector<HTMLElement>(".upload-list");
  if (!zone || !picker || !list) return () => undefined;
  const fields = JSON.parse(element.dataset["fields"] || "{}") as Record<string, string>;
  const waiting: (() => Promise<void>)[] = [];
  let running = 0;

  const line = (name: string) => {
    const item = document.createElement("li");
    const label = Object.assign(document.createElement("span"), { className: "ellipsis", textContent: name, title: name });
    const bar = Object.assign(document.createElement("progress"), { max: 100, value: 0 });
    const status = Object.assign(document.createElement("span"), { className: "status", textContent: t("upload_waiting") });
    const reason = Object.assign(document.createElement("div"), { className: "reason", hidden: true });
    item.append(label, bar, status, reason);
    list.append(item);
    return { item, bar, status, reason };
  };

  const send = (files: File[], name: string): (() => Promise<void>) => {
    const shown = line(name);
    const settle = (verdict: Verdict, label: string): void => {
      shown.item.className = verdict.repeat ? "repeat" : verdict.accepted ? "accepted" : "refused";
      if (verdict.repeat) shown.item.setAttribute("role", "alert");
      shown.bar.value = 100;
      shown.status.textContent = label;
      shown.reason.textContent = verdict.reason;
      shown.reason.hidden = !verdict.reason;
      if (shown.item.className !== "accepted") shown.item.scrollIntoView?.({ block: "nearest" });
    };
    return () =>
      new Promise((resolve) => {
        const form = new FormData();
        for (const [key, value] of Object.entries(fields)) form.append(key, value);
        const beside = element.dataset["form"] ? document.querySelector<HTMLFormElement>(element.dataset["form"]) : null;
        if (beside) for (const [key, value] of new FormData(beside)) if (typeof value === "string") form.append(key, value);
        for (const file of files) form.append(element.dataset["name"] || "file", file, file.name);
        const xhr = new XMLHttpRequest();
        xhr.open("POST", element.dataset["url"] ?? "");
        xhr.setRequestHeader("X-CSRF-Token", csrfToken());
        xhr.setRequestHeader("Accept", "application/json");
        xhr.upload.onprogress = (event) => {
          const percent = event.lengthComputable ? Math.floor((100 * event.loaded) / event.total) : 0;
          shown.bar.value = percent;
          shown.status.textContent = percent < 100 ? t("upload_sending", { percent }) : t("upload_checking");
        };
        xhr.onload = () => {
          const verdict = verdictOf(xhr.status, xhr.responseText, t(errorKey(xhr.status)));
          settle(verdict, verdict.repeat ? t("upload_repeat") : verdict.accepted ? t("upload_accepted") : t("upload_refused"));
          resolve();
        };
        xhr.onerror = () => {
          settle({ accepted: false, reason: t("error_network") }, t("upload_failed"));
          resolve();
        };
        xhr.send(form);
      });
  };

  const next = (): void => {
    while (running < AT_ONCE && waiting.length > 0) {
      running += 1;
      void waiting.shift()?.().then(() => {
        running -= 1;
        if (running === 0 && waiting.length === 0) element.dispatchEvent(new CustomEvent("dropzone:done", { bubbles: true }));
        next();
      });
    }
  };
  const take = (files: File[]): void => {
    if (files.length === 0) return;
    if (element.dataset["together"] !== undefined) waiting.push(send(files, files.map((file) => file.name).join(", ")));
    else waiting.push(...files.map((file) => send([file], file.name)));
    next();
  };
  const over = (event: DragEvent): void => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", over);
  zone.addEventListener("drop", (event) => {
    over(event);
    take([...(event.dataTransfer?.files ?? [])]);
  });
  zone.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") picker.click();
  });
  picker.addEventListener("change", () => {
    take([...(picker.files ?? [])]);
    picker.value = "";
  });
  return () => waiting.splice(0);
}
