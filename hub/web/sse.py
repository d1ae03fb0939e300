"""Live events for a page, as a stream of names and ids (WHATWG HTML, server-sent events)."""

from collections.abc import AsyncIterator

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import Request
from starlette.responses import StreamingResponse

from hub.web.live import RESYNC, LiveFeed, Wanted

KEEPALIVE_SECONDS = 15.0
"""Silence after which a comment is sent, so that proxies and browsers keep the connection."""


async def stream(feed: LiveFeed, wanted: Wanted, name: str, id_key: str) -> AsyncIterator[bytes]:
    """Yield one event called `name` per piece of news, with the row id under `id_key` as its data.

    A page that missed something gets the same event with the data ``resync``: in both
    cases it loads its rows anew. The stream ends with the feed.
    """
    with feed.subscribe(wanted) as subscription:
        yield KEEPALIVE_COMMENT
        while not subscription.closed:
            event = await subscription.next(KEEPALIVE_SECONDS)
            if event is None:
                yield KEEPALIVE_COMMENT
                continue
            data = "resync" if event.topic == RESYNC else str(event.ids.get(id_key, ""))
            yield format_sse_event(event=name, data_str=data)


def events(request: Request, wanted: Wanted, name: str, id_key: str) -> StreamingResponse:
    """Answer a page's request for live events with `stream` over the process's feed."""
    return StreamingResponse(
        stream(request.app.state.live, wanted, name, id_key),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
