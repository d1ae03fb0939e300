"""What every route gets: the context, and a session that is committed before the reply."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from hub.context import Context


def get_context(request: Request) -> Context:
    """Return the context that `create_app` was given."""
    context: Context = request.app.state.context
    return context


async def _context(request: Request) -> Context:
    """Return the context; no plain function, because FastAPI sends those to another thread."""
    return get_context(request)


ContextDep = Annotated[Context, Depends(_context)]


def open_session(context: ContextDep) -> Iterator[Session]:
    """Yield a session that commits when the route returns and rolls back when it raises."""
    with context.db.transaction() as session:
        yield session


def open_reading(context: ContextDep) -> Iterator[Session]:
    """Yield a session for routes that only look."""
    with context.db.reading() as session:
        yield session


# scope="function": by default FastAPI runs the code after `yield` once the reply has gone
# out, so a commit that failed would still be answered with 200 and a sender would delete
# its copy. With it the commit comes first.
SessionDep = Annotated[Session, Depends(open_session, scope="function")]
ReadingDep = Annotated[Session, Depends(open_reading, scope="function")]
