/** The viewer's buttons. They say what was asked for; the island does it. */

import type { Words } from "../texts";
import type { ToolKey } from "./engine";
import type { Preset } from "./layout";

export interface PriorStudy {
  study_uid: string;
  date: string;
  description?: string;
  modality?: string;
}

export interface Wishes {
  tool(tool: ToolKey): void;
  invert(): void;
  reset(): void;
  play(): void;
  layout(layout: "1x1" | "1x2"): void;
  preset(preset: Preset | undefined): void;
  compare(prior: PriorStudy | undefined): void;
  keyImage(): void;
  clear(): void;
}

export interface Shown {
  tool: ToolKey;
  layout: "1x1" | "1x2";
  playing: boolean;
  canPlay: boolean;
  canMark: boolean;
  presets: readonly Preset[];
}

const TOOL_ICONS: [ToolKey, string, string][] = [
  ["scroll", "scroll", "s"],
  ["window", "contrast", "w"],
  ["zoom", "zoom", "z"],
  ["pan", "pan", "p"],
  ["length", "ruler", "m"],
];

export class Toolbar {
  readonly element = Object.assign(document.createElement("div"), { className: "viewer-toolbar" });
  private readonly tools = new Map<ToolKey, HTMLButtonElement>();
  private readonly single: HTMLButtonElement;
  private readonly double: HTMLButtonElement;
  private readonly player: HTMLButtonElement;
  private readonly presets = Object.assign(document.createElement("select"), { className: "input" });
  private readonly marker: HTMLButtonElement | undefined;
  private presetKeys = "";

  constructor(private readonly t: Words, private readonly icons: string, private readonly wishes: Wishes, priors: PriorStudy[], withKeyImage: boolean) {
    this.element.setAttribute("role", "toolbar");
    for (const [tool, icon, key] of TOOL_ICONS) this.tools.set(tool, this.button(`tool_${tool}`, icon, key, () => wishes.tool(tool)));
    this.gap();
    this.presets.setAttribute("aria-label", t("preset"));
    this.presets.addEventListener("change", () => this.choosePreset());
    this.element.append(this.presets);
    this.button("invert", "invert", "i", wishes.invert);
    this.button("reset", "reset", "r", wishes.reset);
    this.button("delete_measurements", "close", "", wishes.clear);
    this.player = this.button("play", "play", "", wishes.play);
    this.gap();
    this.single = this.button("layout_single", "single", "1", () => wishes.layout("1x1"));
    this.double = this.button("layout_double", "columns", "2", () => wishes.layout("1x2"));
    if (priors.length > 0) this.priorPicker(priors);
    if (withKeyImage) {
      this.marker = this.button("key_image", "star", "g", wishes.keyImage, true);
      this.marker.classList.add("push");
    }
  }

  private shownPresets: readonly Preset[] = [];

  update(shown: Shown): void {
    for (const [tool, button] of this.tools) button.ariaPressed = String(tool === shown.tool);
    this.single.ariaPressed = String(shown.layout === "1x1");
    this.double.ariaPressed = String(shown.layout === "1x2");
    this.player.hidden = !shown.canPlay;
    this.dress(this.player, shown.playing ? "stop" : "play", shown.playing ? "pause" : "play");
    if (this.marker) this.marker.disabled = !shown.canMark;
    const keys = shown.presets.map((preset) => preset.key).join();
    if (keys === this.presetKeys && this.presets.options.length > 0) return;
    this.presetKeys = keys;
    this.shownPresets = shown.presets;
    this.presets.hidden = shown.presets.length === 0;
    this.presets.replaceChildren(new Option(this.t("preset"), ""), new Option(this.t("preset_default"), "stored"), ...shown.presets.map((preset) => new Option(this.t(preset.key), preset.key)));
  }

  private choosePreset(): void {
    const value = this.presets.value;
    if (value) this.wishes.preset(this.shownPresets.find((preset) => preset.key === value));
    this.presets.value = "";
    this.presets.blur();
  }

  private priorPicker(priors: PriorStudy[]): void {
    const picker = Object.assign(document.createElement("select"), { className: "input" });
    picker.setAttribute("aria-label", this.t("compare"));
    picker.append(new Option(this.t("compare"), ""), ...priors.map((prior, at) => new Option([prior.date, prior.modality, prior.description].filter(Boolean).join(" "), String(at))));
    picker.addEventListener("change", () => {
      this.wishes.compare(picker.value === "" ? undefined : priors[Number(picker.value)]);
      picker.blur();
    });
    this.element.append(picker);
  }

  private gap(): void {
    this.element.append(Object.assign(document.createElement("span"), { className: "sep" }));
  }

  private button(word: string, icon: string, key: string, act: () => void, withText = false): HTMLButtonElement {
    const button = Object.assign(document.createElement("button"), { type: "button", className: `button quiet small${withText ? "" : " square"}` });
    if (key) button.dataset["key"] = key;
    this.dress(button, word, icon, withText);
    button.addEventListener("click", act);
    this.element.append(button);
    return button;
  }

  private dress(button: HTMLButtonElement, word: string, icon: string, withText = false): void {
    if (button.dataset["icon"] === icon) return;
    button.dataset["icon"] = icon;
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("class", "icon");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${this.icons}#${icon}`);
    picture.append(use);
    const label = this.t(word);
    button.title = button.dataset["key"] ? `${label} (${button.dataset["key"]})` : label;
    button.setAttribute("aria-label", label);
    button.replaceChildren(picture, ...(withText ? [label] : []));
  }
}
