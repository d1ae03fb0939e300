"""What every answer tells the browser about what it may do with the page."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'self'",
    # the viewer's decoders are WebAssembly; no script is ever written into a page
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self' blob:",
    # measurements are drawn as SVG whose colours are set as attributes
    "style-src 'self'",
    "style-src-attr 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "frame-src 'self'",
    "frame-ancestors 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)
CONTENT_SECURITY_POLICY = "; ".join(_POLICY)


def security_headers(path: str, present: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers to add to the answer for `path`.

    Parameters
    ----------
    path
        The request's path; ``/static/`` may be kept by the browser, everything else may hold
        patient data and may not be stored.
    present
        Lower-case names the answer already carries; these are left as they are.
    """
    headers = {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    }
    if not path.startswith("/static/"):
        headers["cache-control"] = "private, no-store"
    taken = set(present)
    return {name: value for name, value in headers.items() if name not in taken}


class SecurityHeaders:
    """ASGI middleware that adds :func:`security_headers` to each HTTP answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the wrapped application does, with the headers added."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                raw = list(message.get("headers", []))
                present = {name.decode("latin-1").lower() for name, _ in raw}
                added = security_headers(scope["path"], present)
                raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in added.items()]
                message["headers"] = raw
            await send(message)

        await self.app(scope, receive, send_with_headers)
