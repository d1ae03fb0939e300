/** Small helpers to make elements. */

export function make<K extends keyof HTMLElementTagNameMap>(tag: K, className = "", ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function icon(icons: string, name: string): SVGElement {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${icons}#${name}`);
  picture.append(use);
  return picture;
}

export interface ButtonWords {
  text?: string;
  /** What it does, for the tip and for those who do not see it. */
  label: string;
  key?: string;
}

/** A small button that a key may press; its tip names the key. */
export function button({ text, label, key }: ButtonWords, act: () => void, ...children: Node[]): HTMLButtonElement {
  const made = make("button", `button small${text ? "" : " square"}`, ...children, ...(text ? [text] : []));
  made.type = "button";
  if (key) made.dataset["key"] = key;
  made.title = key ? `${label} (${key})` : label;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}
