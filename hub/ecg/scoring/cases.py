"""Annotated recordings of a folder, read and measured."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hub.ecg.analysis.measure import measure
from hub.ecg.analysis.model import Measurement
from hub.ecg.formats.sniff import is_wfdb_header
from hub.ecg.formats.wfdb_annotations import read_annotations
from hub.ecg.formats.wfdb_header import companions, parse_header
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.ecg.scoring.reference import Reference, from_beats, from_leads, lead_marks
from hub.ecg.waveform import Waveform
from hub.errors import HubError

Half = Literal["odd", "even", "all"]
BEAT_MARKS = ".atr"


@dataclass(frozen=True)
class Case:
    """One annotated recording with what was measured on it.

    Attributes
    ----------
    name : str
        Of the record.
    waveform : Waveform or None
        None when it could not be read: everything in it then counts as missed.
    reference : Reference
    rhythm : str
        As the header's comments state it; empty when they do not.
    measurement : Measurement or None
    seconds : float
        Processor time of the measurement.
    error : str
        Code of what went wrong; empty when nothing did.
    comments : tuple of str
        Of the header.
    """

    name: str
    waveform: Waveform | None
    reference: Reference
    rhythm: str
    measurement: Measurement | None
    seconds: float = 0.0
    error: str = ""
    comments: tuple[str, ...] = field(default=())

    @property
    def is_fibrillating(self) -> bool:
        """Whether the rhythm is named atrial fibrillation or flutter."""
        return bool(re.search("fibrillation|flutter", self.rhythm, re.IGNORECASE))


def is_in_half(name: str, half: Half) -> bool:
    """Say whether a record belongs to a half: by the last number in its name; without one, to the even."""
    digits = re.findall(r"\d+", name)
    odd = bool(digits) and int(digits[-1]) % 2 == 1
    return half == "all" or odd == (half == "odd")


def cases(folder: Path, half: Half = "all") -> Iterator[Case]:
    """Read and measure the annotated records of a folder, in the order of their numbers.

    Parameters
    ----------
    folder : pathlib.Path
        WFDB headers with their data, and beside them either one annotation file a lead (its name is
        the lead's: ``.i`` … ``.v6``, as LUDB has them) or beat annotations (``.atr``).
    half : str
        ``odd`` and ``even`` take the records by the last number in their names.

    Yields
    ------
    Case
        None is left out: a record that cannot be read has everything missed.
    """
    headers = [path for path in folder.glob("*.hea") if is_in_half(path.stem, half)]
    for path in sorted(headers, key=_by_number):
        header = path.read_bytes()
        if not is_wfdb_header(header):
            continue
        reference = _reference(path, header)
        if reference is not None:
            yield _case(path, header, reference)


def _by_number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else 0, path.stem)


def _reference(path: Path, header: bytes) -> Reference | None:
    leads = {}
    for lead in STANDARD_LEADS:
        file = path.with_suffix(f".{lead.lower()}")
        marks = lead_marks(read_annotations(file.read_bytes())) if file.is_file() else None
        if marks is not None:
            leads[lead] = marks
    if leads:
        return from_leads(leads)
    beats = path.with_suffix(BEAT_MARKS)
    if not beats.is_file():
        return None
    try:
        n_samples = parse_header(header).n_samples or 0
    except HubError:
        n_samples = 0
    return from_beats(read_annotations(beats.read_bytes()), n_samples or 1 << 62)


def _case(path: Path, header: bytes, reference: Reference) -> Case:
    try:
        comments = parse_header(header).comments
        files = {path.name: header}
        files |= {name: (path.parent / Path(name).name).read_bytes() for name in companions(header)}
        waveform = read_ecg(files)
    except (HubError, OSError) as error:
        code = error.code if isinstance(error, HubError) else "missing_file"
        return Case(path.stem, None, reference, "", None, error=code)
    rhythm = next((text for text in comments if text.lower().startswith("rhythm:")), "")
    before = time.process_time()
    measurement = measure(waveform)
    seconds = time.process_time() - before
    return Case(
        path.stem,
        waveform,
        reference,
        rhythm.partition(":")[2].strip(" ."),
        measurement,
        seconds,
        measurement.reason,
        comments,
    )
