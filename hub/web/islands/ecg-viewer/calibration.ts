/** How many dots of this workstation's screen are a millimetre, as its user measured it. */

import type { Words } from "../texts";

const KEY = "hub.ecg.calibration";
/** The long side of a bank card: ISO/IEC 7810, size ID-1. */
export const CARD_MM = 85.6;
/** The nominal CSS millimetre, which no screen is bound to. */
export const NOMINAL_PX_PER_MM = 96 / 25.4;
const STEP = 0.002;

interface Kept {
  dotsPerMm: number;
  screen: string;
}

/** Physical dots of the screen: the same whatever the browser's zoom. */
function screenName(): string {
  const ratio = window.devicePixelRatio || 1;
  return `${Math.round(screen.width * ratio)}x${Math.round(screen.height * ratio)}`;
}

/** CSS pixels per millimetre of this screen, or undefined while nobody has measured it. */
export function measuredPxPerMm(): number | undefined {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null") as Kept | null;
    if (kept?.screen !== screenName() || !(kept.dotsPerMm > 1 && kept.dotsPerMm < 40)) return undefined;
    return kept.dotsPerMm / (window.devicePixelRatio || 1);
  } catch {
    return undefined;
  }
}

export function keep(pxPerMm: number): void {
  localStorage.setItem(KEY, JSON.stringify({ dotsPerMm: pxPerMm * (window.devicePixelRatio || 1), screen: screenName() } satisfies Kept));
}

export function forget(): void {
  localStorage.removeItem(KEY);
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, className: string, text = ""): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** Ask the user to hold a card or a ruler against a bar and to drag its end. */
export function calibrate(t: Words, done: () => void): void {
  const dialog = make("dialog", "ecg-calibration");
  const body = make("div", "dialog-body stack");
  const bar = make("div", "ecg-calibration-bar");
  const handle = make("span", "ecg-calibration-handle");
  const choice = make("select", "input auto");
  choice.append(new Option(t("calibrate_card"), String(CARD_MM)), new Option(t("calibrate_ruler"), "100"));
  choice.setAttribute("aria-label", t("calibrate_with"));
  let pxPerMm = measuredPxPerMm() ?? NOMINAL_PX_PER_MM;
  const show = (): void => {
    bar.style.width = `${pxPerMm * Number(choice.value)}px`;
    handle.setAttribute("aria-valuenow", pxPerMm.toFixed(3));
  };
  Object.entries({ role: "slider", tabindex: "0", "aria-label": t("calibrate_handle"), "aria-valuemin": "1", "aria-valuemax": "40" }).forEach(([name, value]) => handle.setAttribute(name, value));
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.focus();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    pxPerMm = Math.min(40, Math.max(1, (event.clientX - bar.getBoundingClientRect().left) / Number(choice.value)));
    show();
  });
  handle.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    pxPerMm *= 1 + direction * STEP * (event.shiftKey ? 10 : 1);
    show();
  });
  choice.addEventListener("change", show);
  bar.append(handle);
  const actions = make("div", "dialog-actions");
  const button = (word: string, kind: string, act: () => void): void => {
    const made = make("button", `button ${kind}`, t(word));
    made.type = "button";
    made.addEventListener("click", () => {
      act();
      dialog.close();
      done();
    });
    actions.append(made);
  };
  button("calibrate_forget", "quiet", forget);
  button("calibrate_cancel", "", () => undefined);
  button("calibrate_save", "primary", () => keep(pxPerMm));
  body.append(make("h2", "", t("calibrate_title")), make("p", "", t("calibrate_how")), choice, bar, make("p", "muted small", t("calibrate_note")));
  dialog.append(body, actions);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show();
  handle.focus();
}
