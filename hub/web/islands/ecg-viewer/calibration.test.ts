import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { calibrate, CARD_MM, forget, keep, measuredPxPerMm, NOMINAL_PX_PER_MM } from "./calibration";

const screenOf = (width: number, height: number, ratio: number): void => {
  Object.defineProperty(window, "screen", { value: { width, height }, configurable: true });
  Object.defineProperty(window, "devicePixelRatio", { value: ratio, configurable: true });
};

beforeEach(() => screenOf(1920, 1080, 1));
afterEach(() => localStorage.clear());

describe("a screen", () => {
  it("is uncalibrated until somebody measures it, and again when that is forgotten", () => {
    expect(measuredPxPerMm()).toBeUndefined();
    keep(3.61);
    expect(measuredPxPerMm()).toBeCloseTo(3.61, 9);
    forget();
    expect(measuredPxPerMm()).toBeUndefined();
  });
  it("keeps its millimetres when the browser is zoomed", () => {
    keep(3.61);
    screenOf(1536, 864, 1.25); // the same 1920 x 1080 dots at 125 %
    expect(measuredPxPerMm()).toBeCloseTo(3.61 / 1.25, 9);
  });
  it("is not taken for another one", () => {
    keep(3.61);
    screenOf(1366, 768, 1);
    expect(measuredPxPerMm()).toBeUndefined();
  });
  it("with nonsense in the store is uncalibrated", () => {
    for (const text of ["x", "null", '{"dotsPerMm":900,"screen":"1920x1080"}', '{"dotsPerMm":"a","screen":"1920x1080"}']) {
      localStorage.setItem("hub.ecg.calibration", text);
      expect(measuredPxPerMm()).toBeUndefined();
    }
  });
});

describe("measuring it with a card", () => {
  beforeEach(() => {
    HTMLDialogElement.prototype.showModal = function (): void {
      this.open = true;
    };
    HTMLDialogElement.prototype.close = function (): void {
      this.open = false;
      this.dispatchEvent(new Event("close"));
    };
  });
  it("begins with the nominal millimetre, follows the arrow keys and keeps what was set", () => {
    let done = 0;
    calibrate((key) => key, () => done++);
    const bar = document.querySelector<HTMLElement>(".ecg-calibration-bar")!;
    expect(parseFloat(bar.style.width)).toBeCloseTo(CARD_MM * NOMINAL_PX_PER_MM, 3);
    const handle = document.querySelector<HTMLElement>(".ecg-calibration-handle")!;
    handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true }));
    expect(parseFloat(bar.style.width)).toBeCloseTo(CARD_MM * NOMINAL_PX_PER_MM * 1.02, 3);
    document.querySelector<HTMLButtonElement>(".dialog-actions .primary")!.click();
    expect(measuredPxPerMm()).toBeCloseTo(NOMINAL_PX_PER_MM * 1.02, 6);
    expect(done).toBe(1);
    expect(document.querySelector("dialog")).toBeNull();
  });
});
