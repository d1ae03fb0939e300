"""Other people's readers. They warn about their own dependencies, which is not our error."""

import warnings
from pathlib import Path

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb


def by_wfdb(path: Path):
    """Read a record with wfdb-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdrecord(str(path))


def qrs_marks(path: Path) -> np.ndarray:
    """Return the sample numbers of a LUDB record's QRS marks in lead II, by its cardiologists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marks = wfdb.rdann(str(path), "ii")
    return np.array([s for s, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol == "N"])


def by_ecgdatakit(path: Path):
    """Read a file with ecgdatakit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ecgdatakit import FileParser

        return FileParser().parse(path)


def lead_marks(path: Path, lead: str) -> list[tuple[int, str]]:
    """Return samples and symbols of a LUDB record's marks in one lead, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marks = wfdb.rdann(str(path), lead)
    return list(zip(marks.sample.tolist(), marks.symbol, strict=True))


def annotate(*arguments: object, **named: object) -> None:
    """Write annotations with wfdb-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrann(*arguments, **named)


def annotations(path: Path, ending: str):
    """Read annotations with wfdb-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdann(str(path), ending)
