"""EDF, EDF+ and BDF recordings: fixed-size data records of 16 or 24-bit samples."""

import re
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.channels import MV_PER_UNIT, is_ecg_label, is_other_signal, lead_of_label
from hub.ecg.formats.edf_annotations import LABELS, Annotations, read_annotations
from hub.ecg.formats.edf_header import (
    BDF_START,
    EDF_START,
    EdfHeader,
    Signal,
    moved,
    number,
    parse_edf_header,
)
from hub.ecg.leads import unique_names
from hub.ecg.limits import check_size
from hub.ecg.waveform import Filters, Waveform
from hub.errors import Malformed

_FREE_VALUES = 8_000_000
_VALUES_PER_BYTE = 8
"""A file may state so many values, gaps included, for each of its bytes; and the former in any case."""
_FILTER = re.compile(r"\b(HP|LP|N|Notch)\s*:?\s*(\d+(?:\.\d+)?|\.\d+)\s*(m?)Hz", re.IGNORECASE)


def matches(data: bytes) -> bool:
    """Say whether bytes are an EDF or BDF file: its version field, and numbers where they belong."""
    return data[:8] in {EDF_START, BDF_START} and re.fullmatch(rb" *\d{1,4} *", data[252:256]) is not None


def read_edf(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read the ECG channels of an EDF, EDF+ or BDF file.

    Parameters
    ----------
    data : bytes
        The file.
    charset_override : str, optional
        Character set of the patient's name and of annotations, where it is known of the device.

    Returns
    -------
    Waveform
        ``lsb_mv = (physical_max - physical_min) / (digital_max - digital_min)`` in the channel's
        unit turned to millivolts, ``samples_mv = (stored - digital_min) * lsb_mv + physical_min``
        (EDF 1992). Where the records of an EDF+ file do not follow each other there are NaN and
        the warning ``gaps``. Annotations become ``device_statements``. Channels that are no ECG by
        label or unit are left out with the warning ``channels_not_ecg``.

    Raises
    ------
    UnitsMissing
        An ECG channel states no voltage, or its physical or digital range is empty.
    FormatFeature
        ECG channels are sampled at different rates.
    Truncated
        There are fewer data records than the header states, or none.
    NoLeads, RateMissing, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    While a recording is in progress the number of data records is -1; it is then taken from the
    bytes, with the warning ``length_unstated``.
    """
    header = parse_edf_header(data, charset_override)
    warnings: list[str] = []
    chosen = _choose(header.signals, warnings)
    scales = [_scale(header.signals[n], n) for n in chosen]
    n_records = _record_count(header, len(data), warnings)
    per_record = header.signals[chosen[0]].per_record
    rate_hz = float(per_record / header.record_seconds)
    check_size(n_records * per_record, len(chosen), rate_hz)
    records = np.frombuffer(data, np.uint8, n_records * header.record_bytes, header.data_start)
    records = records.reshape(n_records, header.record_bytes)
    remarks = _annotations(header, records, charset_override)
    first_rows, n_samples = _places(header, remarks, n_records, per_record)
    gaps = n_samples > n_records * per_record
    if gaps:
        warnings.append("gaps")
        check_size(n_samples, len(chosen), rate_hz)
        if n_samples * len(chosen) > _FREE_VALUES + _VALUES_PER_BYTE * len(data):
            raise RecordingTooLarge(limit="gaps", declared=n_samples * len(chosen))
    samples = np.full((n_samples, len(chosen)), np.nan) if gaps else np.empty((n_samples, len(chosen)))
    rows = (first_rows[:, None] + np.arange(per_record)).reshape(-1) if gaps else slice(None)
    for column, (n, (lsb_mv, least, least_mv)) in enumerate(zip(chosen, scales, strict=True)):
        samples[rows, column] = (_stored(header, records, n) - float(least)) * lsb_mv + least_mv
    leads, renamed = unique_names([_lead_name(header.signals[n], n, warnings) for n in chosen])
    if renamed:
        warnings.append("lead_repeated")
    begins = remarks.onsets[0] if remarks.onsets else None
    return Waveform(
        samples_mv=samples,
        rate_hz=rate_hz,
        leads=leads,
        format="edf",
        started_at=moved(header.started_at, begins or 0.0),
        started_at_source=header.started_at_source,
        lsb_mv=tuple(abs(lsb_mv) for lsb_mv, _, _ in scales),
        filters=_filters([header.signals[n].prefilter for n in chosen]),
        patient=header.patient,
        device=header.equipment,
        device_statements=remarks.texts,
        warnings=tuple(warnings),
    )


def _choose(signals: tuple[Signal, ...], warnings: list[str]) -> list[int]:
    """Return the columns of the ECG channels.

    Those whose labels say so; where none does, all channels in volts that do not name another signal.
    """
    candidates = [n for n, s in enumerate(signals) if s.label not in LABELS and not is_other_signal(s.label)]
    chosen = [n for n in candidates if is_ecg_label(signals[n].label) and _may_be_volts(signals[n])]
    chosen = chosen or [n for n in candidates if signals[n].unit in MV_PER_UNIT]
    if not chosen and any(not signals[n].unit for n in candidates):
        raise UnitsMissing("no EDF channel states a unit", column=candidates[0])
    if not chosen:
        raise NoLeads("no EDF channel is an ECG")
    if len({signals[n].per_record for n in chosen}) > 1:
        raise FormatFeature("ECG channels of different rates are not read", feature="differing rates")
    if len(chosen) < sum(s.label not in LABELS for s in signals):
        warnings.append("channels_not_ecg")
    return chosen


def _may_be_volts(signal: Signal) -> bool:
    """Keep channels without a unit among the candidates, so that they are refused and not overlooked."""
    return not signal.unit or signal.unit in MV_PER_UNIT


def _scale(signal: Signal, column: int) -> tuple[float, int, float]:
    """Return millivolts per stored unit, the least stored value and its millivolts."""
    unit_mv = MV_PER_UNIT.get(signal.unit)
    if unit_mv is None:
        raise UnitsMissing("an EDF channel states no voltage", column=column)
    low, high = number(signal.physical_min), number(signal.physical_max)
    stored = number(signal.digital_min), number(signal.digital_max)
    if not all(value.is_integer() for value in stored):
        raise Malformed("an EDF channel has a digital range of broken numbers", column=column)
    least, most = int(stored[0]), int(stored[1])
    if low == high or least >= most:
        raise UnitsMissing("an EDF channel has an empty range", column=column)
    lsb_mv = (high - low) / (most - least) * unit_mv
    if not isfinite(lsb_mv) or lsb_mv == 0:
        raise UnitsMissing("an EDF channel has an impossible range", column=column)
    return lsb_mv, least, low * unit_mv


def _record_count(header: EdfHeader, n_bytes: int, warnings: list[str]) -> int:
    present, rest = divmod(n_bytes - header.data_start, header.record_bytes)
    if header.n_records == -1:
        warnings.append("length_unstated")
    elif present < header.n_records:
        raise Truncated(needed_records=header.n_records, present_records=present)
    count = present if header.n_records == -1 else header.n_records
    if count == 0:
        raise Truncated("the EDF file holds no whole data record", present_bytes=n_bytes)
    if rest or present > count:
        warnings.append("data_beyond_length")
    return count


def _byte_places(header: EdfHeader) -> list[tuple[int, int]]:
    """Return where each signal lies within a data record, in bytes."""
    places, first = [], 0
    for signal in header.signals:
        after = first + signal.per_record * header.value_bytes
        places.append((first, after))
        first = after
    return places


def _stored(
    header: EdfHeader, records: NDArray[np.uint8], column: int
) -> NDArray[np.int32] | NDArray[np.int16]:
    """Return the stored integers of one signal, its records end to end."""
    first, after = _byte_places(header)[column]
    block = np.ascontiguousarray(records[:, first:after])
    if header.value_bytes == 2:  # noqa: PLR2004 - EDF
        return block.view("<i2").reshape(-1)
    triples = block.reshape(-1, 3)
    wide = np.zeros((len(triples), 4), np.uint8)
    wide[:, 1:] = triples
    return wide.view("<i4").reshape(-1) >> 8


def _annotations(header: EdfHeader, records: NDArray[np.uint8], override: str | None) -> Annotations:
    places = [
        place for s, place in zip(header.signals, _byte_places(header), strict=True) if s.label in LABELS
    ]
    if not places:
        if header.plus == "D":
            raise Malformed("a discontinuous EDF+ file does not say when its records begin")
        return Annotations((), ())
    blocks = (b"\0".join(row[first:after].tobytes() for first, after in places) for row in records)
    return read_annotations(blocks, len(records), override)


def _places(
    header: EdfHeader, remarks: Annotations, n_records: int, per_record: int
) -> tuple[NDArray[np.int64], int]:
    """Return the first sample of each data record and the length of the recording in samples.

    The records of an EDF+D file begin when they say. Those of other files follow each other, unless a
    record says that more than half of one is missing before it.
    """
    rows = np.arange(n_records, dtype=np.int64) * per_record
    onsets = [onset for onset in remarks.onsets if onset is not None]
    if len(onsets) != n_records:
        if header.plus == "D":
            raise Malformed("a discontinuous EDF+ file does not say when its records begin")
        return rows, n_records * per_record
    seconds = np.array(onsets)
    record_s = float(header.record_seconds)
    jumps = np.round((np.diff(seconds) - record_s) * per_record / record_s)
    if header.plus != "D":
        jumps[np.abs(jumps) <= per_record / 2] = 0
    if (jumps < 0).any():
        raise Malformed("EDF+ data records overlap in time")
    if jumps.sum() > 2**40:
        raise RecordingTooLarge(limit="gaps")
    rows[1:] += np.cumsum(jumps).astype(np.int64)
    return rows, int(rows[-1]) + per_record


def _lead_name(signal: Signal, column: int, warnings: list[str]) -> str:
    if not signal.label:
        warnings.append("lead_unnamed")
        return f"channel {column + 1}"
    return lead_of_label(signal.label) or signal.label


def _filters(stated: list[str]) -> Filters:
    """Read ``HP:0.05Hz LP:150Hz N:50Hz``, where all ECG channels state the same."""
    if len(set(stated)) != 1:
        return Filters()
    found = {
        kind[0].upper(): float(value) * (1e-3 if milli else 1.0)
        for kind, value, milli in _FILTER.findall(stated[0])
    }
    return Filters(found.get("H") or None, found.get("L") or None, found.get("N") or None)
