/** A line below the app bar that stays until it is taken away. */

export function showBanner(id: string, kind: "info" | "warn" | "danger", text: string, actions: [string, () => void][] = []): void {
  hideBanner(id);
  const banner = document.createElement("div");
  banner.className = `banner ${kind}`;
  banner.dataset["banner"] = id;
  banner.append(Object.assign(document.createElement("span"), { textContent: text }));
  for (const [label, act] of actions) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button small", textContent: label });
    button.addEventListener("click", act);
    banner.append(button);
  }
  (document.getElementById("banners") ?? document.body).append(banner);
}

export function hideBanner(id: string): void {
  for (const banner of document.querySelectorAll<HTMLElement>("[data-banner]")) if (banner.dataset["banner"] === id) banner.remove();
}
