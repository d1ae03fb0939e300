"""The signals of one WFDB segment: data files decoded, checked and calibrated."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import (
    ChecksumWrong,
    CompanionMissing,
    FormatFeature,
    RateMissing,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats.channels import MV_PER_UNIT, is_other_signal
from hub.ecg.formats.wfdb_header import Header, SignalLine
from hub.ecg.formats.wfdb_samples import INVALID, Integers, bytes_needed, unpack, values_within
from hub.ecg.limits import check_size
from hub.errors import Malformed


@dataclass(frozen=True, eq=False)
class Signals:
    """Decoded signals.

    Attributes
    ----------
    samples_mv : numpy.ndarray
        float64 of shape ``(n_samples, n_leads)``; NaN where nothing is stored.
    rate_hz : float
        Samples per second.
    labels : tuple of str
        Descriptions as the header writes them.
    lsb_mv : tuple
        Millivolts per stored unit; None where it differs within the signal.
    """

    samples_mv: NDArray[np.float64]
    rate_hz: float
    labels: tuple[str, ...]
    lsb_mv: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which signals of a header are read: their columns, and how many samples each has in a frame."""

    columns: tuple[int, ...]
    per_frame: int


def find_file(files: Mapping[str, bytes], stated: str) -> bytes:
    """Find a file by its stated name; devices differ in case, folders do not count.

    Raises
    ------
    CompanionMissing
        It is not there.
    """
    by_name = {name.replace("\\", "/").rsplit("/", 1)[-1].casefold(): data for name, data in files.items()}
    data = by_name.get(stated.replace("\\", "/").rsplit("/", 1)[-1].casefold())
    if data is None:
        raise CompanionMissing("a data file named in the WFDB header was not sent")
    return data


def choose(signals: tuple[SignalLine, ...], warnings: list[str]) -> Choice:
    """Choose the ECG signals of a record.

    Signals in other units than volts, and those whose description names another kind of signal,
    are left out with the warning ``channels_not_ecg`` as long as an ECG signal remains.

    Raises
    ------
    UnitsMissing
        A signal has no gain, or none is in volts.
    FormatFeature
        ECG signals are sampled at different rates.
    """
    volts = [n for n, s in enumerate(signals) if (s.units or "mV") in MV_PER_UNIT]
    if not volts:
        raise UnitsMissing("no WFDB signal is in volts", column=0)
    kept = [n for n in volts if not is_other_signal(signals[n].description)] or volts
    rates = {signals[n].per_frame for n in kept}
    if len(rates) > 1:
        raise FormatFeature("ECG signals of different rates are not read", feature="differing rates")
    if len(kept) < len(signals):
        warnings.append("channels_not_ecg")
    return Choice(tuple(kept), rates.pop())


def lsb_of(signal: SignalLine, column: int) -> float:
    """Return millivolts per stored unit.

    Raises
    ------
    UnitsMissing
        The signal states no usable gain: WFDB calls it uncalibrated, and nothing is guessed.
    """
    unit_mv = MV_PER_UNIT.get(signal.units or "mV")
    if not signal.gain or not isfinite(signal.gain) or signal.gain < 0:
        raise UnitsMissing("a WFDB signal has no gain", column=column)
    if unit_mv is None:
        raise UnitsMissing("a WFDB signal is not in volts", column=column)
    lsb_mv = unit_mv / signal.gain
    if not isfinite(lsb_mv) or lsb_mv == 0:
        raise UnitsMissing("a WFDB signal has an impossible gain", column=column)
    return lsb_mv


def read_signals(
    files: Mapping[str, bytes], header: Header, warnings: list[str], choice: Choice | None = None
) -> Signals:
    """Decode the ECG signals of a single-segment header.

    Parameters
    ----------
    files : mapping of str to bytes
        The data files by name.
    header : Header
        With signals.
    warnings : list of str
        Codes are added.
    choice : Choice, optional
        Which signals; by default those of `choose`.

    Raises
    ------
    hub.errors.HubError
        As `hub.ecg.formats.wfdb.read_wfdb` says.
    """
    if not isfinite(header.rate_hz) or header.rate_hz <= 0:
        raise RateMissing
    choice = choice or choose(header.signals, warnings)
    scales = [lsb_of(header.signals[n], n) for n in choice.columns]
    columns = _read_columns(files, header, warnings)
    samples = np.empty((len(columns[choice.columns[0]]), len(choice.columns)), dtype=np.float64)
    for place, (column, lsb_mv) in enumerate(zip(choice.columns, scales, strict=True)):
        samples[:, place] = _calibrated(header.signals[column], columns[column], lsb_mv)
    return Signals(
        samples_mv=samples,
        rate_hz=header.rate_hz * choice.per_frame,
        labels=tuple(header.signals[n].description for n in choice.columns),
        lsb_mv=tuple(scales),
    )


def _read_columns(files: Mapping[str, bytes], header: Header, warnings: list[str]) -> list[Integers]:
    """Decode every data file; signals of one file are interleaved in the order of their lines."""
    groups: dict[str, list[int]] = {}
    for column, signal in enumerate(header.signals):
        groups.setdefault(signal.file_name, []).append(column)
    n_frames = header.n_samples or _length_from_files(files, header, groups)
    widest = max(signal.per_frame for signal in header.signals)
    check_size(n_frames * widest, len(header.signals), header.rate_hz * widest)
    columns: dict[int, Integers] = {}
    for file_name, members in groups.items():
        first = header.signals[members[0]]
        layouts = {(header.signals[m].format, header.signals[m].byte_offset) for m in members}
        if len(layouts) > 1:
            raise Malformed("signals of one WFDB file state different formats")
        data = find_file(files, file_name)[first.byte_offset :]
        per_frame = sum(header.signals[m].per_frame for m in members)
        n_values = n_frames * per_frame
        frames = unpack(first.format, data, n_values).reshape(n_frames, per_frame)
        if len(data) > bytes_needed(first.format, n_values):
            warnings.append("data_beyond_length")
        place = 0
        for column in members:
            signal = header.signals[column]
            stored = frames[:, place : place + signal.per_frame].reshape(-1)
            columns[column] = _undifferenced(signal, stored)
            _check_sum(signal, columns[column], column)
            place += signal.per_frame
    return [columns[column] for column in range(len(header.signals))]


def _length_from_files(files: Mapping[str, bytes], header: Header, groups: dict[str, list[int]]) -> int:
    """Frames where the header states no length: what every data file can hold."""
    lengths = []
    for file_name, members in groups.items():
        first = header.signals[members[0]]
        n_bytes = len(find_file(files, file_name)) - first.byte_offset
        per_frame = sum(header.signals[m].per_frame for m in members)
        lengths.append(values_within(first.format, max(0, n_bytes)) // per_frame)
    if min(lengths) == 0:
        raise Truncated("a WFDB data file holds no sample")
    return min(lengths)


def _undifferenced(signal: SignalLine, stored: Integers) -> Integers:
    """Format 8 stores differences that start from the initial value of the header."""
    if signal.format != 8:  # noqa: PLR2004 - the format's number
        return stored
    if signal.initial is None:
        raise Malformed("a WFDB signal of format 8 states no initial value")
    return signal.initial + np.cumsum(stored, dtype=np.int64)


def _check_sum(signal: SignalLine, stored: Integers, column: int) -> None:
    """Compare the 16-bit sum of all samples with the header's (header(5), checksum field)."""
    if signal.checksum is not None and (int(stored.sum(dtype=np.int64)) - signal.checksum) % 65536:
        raise ChecksumWrong(column=column)


def _calibrated(signal: SignalLine, stored: Integers, lsb_mv: float) -> NDArray[np.float64]:
    values = stored.astype(np.float64)
    values -= signal.baseline
    values *= lsb_mv
    if signal.format in INVALID:
        values[stored == INVALID[signal.format]] = np.nan
    if signal.skew:
        # header(5): this many frames of the signal come before frame 0 of the record.
        skew = min(signal.skew * signal.per_frame, len(values))
        values = np.concatenate([values[skew:], np.full(skew, np.nan)])
    return values
