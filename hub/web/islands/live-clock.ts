/** Times that tick: left until due, overdue, or ago. */

import type { Unmount } from "./registry";
import { type Words, words } from "./texts";

/** Seconds in the two largest units, rounded down: `1 h 5 min`, `45 s`. */
export function spanText(seconds: number, t: Words): string {
  const whole = Math.floor(Math.abs(seconds));
  if (whole < 60) return `${whole} ${t("clock_seconds")}`;
  const parts: [number, string][] =
    whole >= 86_400
      ? [[Math.floor(whole / 86_400), t("clock_days")], [Math.floor(whole / 3600) % 24, t("clock_hours")]]
      : [[Math.floor(whole / 3600), t("clock_hours")], [Math.floor(whole / 60) % 60, t("clock_minutes")]];
  return parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}

export interface ClockState {
  text: string;
  level: "" | "soon" | "overdue";
}

/** What a clock that is due at `due` shows at `now` (milliseconds). */
export function dueState(due: number, now: number, soonSeconds: number, t: Words): ClockState {
  const left = (due - now) / 1000;
  if (left < 0) return { text: t("clock_over", { time: spanText(left, t) }), level: "overdue" };
  return { text: t("clock_left", { time: spanText(left, t) }), level: left <= soonSeconds ? "soon" : "" };
}

const ticking = new Map<HTMLElement, () => void>();
let timer: ReturnType<typeof setInterval> | undefined;

export function mountClock(element: HTMLElement): Unmount {
  const t = words();
  const due = Date.parse(element.dataset["due"] ?? "");
  const since = Date.parse(element.dataset["since"] ?? "");
  const soon = Number(element.dataset["soonSeconds"] ?? 600);
  const tick = (): void => {
    if (Number.isFinite(due)) {
      const state = dueState(due, Date.now(), soon, t);
      element.textContent = state.text;
      element.classList.toggle("soon", state.level === "soon");
      element.classList.toggle("overdue", state.level === "overdue");
      element.closest("tr")?.classList.toggle("overdue", state.level === "overdue");
    } else if (Number.isFinite(since)) {
      element.textContent = t("clock_ago", { time: spanText(Math.max(0, Date.now() - since) / 1000, t) });
    }
  };
  tick();
  ticking.set(element, tick);
  timer ??= setInterval(() => ticking.forEach((each) => each()), 1000);
  return () => {
    ticking.delete(element);
    if (ticking.size === 0 && timer) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}
