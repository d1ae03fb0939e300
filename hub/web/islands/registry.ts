/** Islands by name: `data-island="name"` in the page is given to the function registered as `name`. */

export type Unmount = () => void;
export type Mount = (element: HTMLElement) => Unmount | void;

const islands = new Map<string, Mount>();
const mounted = new Map<Element, Unmount | void>();

/** Make an island known and mount it wherever the page already asks for it. */
export function register(name: string, mount: Mount): void {
  islands.set(name, mount);
  mountAll(document);
}

/** Make an island known whose code is fetched when a page first asks for it; until then the element stays as it is. */
export function registerLater(name: string, fetchMount: () => Promise<Mount>): void {
  register(name, (element) => {
    let unmountFetched: Unmount | void;
    let gone = false;
    void fetchMount().then((mount) => {
      if (!gone) unmountFetched = mount(element);
    });
    return () => {
      gone = true;
      unmountFetched?.();
    };
  });
}

/** Mount what is in `root` (itself included) and not mounted yet. */
export function mountAll(root: ParentNode & Node): void {
  const found = [...root.querySelectorAll<HTMLElement>("[data-island]")];
  if (root instanceof HTMLElement && root.dataset["island"]) found.unshift(root);
  for (const element of found) {
    const mount = islands.get(element.dataset["island"] ?? "");
    if (mount && !mounted.has(element)) mounted.set(element, mount(element));
  }
}

/** Let go of one element that leaves the page. */
export function unmount(element: Element): void {
  if (!mounted.has(element)) return;
  mounted.get(element)?.();
  mounted.delete(element);
}

/** Let go of everything in `root`. */
export function unmountAll(root: Element): void {
  for (const element of [...mounted.keys()]) if (root.contains(element)) unmount(element);
}
