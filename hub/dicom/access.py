"""What every DICOMweb request needs: the study if the caller may see it, a trace of it, caching."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.search import SearchRepository
from hub.context import Context
from hub.dicom.negotiate import Acceptable, acceptable
from hub.errors import Conflict, NotFound
from hub.kit.clock import utcnow
from hub.kit.uids import parse_uid
from hub.patients.repository import PatientRepository
from hub.web.deps import ContextDep, ReadingDep

VIEWING = guard(Permission.IMAGES_VIEW)

VIEW_NOTED_FOR = timedelta(minutes=10)
"""Time within which one person's look at one study is one event in the trail."""


class SeveralStudies(Conflict):
    """Several sites sent a study with this UID; the address must name the site: /dicom-web/sites/SITE."""


@dataclass(frozen=True)
class Visit:
    """One request: who asks, where, and the session that reads for it."""

    request: Request
    actor: Actor
    context: Context
    session: Session
    site_id: str | None
    """Row id of the site whose studies are meant; None when the address names none."""

    @property
    def root(self) -> str:
        """Address of the service as the caller reached it, without a trailing slash."""
        url = self.request.url
        public = urlsplit(self.context.settings.base_url)
        # Behind a proxy that ends TLS the scheme seen here is http, and the browser would
        # refuse to load bulk data from it.
        scheme = public.scheme if public.netloc == url.netloc else url.scheme
        return f"{scheme}://{url.netloc}/dicom-web"

    @property
    def own_root(self) -> str:
        """The same, with the site when the caller named one."""
        return self.root if self.site_id is None else f"{self.root}/sites/{self.site_id}"

    @property
    def accepted(self) -> list[Acceptable]:
        """What the caller takes; the query parameter wins (PS3.18 section 8.3.3.1)."""
        header = self.request.query_params.get("accept") or self.request.headers.get("accept", "")
        return acceptable(header)

    @property
    def index(self) -> SearchRepository:
        """The catalogue."""
        return SearchRepository(self.session)

    def study(self, study_uid: str) -> Study:
        """Return a study that the caller may see.

        Raises
        ------
        NotFound
            There is none, or it is another site's: the answer does not tell which.
        SeveralStudies
            A UID is not enough: pictures of one patient must not be taken for another's.
        """
        found = self.index.named(self.actor, parse_uid(study_uid), self.site_id)
        if not found:
            raise NotFound
        if len(found) > 1:
            raise SeveralStudies
        return found[0]

    def series(self, study: Study, series_uid: str) -> Series:
        """Return a series of a study."""
        series = self.index.one_series(study.id, parse_uid(series_uid))
        if series is None:
            raise NotFound
        return series

    def instance(self, study: Study, series_uid: str, sop_uid: str) -> Instance:
        """Return an instance of a study."""
        instance = self.index.instance(study.id, parse_uid(series_uid), parse_uid(sop_uid))
        if instance is None:
            raise NotFound
        return instance

    def note_view(self, study: Study, tag: Tag = Tag.STUDY_VIEW) -> None:
        """Put a look at a study on record, before anything of it is sent.

        A viewer fetches every frame by itself: a row for each would bury the trail under
        thousands that say the same. So one row stands for ten minutes, or until another
        object of the study arrives, because signing asks whether the signer has looked
        since then.
        """
        since = max(utcnow() - VIEW_NOTED_FOR, study.last_received_at)
        if not self.index.has_noted(tag, self.actor.id, study.id, since):
            self._note(study, tag)

    def note_download(self, study: Study, instances: list[Instance]) -> None:
        """Put on record that whole objects left the hub: each request, with what it took."""
        what = {"sop_uid": instances[0].sop_uid} if len(instances) == 1 else {}
        self._note(study, Tag.STUDY_DOWNLOAD, instances=len(instances), **what)

    def _note(self, study: Study, tag: Tag, **facts: str | int) -> None:
        patient = PatientRepository(self.session).by_local_id(study.site_id, study.local_id)
        with self.context.db.transaction() as session:
            audit.record(
                session,
                tag,
                actor=self.actor.ref,
                subject_kind="study",
                subject_id=study.id,
                site_id=study.site_id,
                patient_id=patient.id if patient else None,
                address=self.actor.address,
                **facts,
            )


def visit(
    request: Request,
    actor: Annotated[Actor, VIEWING],
    context: ContextDep,
    session: ReadingDep,
) -> Visit:
    """Gather what a route needs."""
    return Visit(request, actor, context, session, request.path_params.get("site_id"))


VisitDep = Annotated[Visit, Depends(visit)]


def etag(*parts: object) -> str:
    """Return a tag of 32 hexadecimal digits for a representation made of `parts`.

    The program's version is part of it: what it makes of the same bytes may change.
    """
    text = "\0".join((_version(), *map(str, parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("shared-diagnosis-hub")
    except PackageNotFoundError:
        return ""


def caching(tag: str) -> dict[str, str]:
    """Return headers for a reply that only this caller's browser may keep, asking each time."""
    return {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}


def not_modified(request: Request, tag: str) -> Response | None:
    """Return 304 when the caller holds this very representation (RFC 9110 section 13.1.2)."""
    held = request.headers.get("if-none-match", "")
    tags = {each.strip().removeprefix("W/") for each in held.split(",")}
    return Response(status_code=304, headers=caching(tag)) if tags & {f'"{tag}"', "*"} else None


def warning(root: str, text: str) -> str:
    """Return the value of a Warning header as PS3.18 section 8.3.4 writes it."""
    return f"299 {root}: {text}"
