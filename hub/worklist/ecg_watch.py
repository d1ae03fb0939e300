"""Watched folders of the hub: what lies in them is taken in like an upload, with nothing said along."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog

from hub.audit.service import ActorRef
from hub.catalogue.service import Origin
from hub.context import Context
from hub.ecg.grouping import Group
from hub.ecg.ingest import EcgDetails
from hub.ecg.watch import Look, Watcher
from hub.errors import HubError, NotFound
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from hub.worklist.ecg_intake import keep
from hub.worklist.ecg_intake_endpoints import reason_of
from hub.worklist.ecg_repository import EcgRepository

log = structlog.get_logger()

POLL_SECONDS = 1.0
NOTED_SECONDS = 15.0
"""A look that brought nothing new is noted this often, so that a watch that stopped shows."""

ACTOR = ActorRef("system", "watch", "watched folder")


class SiteUnknown(NotFound):
    """The site of a watched folder is not registered, or not active."""


class FolderIntake:
    """One entry of ``HUB_ECG_WATCH`` at work.

    Parameters
    ----------
    entry : str
        ``SITE=/absolute/folder``.
    """

    def __init__(self, context: Context, entry: str) -> None:
        self._context = context
        self.site_code, _, folder = entry.partition("=")
        self.folder = Path(folder)
        settings = context.settings
        self._site: Site | None = None
        self._watcher = Watcher(
            self.folder,
            settings.ecg_watch_rest_seconds,
            self._take,
            lambda error: reason_of(error, settings.language),
        )
        self._told = ""
        self._noted = (Look(), -NOTED_SECONDS)

    def look(self, at_seconds: float) -> Look:
        """Look into the folder once and note what came of it."""
        now = self._context.clock()
        try:
            self._site = self._find_site()
            look = self._watcher.look(now.astimezone(self._context.settings.zone), at_seconds)
        except HubError as error:
            look = Look(problem=error.code)
        if look.problem != self._told:
            log.warning("watched_folder", site=self.site_code, problem=look.problem or "over")
            self._told = look.problem
        if look != self._noted[0] or look.taken or at_seconds - self._noted[1] >= NOTED_SECONDS:
            self._note(look, now)
            self._noted = look, at_seconds
        if look.taken or look.refused:
            log.info("watched_folder_looked", site=self.site_code, taken=look.taken, refused=look.refused)
        return look

    def _note(self, look: Look, now: datetime) -> None:
        with self._context.db.transaction() as session:
            row = EcgRepository(session).folder(self.site_code, str(self.folder), now)
            row.looked_at, row.waiting, row.problem = now, look.waiting, look.problem
            row.taken += look.taken
            row.refused += look.refused
            row.last_taken_at = now if look.taken else row.last_taken_at

    def _find_site(self) -> Site:
        with self._context.db.reading() as session:
            site = SiteRepository(session).site_by_code(self.site_code)
        if site is None or not site.active:
            raise SiteUnknown(site=self.site_code)
        return site

    def _take(self, group: Group) -> None:
        assert self._site is not None  # looked up at each look
        keep(self._context, group, Origin(self._site.id, ACTOR, ""), self._site, EcgDetails())


def watch_folders(context: Context, stop: threading.Event) -> None:
    """Look into the watched folders until `stop`; whatever happens in one holds up no other."""
    intakes = [FolderIntake(context, entry) for entry in context.settings.ecg_watch]
    while not stop.wait(POLL_SECONDS):
        look_into(intakes)


def look_into(intakes: Sequence[FolderIntake]) -> None:
    """Look once into each folder."""
    for intake in intakes:
        try:
            intake.look(time.monotonic())
        except Exception as error:  # a thread that ends here would be noticed by nobody
            log.exception("watched_folder_failed", site=intake.site_code, error=type(error).__name__)


def start_watching(context: Context, stop: threading.Event) -> None:
    """Watch the folders of the settings from a thread of its own, if there are any."""
    if context.settings.ecg_watch:
        thread = threading.Thread(
            target=watch_folders, args=(context, stop), name="watched-folders", daemon=True
        )
        thread.start()
