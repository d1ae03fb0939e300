/** The page's words: JSON blocks written by the server in the reader's language. */

export type Words = (key: string, values?: Record<string, string | number>) => string;

/** Put values into `{placeholders}`; a placeholder without a value stays visible. */
export function fill(text: string, values: Record<string, string | number> = {}): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

/** Read the JSON block that is a direct child of `holder`; a word it lacks shows as its key. */
export function words(holder: Element = document.body): Words {
  const block = holder.querySelector(":scope > script[data-island-text]");
  const table = JSON.parse(block?.textContent || "{}") as Record<string, string>;
  return (key, values) => fill(table[key] ?? `⟦${key}⟧`, values);
}
