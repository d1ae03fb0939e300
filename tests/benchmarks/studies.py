"""A county's archive of any size, written straight into the tables.

A thousand studies a day for as many days as it takes, so that a day and a patient hold
as much in a small archive as in a large one: what a search returns does not grow with
the archive. ``python -m tests.benchmarks.studies URL N`` fills a database.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert

from hub.catalogue.models import Instance, Series, Study
from hub.db import migrate
from hub.db.base import Base
from hub.db.engine import make_engine
from hub.kit.people import searchable_name
from hub.sites.models import Site

FIRST_DAY = date(2023, 1, 1)
PER_DAY = 1000
SITES = 18
STUDIES_PER_PATIENT = 2
BATCH = 20_000
SURNAMES = ("WANG", "LI", "ZHANG", "LIU", "CHEN", "YANG", "ZHAO", "HUANG", "ZHOU", "WU")
GIVEN = ("XIU YING", "WEI", "FANG", "MIN", "JING", "GUO QIANG", "LEI", "HUA", "XIAO DONG", "YAN")
FAMILY = "王李张刘陈杨赵黄周吴"
CALLED = ("秀英", "伟", "芳", "敏", "静", "国强", "磊", "华", "小东", "燕")
MODALITIES = ("DX",) * 10 + ("US",) * 6 + ("CT",) * 3 + ("MG",)
CLASS, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Filled:
    """What was written, so that searches can be made up whose answers are known."""

    studies: int
    site_ids: tuple[str, ...]

    @property
    def days(self) -> int:
        """How many days it covers."""
        return -(-self.studies // PER_DAY)

    @property
    def patients(self) -> int:
        """How many people it holds; the two studies of one lie half the archive apart."""
        return self.studies // STUDIES_PER_PATIENT


def study_uid(number: int) -> str:
    """Return the UID of the study with this number."""
    return f"1.2.826.0.1.{number}"


def local_id(patient: int) -> str:
    """Return the number by which a patient is known."""
    return f"P{patient:07d}"


def day_of(number: int) -> str:
    """Return the day of the study with this number, as DICOM writes it."""
    return f"{FIRST_DAY + timedelta(days=number // PER_DAY):%Y%m%d}"


def name_of(patient: int) -> str:
    """Return a name: every other one in Chinese, a tenth of either with each surname."""
    surname, given = patient // 2 % 10, patient // 20 % 10
    return f"{FAMILY[surname]}{CALLED[given]}" if patient % 2 else f"{SURNAMES[surname]} {GIVEN[given]}"


def fill(url: str, studies: int) -> Filled:
    """Write an archive into a database that has its tables.

    Parameters
    ----------
    url : str
        SQLite or PostgreSQL.
    studies : int
        How many, each with one series of one instance.
    """
    engine = make_engine(url, pool_size=1)
    filled = Filled(studies, tuple(row_id("s", number) for number in range(SITES)))
    with engine.begin() as connection:
        sites = [
            {"id": site, "code": f"B{n:02d}", "number": 900 + n, "name": f"site {n}"}
            for n, site in enumerate(filled.site_ids)
        ]
        connection.execute(insert(Site), [{**site, "created_at": datetime.now(UTC)} for site in sites])
    for first in range(0, studies, BATCH):
        numbers = range(first, min(first + BATCH, studies))
        for model, rows in ((Study, _studies), (Series, _series), (Instance, _instances)):
            _write(engine, model, rows(filled, numbers))
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as the server's own housekeeping would, in time
    engine.dispose()
    return filled


def row_id(kind: str, number: int) -> str:
    """Return a row id that sorts by number."""
    return f"{kind}{number:025d}"


def _studies(filled: Filled, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        patient = number % filled.patients
        name = name_of(patient)
        minute = number % PER_DAY
        yield {
            "id": row_id("t", number),
            "site_id": filled.site_ids[patient % SITES],
            "study_uid": study_uid(number),
            "local_id": local_id(patient),
            "patient_name": name,
            "name_key": searchable_name(name),
            "name_alias": "",
            "sex": "FM"[patient % 2],
            "birth_date": "19580412",
            "accession": f"A{number:09d}",
            "study_date": day_of(number),
            "study_time": f"{minute // 60:02d}{minute % 60:02d}00",
            "modality": MODALITIES[number % len(MODALITIES)],
            "n_series": 1,
            "n_instances": 1,
        }


def _series(_filled: Filled, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        yield {
            "id": row_id("e", number),
            "study_id": row_id("t", number),
            "series_uid": f"{study_uid(number)}.1",
            "modality": MODALITIES[number % len(MODALITIES)],
            "number": 1,
            "n_instances": 1,
        }


def _instances(_filled: Filled, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        yield {
            "id": row_id("i", number),
            "series_id": row_id("e", number),
            "sop_uid": f"{study_uid(number)}.1.1",
            "sop_class": CLASS,
            "transfer_syntax": EXPLICIT,
            "number": 1,
            "storage_key": f"bench/{number}",
            "size": 1,
            "sha256": "0" * 64,
            "dataset_offset": 0,
            "device_id": None,
        }


def _write(engine: Engine, model: type[Base], rows: Iterator[Mapping[str, Any]]) -> None:
    """Insert rows by the driver's fastest way; what they do not say is the column's default."""
    columns = list(model.__table__.columns)
    names = ", ".join(f'"{column.name}"' for column in columns)
    lite = engine.dialect.name == "sqlite"
    rest = {column.name: _default(column, lite) for column in columns}
    values = (tuple(row.get(name, given) for name, given in rest.items()) for row in rows)
    connection = engine.raw_connection()
    cursor = connection.cursor()
    table = model.__tablename__
    if lite:
        cursor.execute("BEGIN")
        marks = ", ".join("?" * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
    else:
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:  # type: ignore[attr-defined]
            for row in values:
                copy.write_row(row)
    connection.commit()
    connection.close()


def _default(column: Any, lite: bool) -> Any:
    if "_at" in column.name:
        return None if column.nullable else f"2023-01-01 00:00:00{'.000000' if lite else '+00'}"
    default = column.default.arg if column.default is not None else None
    return None if callable(default) else default


if __name__ == "__main__":
    migrate.upgrade(sys.argv[1])
    fill(sys.argv[1], int(sys.argv[2]))
