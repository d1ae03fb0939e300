"""What the report editor asks for besides the report."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.reports.statements.ecg import groups

router = APIRouter(prefix="/api/v1", tags=["reports"])


@router.get("/ecg/statements")
def ecg_statements(
    response: Response, actor: Annotated[Actor, guard(Permission.REPORT_WRITE)]
) -> list[dict[str, Any]]:
    """Return the statements that may be picked for an ECG report, by kind, in Chinese and English.

    ``keys`` of a statement is what it is found by besides its texts: the Chinese by its sound.
    """
    del actor
    response.headers["Cache-Control"] = "private, max-age=3600"
    return [asdict(group) for group in groups()]
