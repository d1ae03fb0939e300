"""What the reading page sends and gets as JSON."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from hub.reports.service import LONGEST_TEXT


class DraftFields(BaseModel):
    """The fields that have changed since the last save."""

    findings: str | None = Field(default=None, max_length=LONGEST_TEXT)
    impression: str | None = Field(default=None, max_length=LONGEST_TEXT)
    positive: Literal["yes", "no", ""] | None = None


class DraftToSave(BaseModel):
    """One save of the editor."""

    fields: DraftFields
    version: int | None = None
    """The save that this one builds on."""


class DraftSaved(BaseModel):
    """What the editor needs for its next save."""

    version: int
    saved_at: datetime


class PictureToAdd(BaseModel):
    """A picture as the viewer names it."""

    sop_instance_uid: str = Field(max_length=64)
    frame: int = Field(default=1, ge=1)
    window_center: float | None = None
    window_width: float | None = None
