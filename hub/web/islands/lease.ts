/** Keeps a claim alive while its page is open, and says so loudly when it is gone. */

import { hideBanner, showBanner } from "./banner";
import { postJson } from "./http";
import type { Unmount } from "./registry";
import { words } from "./texts";

const GONE = new Set([403, 404, 409, 410]);

export function mountLease(element: HTMLElement): Unmount {
  const t = words();
  const url = element.dataset["url"] ?? "";
  const everyMs = Number(element.dataset["everySeconds"] ?? 60) * 1000;
  const token = element.dataset["token"] ?? "";
  const renew = async (): Promise<void> => {
    let status = 0;
    try {
      status = (await postJson(url, { token })).status;
    } catch {
      // unreachable: status stays 0
    }
    if (GONE.has(status)) {
      clearInterval(timer);
      hideBanner("lease-unreachable");
      showBanner("lease", "danger", t("lease_lost"));
      document.dispatchEvent(new CustomEvent("lease:lost"));
    } else if (status < 200 || status >= 300) {
      showBanner("lease-unreachable", "warn", t("lease_unreachable"));
    } else {
      hideBanner("lease-unreachable");
    }
  };
  const timer = setInterval(() => void renew(), everyMs);
  const onReturn = (): void => {
    // a laptop that slept must not show a claim it no longer has
    if (document.visibilityState === "visible") void renew();
  };
  document.addEventListener("visibilitychange", onReturn);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", onReturn);
  };
}
