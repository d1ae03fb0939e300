"""Searching the index by DICOM attributes (PS3.4 section C.2.2.2), for DICOMweb.

The archive may hold a million studies, and an answer is wanted newest first: either the
newest are walked through until enough of them match, or the few that match are fetched
and sorted. PostgreSQL knows from its statistics which is shorter. SQLite has none, so
that here a bounded count of each condition decides, and the way not to be taken is
barred to the planner.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.looked_up import looked_up
from hub.catalogue.models import PINYIN_MARK, Instance, Series, Study
from hub.catalogue.repository import CatalogueRepository, readable_studies
from hub.db.direct import Direct, Statements
from hub.kit.people import has_han

STUDY_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "StudyInstanceUID": Study.study_uid,
    "StudyDate": Study.study_date,
    "StudyTime": Study.study_time,
    "StudyDescription": Study.description,
    "StudyID": Study.study_number,
    "AccessionNumber": Study.accession,
    "ReferringPhysicianName": Study.referring_name,
    "PatientID": Study.local_id,
    "PatientName": Study.name_key,
    "PatientBirthDate": Study.birth_date,
    "PatientSex": Study.sex,
}
SERIES_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "SeriesInstanceUID": Series.series_uid,
    "Modality": Series.modality,
    "SeriesNumber": Series.number,
    "SeriesDescription": Series.description,
    "BodyPartExamined": Series.body_part,
    "PerformedProcedureStepStartDate": Series.performed_date,
    "PerformedProcedureStepStartTime": Series.performed_time,
    "RequestAttributesSequence.ScheduledProcedureStepID": Series.step_id,
    "RequestAttributesSequence.RequestedProcedureID": Series.procedure_id,
}
INSTANCE_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "SOPInstanceUID": Instance.sop_uid,
    "SOPClassUID": Instance.sop_class,
    "InstanceNumber": Instance.number,
}
_COLUMNS = STUDY_COLUMNS | SERIES_COLUMNS | INSTANCE_COLUMNS

MODALITIES_IN_STUDY = "ModalitiesInStudy"
STUDY_MOMENT = "StudyDate StudyTime"
STEP_MOMENT = "PerformedProcedureStepStartDate PerformedProcedureStepStartTime"
"""A date and its time, matched as one (PS3.4 section C.2.2.2.5.4)."""

FEW = 5000
"""So many studies are fetched and sorted; where more match, the newest are walked through."""

_PINS = frozenset({"StudyInstanceUID", "PatientID", "AccessionNumber", "SeriesInstanceUID", "SOPInstanceUID"})
"""What few objects have in common: with one of these there is nothing to weigh up."""

_MOMENTS = {
    STUDY_MOMENT: (Study.study_date, Study.study_time),
    STEP_MOMENT: (Series.performed_date, Series.performed_time),
}
_DAYS = frozenset({"StudyDate", STUDY_MOMENT})
"""What the order of the answer is an index of."""

_LAST = "\U0010ffff"
_NEWEST = (Study.study_date.desc(), Study.study_time.desc(), Study.id.desc())


_OF_STUDY = tuple(Study.__table__.c.keys())

_statements = Statements()
"""By the database, the sites that may be read, and what is asked."""

_IDS_AT_ONCE = 256
_of_ids = Statements()
"""By the number of ids that they take."""


@dataclass(frozen=True, slots=True)
class Match:
    r"""One condition on one attribute.

    ``any_of``: one of `values`. ``wildcard``: one of the patterns, ``*`` and ``?``, case as
    written. ``name``: the same for a person's name, without regard to case. ``words``: a
    name in which each of `values`, folded, begins a word, in any order. ``range``: from
    the first value to the second, both included; an empty one leaves that side open; of a
    date and its time together `values` are date, time, date, time. ``empty``: no value.
    """

    keyword: str
    kind: Literal["any_of", "wildcard", "name", "words", "range", "empty"]
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which of the matches to return."""

    limit: int
    offset: int = 0


class SearchRepository(CatalogueRepository):
    """Matching over what an actor may read. Studies without any DICOM object are left out."""

    def studies(
        self, actor: Actor, matches: Sequence[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[Study]:
        """Return matching studies, newest first."""
        if not any(map(_weighed, matches)):
            return self._studies_with(actor, matches, part, site_id)
        statement = self._matching(actor, matches, site_id).order_by(*_NEWEST)
        return self.session.scalars(statement.limit(part.limit).offset(part.offset)).all()

    def _studies_with(
        self, actor: Actor, matches: Sequence[Match], part: Slice, site_id: str | None
    ) -> Sequence[Study]:
        """Return the studies with given values, by a statement made once for all values.

        Viewers and worklists ask so, and making the statement took half of the answer.
        """
        asked = tuple((match.keyword, len(match.values)) for match in matches)
        key = (self._lite, actor.sites_for(Permission.IMAGES_VIEW), site_id is not None, asked)

        def written() -> Select[Any]:
            open_matches = [
                Match(match.keyword, "any_of", tuple(_slot(match, n, m) for m in range(len(match.values))))
                for n, match in enumerate(matches)
            ]
            site: Any = None if site_id is None else bindparam("site")
            statement = self._matching(actor, open_matches, site).with_only_columns(*Study.__table__.c)
            limit, offset = (bindparam(name, type_=Integer) for name in ("limit", "offset"))
            return statement.order_by(*_NEWEST).limit(limit).offset(offset)

        values = {
            _slot_name(n, m): value for n, each in enumerate(matches) for m, value in enumerate(each.values)
        }
        found = _statements.of(key, written).read(
            self.session, {**values, "site": site_id, "limit": part.limit, "offset": part.offset}
        )
        return [looked_up(Study, _OF_STUDY, row) for row in found]

    def count_studies(self, actor: Actor, matches: Sequence[Match], site_id: str | None = None) -> int | None:
        """Return how many studies match; None when they are many, or counting them would take long."""
        return self._count(self._matching(actor, matches, site_id), matches)

    def series_found(
        self, actor: Actor, matches: Sequence[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[tuple[Study, Series]]:
        """Return matching series with their study, newest study first."""
        statement = (
            self._matching(actor, matches, site_id)
            .join(Series, Series.study_id == Study.id)
            .with_only_columns(Study, Series)
            .order_by(*_NEWEST, Series.number, Series.series_uid)
        )
        rows = self.session.execute(statement.limit(part.limit).offset(part.offset))
        return [(study, series) for study, series in rows]

    def count_series(self, actor: Actor, matches: Sequence[Match], site_id: str | None = None) -> int | None:
        """Return how many series match; None when they are many, or counting them would take long."""
        statement = self._matching(actor, matches, site_id).join(Series, Series.study_id == Study.id)
        return self._count(statement, matches)

    def instances_found(
        self, actor: Actor, matches: Sequence[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[tuple[Study, Series, Instance]]:
        """Return matching instances with their study and series, newest study first."""
        statement = (
            self._with_instances(actor, matches, site_id)
            .with_only_columns(Study, Series, Instance)
            .order_by(*_NEWEST, Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
        )
        rows = self.session.execute(statement.limit(part.limit).offset(part.offset))
        return [(study, series, instance) for study, series, instance in rows]

    def count_instances(
        self, actor: Actor, matches: Sequence[Match], site_id: str | None = None
    ) -> int | None:
        """Return how many instances match; None when they are many, or counting them would take long."""
        return self._count(self._with_instances(actor, matches, site_id), matches)

    def first_of_studies(self, study_ids: Iterable[str]) -> dict[str, tuple[Series, Instance]]:
        """Return the first instance of each study's first series, to stand for the study."""
        first = (
            select(Instance.id)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == Study.id)
            .order_by(Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
            .limit(1)
            .correlate(Study)
            .scalar_subquery()
        )
        statement = (
            select(Study.id, Series, Instance)
            .select_from(Study)
            .join(Instance, Instance.id == first)
            .join(Series, Series.id == Instance.series_id)
            .where(Study.id.in_(list(study_ids)))
        )
        return {study: (series, instance) for study, series, instance in self.session.execute(statement)}

    def first_of_series(self, series_ids: Iterable[str]) -> dict[str, Instance]:
        """Return the first instance of each series, to stand for the series."""
        first = (
            select(Instance.id)
            .where(Instance.series_id == Series.id)
            .order_by(Instance.number, Instance.sop_uid)
            .limit(1)
            .correlate(Series)
            .scalar_subquery()
        )
        statement = (
            select(Series.id, Instance)
            .select_from(Series)
            .join(Instance, Instance.id == first)
            .where(Series.id.in_(list(series_ids)))
        )
        return dict(self.session.execute(statement).all())

    def modalities(self, study_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return the modalities of each study's series, in alphabetical order."""
        found: dict[str, set[str]] = {}
        wanted = list(study_ids)
        for start in range(0, len(wanted), _IDS_AT_ONCE):
            some = wanted[start : start + _IDS_AT_ONCE]
            statement, values = _modalities_of(some)
            for study_id, modality in statement.rows(self.session, values):
                if modality:
                    found.setdefault(study_id, set()).add(modality)
        return {study_id: sorted(modalities) for study_id, modalities in found.items()}

    def _readable(self, actor: Actor, site_id: str | None, *, indexed: bool = True) -> Select[Any]:
        """Return the studies an actor may see; without `indexed` no index of sites is used for it."""
        if indexed:
            statement = readable_studies(actor)
        else:
            sites = actor.sites_for(Permission.IMAGES_VIEW)
            statement = select(Study)
            if sites is not None:
                of_site = [barred_column(Study.site_id) == site for site in sorted(sites)]
                statement = statement.where(or_(false(), *of_site))
        statement = statement.where(Study.n_instances > 0)
        if site_id is None:
            return statement
        return statement.where((Study.site_id if indexed else barred_column(Study.site_id)) == site_id)

    def _with_instances(self, actor: Actor, matches: Sequence[Match], site_id: str | None) -> Select[Any]:
        return (
            self._matching(actor, matches, site_id)
            .join(Series, Series.study_id == Study.id)
            .join(Instance, Instance.series_id == Series.id)
        )

    def _count(self, statement: Select[Any], matches: Sequence[Match]) -> int | None:
        if not (all(match.keyword in _DAYS for match in matches) or self._leading(matches)):
            return None
        some = statement.with_only_columns(literal_column("1")).order_by(None).limit(FEW + 1).subquery()
        count = self.session.scalar(select(func.count()).select_from(some)) or 0
        return count if count <= FEW else None

    def _matching(self, actor: Actor, matches: Sequence[Match], site_id: str | None) -> Select[Any]:
        """Return the readable studies under conditions."""
        return self._narrowed(lambda indexed: self._readable(actor, site_id, indexed=indexed), matches)

    def _narrowed(self, readable: Callable[[bool], Select[Any]], matches: Sequence[Match]) -> Select[Any]:
        """Return studies under conditions, written so that the shorter way is taken.

        `readable` gives the studies from which to start; with False no index of sites is
        used for it.
        """
        if not self._lite:
            return readable(True).where(*map(self._condition, matches))
        leading = self._leading(matches)
        conditions = [self._condition(match, barred=match.keyword not in _DAYS) for match in matches]
        if leading is None:
            return readable(True).where(*conditions)
        # A table expression of its own is read first, before anything is put in order.
        few = self._studies_of(leading).cte("few").prefix_with("MATERIALIZED")
        return readable(False).where(Study.id.in_(select(few.c[0])), *conditions)

    def _leading(self, matches: Sequence[Match]) -> Match | None:
        """Return a condition that few studies meet, None when every one of them is met by many."""
        for match in matches:
            if match.keyword in _PINS and match.kind == "any_of":
                return match
        for match in matches:
            if _has_prefix(match):
                some = self._studies_of(match).limit(FEW + 1).subquery()
                if (self.session.scalar(select(func.count()).select_from(some)) or 0) <= FEW:
                    return match
        return None

    def _studies_of(self, match: Match) -> Select[Any] | CompoundSelect[Any]:
        """Return the row ids of the studies that meet a condition, by its own index."""
        if match.keyword == MODALITIES_IN_STUDY:
            return select(Series.study_id).where(self._compared(Series.modality, match))
        if match.keyword in SERIES_COLUMNS:
            return select(Series.study_id).where(self._condition(match))
        if match.keyword in INSTANCE_COLUMNS:
            joined = select(Series.study_id).join(Instance, Instance.series_id == Series.id)
            return joined.where(self._condition(match))
        if match.keyword == "PatientName":
            names = (Study.name_key, Study.name_alias)
            return union_all(*(select(Study.id).where(self._compared(name, match)) for name in names))
        return select(Study.id).where(self._condition(match))

    @property
    def _lite(self) -> bool:
        return self.session.get_bind().dialect.name == "sqlite"

    def _condition(self, match: Match, *, barred: bool = False) -> ColumnElement[bool]:
        if match.keyword == MODALITIES_IN_STUDY:
            # A table of its own, so that the condition also works where series are listed.
            other = Series.__table__.alias()
            return exists().where(other.c.study_id == Study.id, self._compared(other.c.modality, match))
        if match.keyword in _MOMENTS:
            return _between(*_MOMENTS[match.keyword], match.values)
        column = _COLUMNS[match.keyword]
        if match.keyword != "PatientName":
            return self._compared(
                barred_column(column) if barred and match.keyword in STUDY_COLUMNS else column, match
            )
        names = [barred_column(name) if barred else name for name in (Study.name_key, Study.name_alias)]
        if match.kind == "words":
            return and_(*(or_(*(_has_word(name, str(word)) for name in names)) for word in match.values))
        if match.kind == "empty":
            return Study.name_key == ""
        return or_(*(self._compared(name, match) for name in names))

    def _compared(self, column: Any, match: Match) -> ColumnElement[bool]:
        if match.kind == "any_of":
            return cast("ColumnElement[bool]", column.in_(match.values))
        if match.kind == "empty":
            nothing = column.is_(None) if column.type.python_type is int else column == ""
            return cast("ColumnElement[bool]", nothing)
        if match.kind == "range":
            low, high = match.values
            bounds = [column != ""]
            if low:
                bounds.append(column >= low)
            if high:
                bounds.append(column <= high)
            return and_(*bounds)
        if match.kind == "words":
            return and_(*(_has_word(func.lower(column), str(word)) for word in match.values))
        if match.kind == "name" and column.key not in {Study.name_key.key, Study.name_alias.key}:
            column = func.lower(column)
        return or_(false(), *(self._like(column, str(value)) for value in match.values))

    def _like(self, column: Any, pattern: str) -> Any:
        """Match with regard to case, which SQLite does with GLOB only."""
        if not self._lite:
            return column.like(_sql_pattern(pattern), escape="/")
        fits = column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
        prefix = _prefix(pattern)
        return and_(column >= prefix, column < prefix + _LAST, fits) if prefix else fits


def _weighed(match: Match) -> bool:
    """Tell whether the values, and not only the attribute, decide how a statement is written."""
    return match.kind != "any_of" or match.keyword == MODALITIES_IN_STUDY


def _slot_name(n: int, m: int) -> str:
    return f"value_{n}_{m}"


def _slot(match: Match, n: int, m: int) -> Any:
    """Return the place of one value of one condition in a statement that is made once."""
    return bindparam(_slot_name(n, m), type_=_COLUMNS[match.keyword].type)


def _modalities_of(ids: Sequence[str]) -> tuple[Direct, dict[str, str]]:
    """Return the statement for so many ids, and its values; few numbers of ids are told apart."""
    places = 1 << (len(ids) - 1).bit_length()

    def written() -> Any:
        among = or_(*(Series.study_id == bindparam(f"id_{n}") for n in range(places)))
        return select(Series.study_id, Series.modality).where(among)

    return _of_ids.of(places, written), {f"id_{n}": ids[min(n, len(ids) - 1)] for n in range(places)}


def _has_prefix(match: Match) -> bool:
    """Tell whether an index can find what meets a condition."""
    if match.keyword == MODALITIES_IN_STUDY:
        return match.kind in {"any_of", "wildcard"} and all(map(_prefix, map(str, match.values)))
    indexed = match.keyword in {"PatientID", "AccessionNumber", "PatientName"}
    return indexed and match.kind in {"wildcard", "name"} and all(map(_prefix, map(str, match.values)))


def _prefix(pattern: str) -> str:
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def barred_column(column: Any) -> Any:
    """Return a column in a form that no index is of."""
    return column.op("||")("")


def _between(day: Any, time: Any, values: tuple[str | int, ...]) -> ColumnElement[bool]:
    """Match a date with its time as one moment."""
    low_day, low_time, high_day, high_time = values
    bounds = [day != ""]
    if low_day:
        bounds += [day >= low_day, tuple_(day, time) >= tuple_(literal(low_day), literal(low_time))]
    if high_day:
        bounds += [day <= high_day, tuple_(day, time) <= tuple_(literal(high_day), literal(high_time))]
    return and_(*bounds)


def _has_word(column: Any, word: str) -> ColumnElement[bool]:
    """Match a folded name in which a word begins so; ideographs may stand anywhere, they have no words."""
    text = _sql_pattern(word)
    if has_han(word):
        return cast("ColumnElement[bool]", column.like(f"%{text}%", escape="/"))
    begins = (f"{text}%", f"% {text}%", f"{PINYIN_MARK}{text}%")
    return or_(*(column.like(pattern, escape="/") for pattern in begins))


def _sql_pattern(pattern: str) -> str:
    escaped = pattern.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return escaped.replace("*", "%").replace("?", "_")
