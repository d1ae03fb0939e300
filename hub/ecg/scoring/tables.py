"""The accuracy tables, and how a folder is put through them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hub.ecg.scoring.atrial import Fibrillation, PWaves
from hub.ecg.scoring.boundaries import BoundaryTable
from hub.ecg.scoring.cases import Case, Half, cases
from hub.ecg.scoring.detection import Detection
from hub.ecg.scoring.intervals import IntervalTable
from hub.ecg.scoring.quality import Faults
from hub.ecg.scoring.st import StElevation
from hub.ecg.scoring.st_levels import StLevels
from hub.ecg.scoring.swaps import Swaps


class Table(Protocol):
    """One accuracy table: fed case by case, so that no recording stays in memory."""

    name: str

    def add(self, case: Case) -> None:
        """Score one record."""

    def result(self) -> dict[str, Any]:
        """Return the table, JSON-ready."""


TABLES: tuple[Callable[[], Table], ...] = (Detection, IntervalTable, BoundaryTable, PWaves, Fibrillation)
"""Every table of ``hub ecg score``, in the order of printing. A new one is a line here."""

INJECTED: tuple[Callable[[], Table], ...] = (StLevels, StElevation, Swaps, Faults)
"""Tables that put something known into every record and analyse it again: some 25 analyses a record."""


def score(folder: Path, half: Half = "all", *, injected: bool = False) -> dict[str, Any]:
    """Measure the annotated records of a folder and hold the results against their marks.

    Parameters
    ----------
    folder : pathlib.Path
        As `hub.ecg.scoring.cases.cases` takes it.
    half : str
        ``odd``, ``even`` or ``all`` of the records.
    injected : bool
        Whether the tables of `INJECTED` are made too.

    Returns
    -------
    dict
        ``half``, ``records`` (none is left out), ``failed`` by record, ``ms`` of processor time for a
        measurement, and each of `TABLES` by name.
    """
    tables = [make() for make in (*TABLES, *(INJECTED if injected else ()))]
    names: list[str] = []
    failed: dict[str, str] = {}
    seconds: list[float] = []
    for case in cases(folder, half):
        names.append(case.name)
        if case.error:
            failed[case.name] = case.error
        else:
            seconds.append(case.seconds)
        for table in tables:
            table.add(case)
    took = np.array(seconds or [0.0]) * 1000.0
    return {
        "half": half,
        "records": len(names),
        "failed": failed,
        "ms": {"median": round(float(np.median(took)), 1), "p99": round(float(np.percentile(took, 99)), 1)},
        **{table.name: table.result() for table in tables},
    }
