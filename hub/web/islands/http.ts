/** Requests of the page's own scripts: same origin, with the session's CSRF token. */

/** The token of this session, as the page carries it. */
export function csrfToken(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? "";
}

/** `fetch` with the CSRF header. */
export function request(url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("X-CSRF-Token", csrfToken());
  return fetch(url, { ...init, headers, credentials: "same-origin" });
}

/** POST JSON and ask for JSON. */
export function postJson(url: string, body: unknown): Promise<Response> {
  return request(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
}

/** What an error answer says about itself: `message` or `detail` of a JSON body, or nothing. */
export function reasonIn(body: string): string {
  try {
    const parsed = JSON.parse(body) as { message?: unknown; detail?: unknown; error?: { message?: unknown } };
    const said = parsed.message ?? parsed.detail ?? parsed.error?.message;
    return typeof said === "string" ? said : "";
  } catch {
    return "";
  }
}

/** The catalogue key of an HTTP status; 0 is a server that cannot be reached. */
export function errorKey(status: number): string {
  if (status === 0) return "error_network";
  if (status >= 500) return "error_5xx";
  return [401, 403, 404, 409, 413].includes(status) ? `error_${status}` : "error_other";
}
