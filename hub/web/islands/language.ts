/** The language button of the app bar: a cookie, then the same page again. */

const YEAR_SECONDS = 31_536_000;

export function installLanguageSwitch(): void {
  document.addEventListener("click", (event) => {
    const language = (event.target as Element).closest<HTMLElement>("[data-language]")?.dataset["language"];
    if (!language) return;
    document.cookie = `hub_language=${language}; path=/; max-age=${YEAR_SECONDS}; samesite=lax`;
    location.reload();
  });
}
