"""What every DICOMweb request needs: the study if the caller may see it, a trace of it, caching."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.deps import admit, guard, guard_of
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.retrieval_repository import Addressed, RetrievalRepository, addressed
from hub.catalogue.search import SearchRepository
from hub.context import Context
from hub.dicom.negotiate import Acceptable, acceptable
from hub.errors import Conflict, NotFound
from hub.kit.clock import utcnow
from hub.kit.uids import parse_uid
from hub.patients.repository import PatientRepository
from hub.web.deps import get_context
from hub.web.threads import threads

SERIES = "/studies/{study_uid}/series/{series_uid}"
INSTANCE = SERIES + "/instances/{sop_uid}"

VIEWING = guard(Permission.IMAGES_VIEW)

VIEW_NOTED_FOR = timedelta(minutes=10)
"""Time within which one person's look at one study is one event in the trail."""

REMEMBERED = 20_000
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


class SeveralStudies(Conflict):
    """Several sites sent a study with this UID; the address must name the site: /dicom-web/sites/SITE."""


@lru_cache(maxsize=64)
def _acceptable(header: str) -> tuple[Acceptable, ...]:
    """Read an Accept header; a viewer sends the same one thousands of times."""
    return tuple(acceptable(header))


class Visit:
    """One request: who asks, and where.

    Parameters
    ----------
    site_id : str, optional
        Row id of the site whose studies are meant; None when the address names none.
    """

    def __init__(self, request: Request, actor: Actor, context: Context, site_id: str | None) -> None:
        self.request, self.actor, self.context, self.site_id = request, actor, context, site_id
        self._opened = ExitStack()
        self._index: SearchRepository | None = None

    @cached_property
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

    @cached_property
    def accepted(self) -> Sequence[Acceptable]:
        """What the caller takes; the query parameter wins (PS3.18 section 8.3.3.1)."""
        header = self.request.query_params.get("accept") or self.request.headers.get("accept", "")
        return _acceptable(header)

    @property
    def index(self) -> SearchRepository:
        """The catalogue, in one transaction until the route returns."""
        if self._index is None:
            session = self._opened.enter_context(self.context.db.reading())
            self._index = SearchRepository(session)
        return self._index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    @contextmanager
    def retrieval(self) -> Iterator[RetrievalRepository]:
        """Give the catalogue for a moment: no connection is held while pictures are made."""
        with self.context.db.reading() as session:
            yield RetrievalRepository(session)

    def study(self, study_uid: str) -> Study:
        """Return a study that the caller may see.

        Raises
        ------
        NotFound
            There is none, or it is another site's: the answer does not tell which.
        SeveralStudies
            A UID is not enough: pictures of one patient must not be taken for another's.
        """
        return self._find(study_uid).study

    def one_series(self, study_uid: str, series_uid: str) -> tuple[Study, Series]:
        """Return a series with its study; raises as `study` does."""
        found = self._find(study_uid, series_uid)
        if found.series is None:
            raise NotFound
        return found.study, found.series

    def one(self, study_uid: str, series_uid: str, sop_uid: str) -> tuple[Study, Series, Instance]:
        """Return an instance with its series and study; raises as `study` does."""
        found = self._find(study_uid, series_uid, sop_uid)
        if found.series is None or found.instance is None:
            raise NotFound
        return found.study, found.series, found.instance

    def objects(
        self, study_uid: str, series_uid: str = "", sop_uid: str = ""
    ) -> tuple[Study, list[tuple[Series, Instance]]]:
        """Return a study and what an address names of it, in display order; raises as `study` does."""
        if sop_uid:
            study, series, instance = self.one(study_uid, series_uid, sop_uid)
            return study, [(series, instance)]
        if series_uid:
            study, of_study = self.one_series(study_uid, series_uid)
            with self.retrieval() as catalogue:
                return study, [(of_study, each) for each in catalogue.instances(of_study.id)]
        study = self.study(study_uid)
        with self.retrieval() as catalogue:
            return study, list(catalogue.instances_of_study(study.id))

    def _find(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> Addressed:
        study, series, sop = (parse_uid(uid) if uid else "" for uid in (study_uid, series_uid, sop_uid))
        found = addressed(self.context.db, self.actor, self.site_id, (study, series, sop))
        if len(found) > 1:
            raise SeveralStudies
        if not found:
            raise NotFound
        return found[0]

    def note_view(self, study: Study, tag: Tag = Tag.STUDY_VIEW) -> None:
        """Put a look at a study on record, before anything of it is sent.

        A viewer fetches every frame by itself: a row for each would bury the trail under
        thousands that say the same. So one row stands for ten minutes, or until another
        object of the study arrives, because signing asks whether the signer has looked
        since then.
        """
        since = max(utcnow() - VIEW_NOTED_FOR, study.last_received_at)
        key = (self.actor.id, study.id, str(tag))
        if noted.at(key) >= since:
            return
        with self.retrieval() as catalogue:
            last = catalogue.last_noted(tag, self.actor.id, study.id, since)
        if last is None:
            last = utcnow()
            self._note(study, tag)
        noted.remember(key, last)

    def note_download(self, study: Study, instances: Sequence[Instance]) -> None:
        """Put on record that whole objects left the hub: each request, with what it took."""
        what = {"sop_uid": instances[0].sop_uid} if len(instances) == 1 else {}
        self._note(study, Tag.STUDY_DOWNLOAD, instances=len(instances), **what)

    def _note(self, study: Study, tag: Tag, **facts: str | int) -> None:
        with self.context.db.transaction() as session:
            patient = PatientRepository(session).by_local_id(study.site_id, study.local_id)
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


class _Noted:
    """When somebody's look at a study was last put on record, so that most requests need not ask."""

    def __init__(self) -> None:
        self._at: OrderedDict[tuple[str, str, str], datetime] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, key: tuple[str, str, str]) -> datetime:
        """Return the time of the row, long ago when none is known."""
        return self._at.get(key, _LONG_AGO)

    def remember(self, key: tuple[str, str, str], at: datetime) -> None:
        """Keep the time of a row that is committed."""
        with self._lock:
            self._at[key] = max(at, self.at(key))
            self._at.move_to_end(key)
            while len(self._at) > REMEMBERED:
                self._at.popitem(last=False)


noted = _Noted()


def _only_on_visit_routes() -> Visit:
    raise RuntimeError("a visit is given by hub.dicom.access.VisitRoute only")


VisitDep = Annotated[Visit, Depends(_only_on_visit_routes)]


class VisitRoute(APIRoute):
    """A route whose function takes the visit, then the parts of its path as text.

    A viewer sends thousands of such requests for one CT. FastAPI's way of gathering what a
    function needs takes as long as the answer itself, so here one step in another thread
    does it all: who calls, may they, the answer. The guard is the router's, as everywhere;
    everything is done when the function returns, not once the reply has gone out.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        permissions = guard_of(self.dependant)
        if not permissions:
            raise RuntimeError(f"no guard: {self.path}")
        answer, names = self.endpoint, tuple(each.name for each in self.dependant.path_params)

        def handle(request: Request) -> Response:
            path = request.path_params
            actor = admit(request, permissions)
            visit = Visit(request, actor, get_context(request), path.get("site_id"))
            with request.app.state.read_ahead, visit:
                response: Response = answer(visit, **{name: path[name] for name in names})
                return response

        async def in_thread(request: Request) -> Response:
            return await threads.run(handle, request)

        return in_thread


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
