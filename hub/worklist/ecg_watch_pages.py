"""The administrator's page of the watched folders: what each brought, and what is wrong with it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.web.deps import ContextDep, ReadingDep
from hub.web.templating import render
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.ecg_watch import NOTED_SECONDS
from hub.worklist.models import WatchedFolder

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Shown:
    """A folder as the page shows it."""

    row: WatchedFolder
    watched: bool
    """Whether the settings name it still."""
    stopped: bool
    """Whether nobody looks into it, although somebody should."""


@router.get("/admin/watched")
def watched(
    request: Request,
    context: ContextDep,
    session: ReadingDep,
    actor: Annotated[Actor, guard(Permission.ADMINISTER)],
) -> Response:
    """Show the watched folders."""
    del actor
    late = context.clock() - timedelta(seconds=4 * NOTED_SECONDS)
    named = set(context.settings.ecg_watch)
    folders = [
        Shown(row, f"{row.site_code}={row.folder}" in named, row.looked_at < late)
        for row in EcgRepository(session).folders()
    ]
    return render(request, "worklist/watched.html", {"folders": folders})
