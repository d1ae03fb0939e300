/** Asks before what carries `data-confirm` happens, in a native dialog. */

import type { Unmount } from "./registry";
import { words } from "./texts";

function ask(source: HTMLElement): Promise<boolean> {
  const t = words();
  const dialog = document.createElement("dialog");
  const body = document.createElement("div");
  body.className = "dialog-body stack";
  body.append(
    Object.assign(document.createElement("h2"), { textContent: source.dataset["confirmTitle"] || t("confirm_title") }),
    Object.assign(document.createElement("p"), { textContent: source.dataset["confirm"] ?? "", className: "prewrap" }),
  );
  const actions = document.createElement("div");
  actions.className = "dialog-actions";
  const button = (label: string, kind: string, value: string): HTMLButtonElement => {
    const made = Object.assign(document.createElement("button"), { type: "button", className: `button ${kind}`, textContent: label });
    made.addEventListener("click", () => dialog.close(value));
    return made;
  };
  const kind = source.dataset["confirmKind"] || "primary";
  actions.append(button(t("cancel"), "", "no"), button(t("confirm"), kind, "yes"));
  dialog.append(body, actions);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

export function mountConfirm(): Unmount {
  const agreed = new WeakSet<HTMLElement>();

  const hold = async (event: Event, source: HTMLElement, again: () => void): Promise<void> => {
    if (agreed.delete(source)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!(await ask(source))) return;
    agreed.add(source);
    again();
  };
  const onClick = (event: Event): void => {
    const source = (event.target as Element).closest<HTMLElement>("[data-confirm]");
    if (source && !(source instanceof HTMLFormElement)) void hold(event, source, () => source.click());
  };
  const onSubmit = (event: Event): void => {
    const form = event.target as HTMLFormElement;
    const submitter = (event as SubmitEvent).submitter;
    if (form.dataset["confirm"] !== undefined) void hold(event, form, () => form.requestSubmit(submitter));
  };
  document.addEventListener("click", onClick, true);
  document.addEventListener("submit", onSubmit, true);
  return () => {
    document.removeEventListener("click", onClick, true);
    document.removeEventListener("submit", onSubmit, true);
  };
}
