"""The statements of reception: few, and the same few for one object as for a hundred.

They name columns and give rows, not mapped objects, because a county sends a million
objects a week through them.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm.util import identity_key

from hub.catalogue.models import Instance, RetiredObject, Series, Study
from hub.db.base import Base
from hub.db.direct import Direct, place_of
from hub.db.writing import Transaction, joined_session, session_of
from hub.kit.ids import new_id

_STUDY = cast("sa.Table", Study.__table__)
_SERIES = cast("sa.Table", Series.__table__)
_INSTANCE = cast("sa.Table", Instance.__table__)


class StudyRow(NamedTuple):
    """What reception needs to know of a study."""

    id: str
    site_id: str
    study_uid: str
    modality: str
    local_id: str
    patient_name: str
    name_confidence: float
    settled: bool


class InstanceRow(NamedTuple):
    """What reception needs to know of an instance that is here."""

    id: str
    sha256: str
    key: str
    """Of the object that holds it."""


class InstancePlace(NamedTuple):
    """Where the data set of an instance lies: an object, and the bytes of it from `start` to `end`."""

    sha256: str
    key: str
    start: int
    end: int


@lru_cache(maxsize=128)
def _studies(n_sites: int, n_uids: int, *, lock: bool) -> Direct:
    columns = [_STUDY.c[name] for name in StudyRow._fields[:-1]]
    statement = sa.select(*columns, _STUDY.c.settled_at.is_not(None)).where(
        _one_of(_STUDY.c.study_uid, n_uids), _one_of(_STUDY.c.site_id, n_sites)
    )
    return Direct(statement.order_by(_STUDY.c.id).with_for_update() if lock else statement)


@lru_cache(maxsize=512)
def _objects(n_studies: int, n_series: int, n_sops: int) -> Direct:
    here = _INSTANCE.c.series_id == _SERIES.c.id
    columns = (_INSTANCE.c.sop_uid, _INSTANCE.c.id, _INSTANCE.c.sha256, _INSTANCE.c.storage_key)
    return Direct(
        sa.select(_SERIES.c.study_id, _SERIES.c.series_uid, _SERIES.c.id, *columns)
        .select_from(_SERIES)
        .outerjoin(_INSTANCE, sa.and_(here, _one_of(_INSTANCE.c.sop_uid, n_sops)))
        .where(_one_of(_SERIES.c.study_id, n_studies), _one_of(_SERIES.c.series_uid, n_series))
    )


def _one_of(column: "sa.Column[Any]", count: int) -> sa.ColumnElement[bool]:
    return column.in_([sa.bindparam(f"{column.name}_{number}", type_=column.type) for number in range(count)])


def _padded(values: Collection[str]) -> list[str]:
    """Return the values, the last one repeated up to a power of two, so that few statements serve all."""
    listed = list(values)
    return listed + listed[-1:] * ((1 << (len(listed) - 1).bit_length()) - len(listed))


def _numbered(name: str, values: list[str]) -> dict[str, str]:
    return {f"{name}_{number}": value for number, value in enumerate(values)}


_GROWN_STUDY = Direct(
    sa.update(_STUDY)
    .where(_STUDY.c.id == sa.bindparam("study"))
    .values(
        n_instances=_STUDY.c.n_instances + sa.bindparam("instances"),
        n_series=_STUDY.c.n_series + sa.bindparam("series"),
        last_received_at=sa.bindparam("now"),
        settle_due_at=sa.bindparam("due"),
        settled_at=None,
        settle_reason="",
    )
)
_GROWN_SERIES = Direct(
    sa.update(_SERIES)
    .where(_SERIES.c.id == sa.bindparam("series"))
    .values(n_instances=_SERIES.c.n_instances + sa.bindparam("instances"))
)
_CAME_AGAIN = Direct(
    sa.update(_INSTANCE)
    .where(_INSTANCE.c.id == sa.bindparam("instance"))
    .values(resends=_INSTANCE.c.resends + sa.bindparam("times"))
)
_NEW_SERIES = sa.insert(_SERIES)
_NEW_INSTANCE = Direct(sa.insert(_INSTANCE))
_PLACE = (
    sa.select(
        _INSTANCE.c.sha256,
        _INSTANCE.c.storage_key,
        _INSTANCE.c.storage_offset + _INSTANCE.c.dataset_offset,
        _INSTANCE.c.storage_offset + _INSTANCE.c.size,
    )
    .join(_SERIES, _SERIES.c.id == _INSTANCE.c.series_id)
    .join(_STUDY, _STUDY.c.id == _SERIES.c.study_id)
    .where(
        _STUDY.c.site_id == sa.bindparam("site_id"),
        _STUDY.c.study_uid == sa.bindparam("study_uid"),
        _SERIES.c.series_uid == sa.bindparam("series_uid"),
        _INSTANCE.c.sop_uid == sa.bindparam("sop_uid"),
    )
)


class ArrivalRepository:
    """Finding what is here, and writing what is new."""

    def __init__(self, at: Transaction) -> None:
        self._at = at

    def studies(
        self, wanted: Collection[tuple[str, str]], *, lock: bool = False
    ) -> dict[tuple[str, str], StudyRow]:
        """Return the studies that are here by (site id, study UID).

        With `lock` they are held until the transaction ends, in the order of their ids,
        so that two batches with the same studies wait for each other in one direction only.
        """
        sites, uids = _padded({site for site, _ in wanted}), _padded({uid for _, uid in wanted})
        rows = _studies(len(sites), len(uids), lock=lock).rows(
            self._at, _numbered("site_id", sites) | _numbered("study_uid", uids)
        )
        found = map(StudyRow._make, rows)
        return {(row.site_id, row.study_uid): row for row in found if (row.site_id, row.study_uid) in wanted}

    def insert_studies(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert studies, leaving alone what somebody else has inserted meanwhile.

        In the order of their UIDs: of two transactions with several new studies in common
        one waits for the other, never both.
        """
        dialect = place_of(self._at).dialect.name
        insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(_STUDY)
        statement = insert.on_conflict_do_nothing(index_elements=["site_id", "study_uid"])
        ordered = sorted(rows, key=lambda row: (row["site_id"], row["study_uid"]))
        session_of(self._at).execute(statement, ordered)

    def objects(
        self, study_ids: Collection[str], series_uids: Collection[str], sop_uids: Collection[str]
    ) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], InstanceRow]]:
        """Return series ids by (study id, series UID), and instances by (series id, SOP UID)."""
        studies, several, sops = _padded(study_ids), _padded(series_uids), _padded(sop_uids)
        rows = _objects(len(studies), len(several), len(sops)).rows(
            self._at,
            _numbered("study_id", studies) | _numbered("series_uid", several) | _numbered("sop_uid", sops),
        )
        series: dict[tuple[str, str], str] = {}
        instances: dict[tuple[str, str], InstanceRow] = {}
        for study_id, series_uid, series_id, sop_uid, instance_id, sha256, key in rows:
            series[study_id, series_uid] = series_id
            if sop_uid is not None:
                instances[series_id, sop_uid] = InstanceRow(instance_id, sha256, key)
        return series, instances

    def insert_series(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert series of studies whose rows are held."""
        session_of(self._at).execute(_NEW_SERIES, rows)

    def insert_instances(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert instances of studies whose rows are held."""
        _NEW_INSTANCE.run(self._at, rows)

    def grow_studies(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add to the counts of studies (`instances`, `series`), restart their quiet time (`now`, `due`)."""
        _GROWN_STUDY.run(self._at, rows)

    def grow_series(self, counts: Mapping[str, int]) -> None:
        """Add to the number of instances of series."""
        rows = [{"series": series_id, "instances": count} for series_id, count in counts.items()]
        _GROWN_SERIES.run(self._at, rows)

    def count_resends(self, counts: Mapping[str, int]) -> None:
        """Add to how often instances came again."""
        rows = [{"instance": row_id, "times": count} for row_id, count in counts.items()]
        _CAME_AGAIN.run(self._at, rows)

    def retire(self, gone: Collection[str], delete_after: datetime) -> None:
        """Note objects that nothing points at; one noted already keeps its time."""
        if gone:
            dialect = place_of(self._at).dialect.name
            insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(RetiredObject)
            rows = [{"id": new_id(), "key": key, "delete_after": delete_after} for key in sorted(gone)]
            session_of(self._at).execute(insert.on_conflict_do_nothing(index_elements=["key"]), rows)

    def place(self, site_id: str, study_uid: str, series_uid: str, sop_uid: str) -> InstancePlace | None:
        """Return where the data set of one instance lies."""
        row = (
            session_of(self._at)
            .execute(
                _PLACE,
                {"site_id": site_id, "study_uid": study_uid, "series_uid": series_uid, "sop_uid": sop_uid},
            )
            .one_or_none()
        )
        return None if row is None else InstancePlace._make(row)

    def forget(self, model: type[Base], row_ids: Collection[str]) -> None:
        """Let mapped objects that this session holds be read again: their rows were changed beneath them."""
        session = joined_session(self._at)
        if session is None or not len(session.identity_map):
            return
        for row_id in row_ids:
            known = session.identity_map.get(identity_key(model, row_id))
            if known is not None:
                session.expire(known)
