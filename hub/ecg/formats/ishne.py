"""ISHNE Holter files, format 1.0 (Badilini, Ann Noninvasive Electrocardiol 1998;3:263-266)."""

import binascii
import struct
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, Truncated, UnitsMissing
from hub.ecg.leads import unique_names
from hub.ecg.limits import check_size
from hub.ecg.waveform import PatientText, Waveform
from hub.errors import Malformed
from hub.kit.text import decode_text

_ECG_START = b"ISHNE1.0"
_ANNOTATION_START = b"ANN  1.0"
_FIXED_BYTES = 522
_CHECKED_FROM = 10
_MOST_LEADS = 12
_ABSENT = -9
_FAULT = -32768
"""What the paper proposes to store where a lead failed."""
_READ_REMARK_BYTES = 4096
_LEADS = {
    2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF",
    11: "V1", 12: "V2", 13: "V3", 14: "V4", 15: "V5", 16: "V6", 17: "ES", 18: "AS", 19: "AI",
}  # fmt: skip
"""Lead specifications; 0 is unknown and 1 a generic bipolar lead."""
_NOISY = frozenset({2, 3, 4, 5})
"""Quality codes from intermittent noise to frequent disconnection."""
_SEX = {1: "M", 2: "F"}


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The numbers of the fixed block that say how to read the rest."""

    n_leads: int
    specs: tuple[int, ...]
    qualities: tuple[int, ...]
    resolutions_nv: tuple[int, ...]
    rate_hz: int
    stated_samples: int
    data_start: int


def matches(data: bytes) -> bool:
    """Say whether bytes are an ISHNE Holter ECG, or the annotations of one."""
    return data[:8] in {_ECG_START, _ANNOTATION_START}


def read_ishne(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read an ISHNE Holter recording.

    Parameters
    ----------
    data : bytes
        The file.
    charset_override : str, optional
        Character set of its texts, where it is known of the device.

    Returns
    -------
    Waveform
        ``lsb_mv`` is the stated amplitude resolution in nanovolts; -32768 is NaN (a failed lead).
        The length is what the file holds: writers differ in what they state, so a statement of
        more than that gives the warning ``shorter_than_stated``. A header without the checksum
        that it states gives ``checksum_wrong``; 0 states none.

    Raises
    ------
    FormatFeature
        The file holds annotations and no ECG.
    UnitsMissing
        A lead has no resolution (0, or -9: not specified).
    NoLeads, RateMissing, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    if data.startswith(_ANNOTATION_START):
        raise FormatFeature("ISHNE annotations hold no ECG", feature="annotation file")
    fixed = _fixed(data)
    lsb_mv = tuple(_lsb_mv(resolution, n) for n, resolution in enumerate(fixed.resolutions_nv))
    present = (len(data) - fixed.data_start) // (2 * fixed.n_leads)
    if present == 0:
        raise Truncated("the ISHNE file holds no sample", present_bytes=len(data))
    check_size(present, fixed.n_leads, fixed.rate_hz)
    warnings = [] if _sum_holds(data, fixed.data_start) else ["checksum_wrong"]
    if (len(data) - fixed.data_start) % (2 * fixed.n_leads):
        warnings.append("data_beyond_length")
    if fixed.stated_samples > present:
        warnings.append("shorter_than_stated")
    if _NOISY & set(fixed.qualities):
        warnings.append("lead_quality_poor")
    stored = np.frombuffer(data, "<i2", present * fixed.n_leads, fixed.data_start).reshape(
        present, fixed.n_leads
    )
    samples = stored * np.array(lsb_mv)
    samples[stored == _FAULT] = np.nan
    names = [_LEADS.get(spec, "") for spec in fixed.specs]
    if not all(names):
        warnings.append("lead_unnamed")
    leads, renamed = unique_names([name or f"channel {n + 1}" for n, name in enumerate(names)])
    if renamed:
        warnings.append("lead_repeated")
    texts = _Texts(data, charset_override)
    moment = _start(data)
    recorder = texts.read(232, 40)
    return Waveform(
        samples_mv=samples,
        rate_hz=float(fixed.rate_hz),
        leads=leads,
        format="ishne",
        started_at=moment,
        started_at_source="ISHNE date and start time" if moment else "",
        lsb_mv=lsb_mv,
        patient=_patient(data, texts),
        device="" if recorder.casefold() in {"analog", "digital"} else recorder,
        device_statements=texts.lines(_FIXED_BYTES, fixed.data_start - _FIXED_BYTES),
        warnings=tuple(warnings),
    )


def _fixed(data: bytes) -> _Fixed:
    if len(data) < _FIXED_BYTES:
        raise Truncated(needed_bytes=_FIXED_BYTES, present_bytes=len(data))
    variable, stated, variable_at, data_at = struct.unpack_from("<4i", data, 10)
    (n_leads,) = struct.unpack_from("<h", data, 156)
    (rate_hz,) = struct.unpack_from("<h", data, 272)
    if not 0 < n_leads <= _MOST_LEADS:
        raise NoLeads("the ISHNE file states an impossible number of leads")
    if rate_hz <= 0:
        raise RateMissing
    data_start = _FIXED_BYTES + variable
    if variable < 0 or data_start > len(data):
        raise Truncated(needed_bytes=data_start, present_bytes=len(data))
    if variable_at != _FIXED_BYTES or data_at != data_start:
        raise Malformed("an ISHNE header does not lie where it says")
    specs, qualities, resolutions = (struct.unpack_from(f"<{n_leads}h", data, at) for at in (158, 182, 206))
    return _Fixed(n_leads, specs, qualities, resolutions, rate_hz, stated, data_start)


def _sum_holds(data: bytes, data_start: int) -> bool:
    """Say whether the CRC-CCITT of the header is the one it states; the paper leaves its byte order open."""
    stated = data[8:10]
    found = binascii.crc_hqx(data[_CHECKED_FROM:data_start], 0xFFFF)
    return stated in {b"\0\0", found.to_bytes(2, "little"), found.to_bytes(2, "big")}


def _lsb_mv(resolution_nv: int, column: int) -> float:
    if resolution_nv <= 0:
        raise UnitsMissing("an ISHNE lead states no resolution", column=column)
    return resolution_nv / 1e6


class _Texts:
    """Decodes the texts of one file, which states no character set."""

    def __init__(self, data: bytes, override: str | None) -> None:
        self.unsure = False
        self._data = data
        self._override = override

    def read(self, first: int, size: int) -> str:
        """Return a text that ends with a zero byte or with its field."""
        raw = self._data[first : first + size].split(b"\0", 1)[0]
        decoded = decode_text(raw, "", self._override)
        self.unsure = self.unsure or decoded.unsure
        return "".join(c for c in decoded.text if c.isprintable() or c in "\r\n").strip()

    def lines(self, first: int, size: int) -> tuple[str, ...]:
        """Return the lines of a longer text."""
        text = self.read(first, min(size, _READ_REMARK_BYTES))
        return tuple(line.strip() for line in text.splitlines() if line.strip())


def _numbers(data: bytes, first: int) -> tuple[int, int, int]:
    one, two, three = struct.unpack_from("<3h", data, first)
    return one, two, three


def _start(data: bytes) -> datetime | None:
    day, month, year = _numbers(data, 138)
    try:
        return datetime(year, month, day, *_numbers(data, 150))  # noqa: DTZ001 - the device's clock
    except ValueError:
        return None


def _patient(data: bytes, texts: _Texts) -> PatientText:
    first, last, number = texts.read(28, 40), texts.read(68, 40), texts.read(108, 20)
    day, month, year = _numbers(data, 132)
    try:
        born = datetime(year, month, day)  # noqa: DTZ001 - a date
        birth_date = f"{born.year:04d}{born.month:02d}{born.day:02d}"
    except ValueError:
        birth_date = ""
    return PatientText(
        local_id=number,
        name=" ".join(part for part in (last, first) if part),
        sex=_SEX.get(struct.unpack_from("<h", data, 128)[0], ""),
        birth_date=birth_date,
        unsure=texts.unsure,
    )
