"""WFDB records: a header, one data file, and beat annotations where there are any."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Beat, Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.waveform import PatientText, Waveform
from hub.ecg.writers.steps import Steps, known_steps, rounded_steps, steps_of

_MOST = {16: 2**15 - 1, 24: 2**23 - 1, 32: 2**31 - 1}
"""Largest magnitude of each format; the value below its negative means "no sample" (WFDB signal(5))."""
_BEAT_CODES = {"dominant": 1, "ectopic": 5, "paced": 12, "unclassified": 13}
"""NORMAL (N), PVC (V), PACE (/) and UNKNOWN (Q) of WFDB annot(5). An ectopic beat is one of another shape."""
_SKIP = 59
_MOST_INTERVAL = 1023
_FINE = 256
"""Steps to a stored unit where samples lie between the units."""
_USUAL_STEP_MV = 1e-3
_MOST_NAME = 64
_MOST_TEXT = 200


def write_wfdb(
    waveform: Waveform,
    name: str = "record",
    *,
    patient: PatientText | None = None,
    comments: Sequence[str] = (),
    measurement: Measurement | None = None,
    exact: bool = True,
) -> dict[str, bytes]:
    """Write a recording as a WFDB record.

    Parameters
    ----------
    waveform : Waveform
        What to write. Its own patient text and statements are left out.
    name : str
        Record name; characters that WFDB does not allow become underscores.
    patient : PatientText, optional
        Whose age and sex to write as comments.
    comments : sequence of str
        Further lines of comment.
    measurement : Measurement, optional
        Whose beats to write as annotations of ending ``qrs``.
    exact : bool
        Whether to refuse samples that are no whole number of the device's units or halves of them.
        Otherwise they are rounded, to at most 1/512 of a unit as long as 32 bits allow it.

    Returns
    -------
    dict of str to bytes
        ``NAME.hea``, ``NAME.dat`` and ``NAME.qrs``. The samples are in format 16, or 24 or 32
        when they need it; a gap is the format's value for "no sample".

    Raises
    ------
    CannotHold
        Only when `exact`.

    Notes
    -----
    WFDB states no time zone: the start is written as its own zone's wall clock.
    """
    record = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_MOST_NAME] or "record"
    leads = [_steps(waveform, n, exact=exact) for n in range(len(waveform.leads))]
    largest = max(lead.largest for lead in leads)
    storage_format = next(each for each, most in _MOST.items() if largest <= most)
    lines = [_record_line(record, waveform)]
    lines += [
        _signal_line(record, lead, storage_format, text)
        for lead, text in zip(leads, waveform.leads, strict=True)
    ]
    if patient is not None:
        lines += [
            f"# {key}: {_line(text)}" for key, text in (("age", patient.age), ("sex", patient.sex)) if text
        ]
    lines += [f"# {_line(comment)}" for comment in comments]
    files = {
        f"{record}.hea": ("\n".join(lines) + "\n").encode(),
        f"{record}.dat": _data(leads, storage_format),
    }
    if measurement is not None and measurement.beats:
        files[f"{record}.qrs"] = _annotations(measurement.beats)
    return files


def _steps(waveform: Waveform, column: int, *, exact: bool) -> Steps:
    try:
        return steps_of(waveform, column, _MOST[32])
    except CannotHold:
        if exact:
            raise
    finest_mv = min(known_steps(waveform, column), default=_USUAL_STEP_MV) / _FINE
    return rounded_steps(waveform, column, _MOST[32], finest_mv)


def _record_line(record: str, waveform: Waveform) -> str:
    words = [record, str(len(waveform.leads)), _plain(waveform.rate_hz), str(waveform.n_samples)]
    if waveform.started_at is not None:
        clock = "%H:%M:%S.%f" if waveform.started_at.microsecond else "%H:%M:%S"
        words += [
            waveform.started_at.strftime(clock),
            f"{waveform.started_at:%d/%m/}{waveform.started_at.year:04d}",
        ]
    return " ".join(words)


def _signal_line(record: str, lead: Steps, storage_format: int, text: str) -> str:
    coded = _coded(lead, storage_format)
    checksum = (int(coded.sum()) + 2**15) % 2**16 - 2**15
    gain = f"{_plain(1 / lead.step_mv)}(0)/mV"
    words = (
        f"{record}.dat",
        storage_format,
        gain,
        min(storage_format, 16),
        0,
        coded[0],
        checksum,
        0,
        _line(text),
    )
    return " ".join(str(word) for word in words)


def _coded(lead: Steps, storage_format: int) -> NDArray[np.int64]:
    return np.where(lead.missing, -_MOST[storage_format] - 1, lead.stored)


def _data(leads: Sequence[Steps], storage_format: int) -> bytes:
    values = np.stack([_coded(lead, storage_format) for lead in leads], axis=1)
    if storage_format == 16:  # noqa: PLR2004 - the format's number
        return values.astype("<i2").tobytes()
    words = values.astype("<i4")
    if storage_format == 32:  # noqa: PLR2004
        return words.tobytes()
    return words.view(np.uint8).reshape(*values.shape, 4)[..., :3].tobytes()


def _annotations(beats: Sequence[Beat]) -> bytes:
    """Return beats in MIT format: 6 bits of code, 10 of interval, longer intervals before it (annot(5))."""
    words: list[int] = []
    last = 0
    for beat in sorted(beats, key=lambda each: each.sample):
        interval = beat.sample - last
        if interval > _MOST_INTERVAL:
            words += [_SKIP << 10, interval >> 16, interval & 0xFFFF]
            interval = 0
        words.append(_BEAT_CODES[beat.kind] << 10 | interval)
        last = beat.sample
    return np.array([*words, 0], dtype="<u2").tobytes()


def _plain(value: float) -> str:
    """Return the shortest text that reads as this number, whole numbers without a point."""
    nearest = round(value)
    return str(nearest) if abs(value - nearest) <= 1e-12 * abs(value) else repr(value)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MOST_TEXT] or "unnamed"
