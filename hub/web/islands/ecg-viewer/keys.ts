/** Keys that are no button: the arrows, Enter and Escape. What they do is listed with the page's other keys. */

import type { Words } from "../texts";
import type { Board } from "./board";
import { make } from "./dom";

export interface KeyWishes {
  board(): Board;
  page(pages: number): void;
  seconds(seconds: number): void;
  ends(last: boolean): void;
  /** Put a caliper by key; false when no caliper is in hand. */
  place(): boolean;
  /** One step back; false when there is none. */
  leave(): boolean;
}

const FAR = 10;
const LISTED = [
  ["← →", "keys_move"],
  ["↑ ↓", "keys_across"],
  ["Shift+← →", "keys_far"],
  ["Enter", "keys_place"],
  ["Escape", "keys_leave"],
  ["Home End", "keys_ends"],
] as const;

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT|BUTTON|A|SUMMARY)$/.test(target.tagName));
}

export class Keys {
  /** What the page's list of keys takes these from. */
  readonly help = make("div", "ecg-keys");

  constructor(
    t: Words,
    private readonly wishes: KeyWishes,
  ) {
    for (const [keys, word] of LISTED) {
      const line = make("span");
      line.dataset["keyHelp"] = keys;
      line.setAttribute("aria-label", t(word));
      this.help.append(line);
    }
  }

  install(): void {
    // before the page's own keys, so that Escape lets a caliper go and does not leave the page
    document.addEventListener("keydown", this.onKey, true);
  }

  remove(): void {
    document.removeEventListener("keydown", this.onKey, true);
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const plainButton = event.target instanceof HTMLElement && /^(BUTTON|A|SUMMARY)$/.test(event.target.tagName);
    if (isTyping(event.target) && !(plainButton && event.key !== "Enter")) return;
    if (this.act(event.key, event.shiftKey)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };

  private act(key: string, far: boolean): boolean {
    if (key === "Escape") return this.wishes.leave();
    if (key === "Enter") return this.wishes.place();
    if (key === "Home" || key === "End") {
      this.wishes.ends(key === "End");
      return true;
    }
    const board = this.wishes.board();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[key];
    if (steps === undefined) return false;
    const along = key === "ArrowLeft" || key === "ArrowRight";
    const by = steps * (far ? FAR : 1);
    const chosen = board.chosen;
    if (!chosen) {
      if (!along) return false;
      this.wishes.seconds(by);
    } else if (along === (chosen.kind === "time")) board.nudge(by);
    else board.shift(chosen.kind === "time" ? -by : by);
    return true;
  }
}
