"""WFDB records (PhysioNet): a text header and the data files that it names.

Samples in MATLAB 4 files, as in the PhysioNet/CinC challenges, are WFDB format 16 behind a
24-byte header and are read the same way. Annotation files are not read.
"""

from collections.abc import Mapping
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import ChecksumWrong, CompanionMissing, NoLeads, RateMissing, Truncated, UnitsMissing
from hub.ecg.formats.wfdb_header import Header, SignalLine, parse_header
from hub.ecg.formats.wfdb_samples import INVALID, Integers, bytes_needed, unpack, values_within
from hub.ecg.leads import lead_from_text, unique_names
from hub.ecg.limits import check_size
from hub.ecg.waveform import PatientText, Waveform
from hub.errors import Malformed

_MV_PER_UNIT = {"nV": 1e-6, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "mV": 1.0, "mv": 1.0, "V": 1e3}
"""PTB-XL headers write ``mv``; ``MV`` would be a megavolt and is refused."""
_COMMENT_FIELDS = {"age": "age", "<age>": "age", "sex": "sex", "<sex>": "sex"}


def read_wfdb(files: Mapping[str, bytes], header_name: str) -> Waveform:
    """Read one single-segment WFDB record.

    Parameters
    ----------
    files : mapping of str to bytes
        The header and every data file it names, by file name.
    header_name : str
        Which of them is the header.

    Returns
    -------
    Waveform
        ``samples_mv = (stored - baseline) / gain``; a stored "no sample" value is NaN.
        Comment lines become ``device_statements``.

    Raises
    ------
    UnitsMissing
        A gain of 0 or none: WFDB calls that signal uncalibrated and would draw it with
        200 units per mV. That is a guess, and nothing is guessed here. Also for units that
        are no voltage.
    ChecksumWrong
        The samples are not those for which the header was written.
    CompanionMissing, Truncated, FormatFeature, RateMissing, NoLeads, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    Units left out beside a stated gain mean millivolts by definition of the format.
    """
    header = parse_header(files[header_name])
    if not header.signals:
        raise NoLeads("the WFDB header lists no signal")
    if not isfinite(header.rate_hz) or header.rate_hz <= 0:
        raise RateMissing
    scales = [_lsb_mv(signal, column) for column, signal in enumerate(header.signals)]
    warnings: list[str] = []
    columns = _read_columns(files, header, warnings)
    samples = np.empty((len(columns[0]), len(columns)), dtype=np.float64)
    for column, (signal, stored) in enumerate(zip(header.signals, columns, strict=True)):
        _check_sum(signal, stored, column)
        samples[:, column] = _calibrated(signal, stored, scales[column])
    leads, renamed = unique_names([_lead_name(s, n, warnings) for n, s in enumerate(header.signals)])
    if renamed:
        warnings.append("lead_repeated")
    return Waveform(
        samples_mv=samples,
        rate_hz=header.rate_hz,
        leads=leads,
        format="wfdb",
        started_at=header.started_at,
        started_at_source="WFDB base time" if header.started_at else "",
        lsb_mv=tuple(scales),
        patient=_patient(header.comments),
        device_statements=header.comments,
        warnings=tuple(warnings),
    )


def _lsb_mv(signal: SignalLine, column: int) -> float:
    unit_mv = _MV_PER_UNIT.get(signal.units or "mV")
    if not signal.gain or not isfinite(signal.gain) or signal.gain < 0:
        raise UnitsMissing("a WFDB signal has no gain", column=column)
    if unit_mv is None:
        raise UnitsMissing("a WFDB signal is not in volts", column=column)
    lsb_mv = unit_mv / signal.gain
    if not isfinite(lsb_mv) or lsb_mv == 0:
        raise UnitsMissing("a WFDB signal has an impossible gain", column=column)
    return lsb_mv


def _read_columns(files: Mapping[str, bytes], header: Header, warnings: list[str]) -> list[Integers]:
    """Decode every data file; signals of one file are interleaved in the order of their lines."""
    groups: dict[str, list[int]] = {}
    for column, signal in enumerate(header.signals):
        groups.setdefault(signal.file_name, []).append(column)
    n_samples = header.n_samples or _length_from_files(files, header, groups)
    check_size(n_samples, len(header.signals), header.rate_hz)
    columns: dict[int, Integers] = {}
    for file_name, members in groups.items():
        first = header.signals[members[0]]
        layouts = {(header.signals[m].format, header.signals[m].byte_offset) for m in members}
        if len(layouts) > 1:
            raise Malformed("signals of one WFDB file state different formats")
        data = _data_file(files, file_name)[first.byte_offset :]
        n_values = n_samples * len(members)
        frames = unpack(first.format, data, n_values).reshape(n_samples, len(members))
        if len(data) > bytes_needed(first.format, n_values):
            warnings.append("data_beyond_length")
        for place, column in enumerate(members):
            columns[column] = _undifferenced(header.signals[column], frames[:, place])
    return [columns[column] for column in range(len(header.signals))]


def _length_from_files(files: Mapping[str, bytes], header: Header, groups: dict[str, list[int]]) -> int:
    """Samples per signal where the header states none: what every data file can hold."""
    lengths = []
    for file_name, members in groups.items():
        first = header.signals[members[0]]
        n_bytes = len(_data_file(files, file_name)) - first.byte_offset
        lengths.append(values_within(first.format, max(0, n_bytes)) // len(members))
    if min(lengths) == 0:
        raise Truncated("a WFDB data file holds no sample")
    return min(lengths)


def _data_file(files: Mapping[str, bytes], stated: str) -> bytes:
    """Find a data file by its stated name; devices differ in case, folders do not count."""
    by_name = {name.replace("\\", "/").rsplit("/", 1)[-1].casefold(): data for name, data in files.items()}
    data = by_name.get(stated.replace("\\", "/").rsplit("/", 1)[-1].casefold())
    if data is None:
        raise CompanionMissing("a data file named in the WFDB header was not sent")
    return data


def _undifferenced(signal: SignalLine, stored: Integers) -> Integers:
    """Format 8 stores differences that start from the initial value of the header."""
    if signal.format != 8:  # noqa: PLR2004 - the format's number
        return stored
    if signal.initial is None:
        raise Malformed("a WFDB signal of format 8 states no initial value")
    return signal.initial + np.cumsum(stored)


def _check_sum(signal: SignalLine, stored: Integers, column: int) -> None:
    """Compare the 16-bit sum of all samples with the header's (header(5), checksum field)."""
    if signal.checksum is not None and (int(stored.sum()) - signal.checksum) % 65536:
        raise ChecksumWrong(column=column)


def _calibrated(signal: SignalLine, stored: Integers, lsb_mv: float) -> NDArray[np.float64]:
    values = (stored - signal.baseline).astype(np.float64) * lsb_mv
    if signal.format in INVALID:
        values[stored == INVALID[signal.format]] = np.nan
    if signal.skew:
        # header(5): this many samples of the signal come before sample 0 of the record.
        values = np.concatenate([values[signal.skew :], np.full(min(signal.skew, len(values)), np.nan)])
    return values


def _lead_name(signal: SignalLine, column: int, warnings: list[str]) -> str:
    text = signal.description.strip()
    if not text:
        warnings.append("lead_unnamed")
        return f"channel {column + 1}"
    return lead_from_text(text) or text[:64]


def _patient(comments: tuple[str, ...]) -> PatientText:
    """Take age and sex from comments of the form ``age: 51``, which the databases share."""
    found: dict[str, str] = {}
    for comment in comments:
        key, _, value = comment.partition(":")
        field = _COMMENT_FIELDS.get(key.strip().casefold())
        if field and value.strip():
            found.setdefault(field, value.split()[0][:64])
    return PatientText(age=found.get("age", ""), sex=found.get("sex", ""))
