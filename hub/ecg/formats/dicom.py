"""DICOM ECG waveform objects (PS3.3 C.10.9): 12-Lead, General and Ambulatory, 8 to 32 bits."""

import re
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.dicom_text import (
    TextReader,
    clean,
    date_time,
    number,
    patient_text,
    statements,
    whole_number,
)
from hub.ecg.leads import lead_from_code, lead_from_text, unique_names
from hub.ecg.limits import MAX_FILE_BYTES, MAX_LEADS, check_size
from hub.ecg.waveform import Filters, Part, Waveform
from hub.errors import HubError, Malformed

if TYPE_CHECKING:
    from pydicom import Dataset

_MV_PER_UNIT = {"uV": 1e-3, "mV": 1.0, "V": 1e3}
"""UCUM codes, case-sensitive: ``MV`` would be a megavolt."""

_SAMPLE_TYPES = {
    "SB": (8, "i1"),
    "UB": (8, "u1"),
    "SS": (16, "i2"),
    "US": (16, "u2"),
    "SL": (32, "i4"),
    "UL": (32, "u4"),
}
_LEAD_CODE = re.compile(r"^(?:2:|5\.6\.3-9-)(\d{1,3})$")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MAX_GROUPS = 64


@dataclass
class _Channels:
    """What the channel definitions of one group say, column by column."""

    names: list[str] = field(default_factory=list)
    lsb_mv: list[float] = field(default_factory=list)
    baseline_mv: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_dicom(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one DICOM ECG object as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        A Part 10 file, or a bare data set.
    charset_override : str, optional
        What this device is known to send, whatever Specific Character Set says.

    Returns
    -------
    Waveform
        The rhythm group: the longest original one. Others are in ``parts``;
        ``leads_in_other_groups`` warns when they hold leads that the rhythm lacks.

    Raises
    ------
    UnitsMissing
        A channel has no sensitivity, or its units are not uV, mV or V by UCUM.
    FormatFeature
        Companded or 64-bit samples.
    Truncated, NoLeads, RateMissing, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    ``mV = (raw * sensitivity * correction + baseline) * mV_per_unit`` (PS3.3 C.10.9.1.4):
    the baseline is in sensitivity units. Waveform data of big-endian transfer syntaxes are
    swapped here, which pydicom leaves to its caller. A stated channel skew is not applied but
    warned of (``channel_skew``). Waveform Padding Value marks missing samples (NaN) unless
    it lies inside the range of the channel's other samples, where it cannot be told from
    data; then all are kept, with ``padding_ambiguous``.
    """
    from pydicom import dcmread

    _refuse_bomb(data)
    try:
        return _read(dcmread(BytesIO(data), force=True), charset_override)
    except HubError:
        raise
    except Exception as error:  # pydicom raises almost anything on damaged bytes
        raise Malformed("the DICOM data set cannot be decoded") from error


def _refuse_bomb(data: bytes) -> None:
    """Measure a deflated data set piece by piece before anything inflates it in one."""
    if _DEFLATED not in data[:4096]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start:]
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, 1024 * 1024))
            rest = inflater.unconsumed_tail
            if size > MAX_FILE_BYTES:
                raise RecordingTooLarge(limit="bytes", declared=size)
    except zlib.error as error:
        raise Malformed("the deflated DICOM data set is damaged") from error


def _read(ds: "Dataset", charset_override: str | None) -> Waveform:
    groups = list(ds.get("WaveformSequence") or [])
    if not groups:
        raise NoLeads("the DICOM object holds no waveform")
    if len(groups) > _MAX_GROUPS:
        raise Malformed("the DICOM object states too many waveform groups", groups=len(groups))
    place = max(range(len(groups)), key=lambda n: _rank(groups[n], n))
    group = groups[place]
    little_endian = ds.original_encoding[1] is not False
    raw, rate_hz = _samples(group, little_endian=little_endian)
    channels = _channels(group, raw.shape[1])
    warnings = channels.warnings
    values = raw.astype(np.float64) * np.array(channels.lsb_mv) + np.array(channels.baseline_mv)
    if _mask_padding(group, raw, values, little_endian=little_endian):
        warnings.append("padding_ambiguous")
    leads, renamed = unique_names(channels.names)
    if renamed:
        warnings.append("lead_repeated")
    others = [other for n, other in enumerate(groups) if n != place]
    if _has_other_leads(others, set(leads)):
        warnings.append("leads_in_other_groups")
    started_at, source = date_time(ds)
    reader = TextReader(ds, charset_override)
    return Waveform(
        samples_mv=values,
        rate_hz=rate_hz,
        leads=leads,
        format="dicom",
        started_at=started_at,
        started_at_source=source,
        lsb_mv=tuple(channels.lsb_mv),
        filters=_filters(group),
        patient=patient_text(ds, reader),
        device_statements=statements(ds, reader),
        parts=tuple(part for other in others if (part := _part(other, little_endian=little_endian))),
        warnings=tuple(warnings),
    )


def _rank(group: "Dataset", place: int) -> tuple[bool, float, int]:
    """Order groups: original before derived, then longest, then first."""
    rate = number(group, "SamplingFrequency") or 0.0
    samples = whole_number(group, "NumberOfWaveformSamples") or 0
    original = clean(group, "WaveformOriginality").upper() != "DERIVED"
    return original, samples / rate if rate > 0 else 0.0, -place


def _part(group: "Dataset", *, little_endian: bool) -> Part | None:
    """Read a further group; one that cannot be calibrated is left out, the rhythm is not."""
    try:
        raw, rate_hz = _samples(group, little_endian=little_endian)
        channels = _channels(group, raw.shape[1])
    except HubError:
        return None
    values = raw.astype(np.float64) * np.array(channels.lsb_mv) + np.array(channels.baseline_mv)
    _mask_padding(group, raw, values, little_endian=little_endian)
    derived = clean(group, "WaveformOriginality").upper() == "DERIVED"
    label = clean(group, "MultiplexGroupLabel") or clean(group, "WaveformOriginality") or "unnamed"
    kind: Literal["median", "rhythm"] = "median" if derived else "rhythm"
    return Part(kind, label[:32], values, rate_hz, unique_names(channels.names)[0])


def _samples(group: "Dataset", *, little_endian: bool) -> tuple[NDArray[np.integer], float]:
    """Return stored samples of shape (n_samples, n_channels) and their rate."""
    n_channels = whole_number(group, "NumberOfWaveformChannels") or 0
    n_samples = whole_number(group, "NumberOfWaveformSamples") or 0
    rate_hz = number(group, "SamplingFrequency")
    if n_channels < 1 or n_samples < 1:
        raise NoLeads("the waveform group states no channel or no sample")
    if rate_hz is None or rate_hz <= 0:
        raise RateMissing
    check_size(n_samples, n_channels, rate_hz)
    kind = _sample_type(group, little_endian=little_endian)
    stored = group.get("WaveformData")
    data = stored if isinstance(stored, bytes) else b""
    needed = n_samples * n_channels * kind.itemsize
    if len(data) < needed:
        raise Truncated(needed_bytes=needed, present_bytes=len(data))
    return np.frombuffer(data[:needed], dtype=kind).reshape(n_samples, n_channels), rate_hz


def _sample_type(group: "Dataset", *, little_endian: bool) -> np.dtype[np.integer]:
    bits = whole_number(group, "WaveformBitsAllocated")
    interpretation = clean(group, "WaveformSampleInterpretation").upper()
    expected, kind = _SAMPLE_TYPES.get(interpretation, (0, ""))
    if not kind or bits != expected:
        raise FormatFeature("the sample encoding is not read", feature=f"{interpretation[:4]} {bits}")
    return np.dtype(("<" if little_endian else ">") + kind)


def _channels(group: "Dataset", n_channels: int) -> _Channels:
    definitions = list(group.get("ChannelDefinitionSequence") or [])
    if len(definitions) != n_channels or n_channels > MAX_LEADS:
        raise Malformed("channel definitions and channels disagree", channels=n_channels)
    result = _Channels()
    for column, definition in enumerate(definitions):
        result.names.append(_lead_name(definition, column, result.warnings))
        unit_mv = _unit_mv(definition, column)
        sensitivity = number(definition, "ChannelSensitivity")
        correction = number(definition, "ChannelSensitivityCorrectionFactor")
        baseline = number(definition, "ChannelBaseline")
        if not sensitivity or correction == 0:
            raise UnitsMissing("a channel has no sensitivity", column=column)
        if correction is None or baseline is None:
            result.warnings.append("calibration_incomplete")
        lsb_mv = sensitivity * (1.0 if correction is None else correction) * unit_mv
        if not isfinite(lsb_mv):
            raise UnitsMissing("a channel has an impossible sensitivity", column=column)
        result.lsb_mv.append(lsb_mv)
        result.baseline_mv.append((baseline or 0.0) * unit_mv)
        if number(definition, "ChannelSampleSkew") or number(definition, "ChannelTimeSkew"):
            result.warnings.append("channel_skew")
    return result


def _unit_mv(definition: "Dataset", column: int) -> float:
    units = list(definition.get("ChannelSensitivityUnitsSequence") or [])
    if len(units) != 1:
        raise UnitsMissing("a channel states no units", column=column)
    unit_mv = _MV_PER_UNIT.get(clean(units[0], "CodeValue"))
    if unit_mv is None or clean(units[0], "CodingSchemeDesignator") != "UCUM":
        raise UnitsMissing("a channel states units that are not uV, mV or V by UCUM", column=column)
    return unit_mv


def _lead_name(definition: "Dataset", column: int, warnings: list[str]) -> str:
    """Name a channel by its code; by its text, with a warning, when the code is unknown."""
    sources = list(definition.get("ChannelSourceSequence") or [])
    source = sources[0] if sources else None
    meaning = clean(source, "CodeMeaning") if source is not None else ""
    label = clean(definition, "ChannelLabel")
    by_text = lead_from_text(meaning) or lead_from_text(label)
    by_code = _lead_by_code(source) if source is not None else None
    if by_code is not None:
        if by_text is not None and by_text != by_code:
            warnings.append("lead_label_differs")
        return by_code
    if by_text is None and not (meaning or label):
        warnings.append("lead_unnamed")
        return f"channel {column + 1}"
    warnings.append("lead_by_text")
    return by_text or (meaning or label)[:64]


def _lead_by_code(source: "Dataset") -> str | None:
    code = clean(source, "CodeValue")
    scheme = clean(source, "CodingSchemeDesignator").upper()
    found = _LEAD_CODE.match(code)
    if found and scheme in {"MDC", "SCPECG"}:
        return lead_from_code(int(found[1]))
    if scheme == "MDC" and code.upper().startswith("MDC_ECG_LEAD_"):
        return lead_from_text(code)
    return None


def _mask_padding(
    group: "Dataset", raw: NDArray[np.integer], values: NDArray[np.float64], *, little_endian: bool
) -> bool:
    """Set padded samples to NaN in `values`; return whether some could not be told from data."""
    stored = group.get("WaveformPaddingValue")
    kind = _sample_type(group, little_endian=little_endian)
    if not isinstance(stored, bytes) or len(stored) < kind.itemsize:
        return False
    padding = np.frombuffer(stored[: kind.itemsize], dtype=kind)[0]
    ambiguous = False
    for column in range(raw.shape[1]):
        padded = raw[:, column] == padding
        others = raw[~padded, column]
        if padded.any() and others.size and others.min() < padding < others.max():
            ambiguous = True
        else:
            values[padded, column] = np.nan
    return ambiguous


def _has_other_leads(others: "list[Dataset]", present: set[str]) -> bool:
    for other in others:
        if clean(other, "WaveformOriginality").upper() == "DERIVED":
            continue
        definitions = list(other.get("ChannelDefinitionSequence") or [])[:MAX_LEADS]
        if {_lead_name(d, n, []) for n, d in enumerate(definitions)} - present:
            return True
    return False


def _filters(group: "Dataset") -> Filters:
    """Return the filters of the first channel; DICOM states the high-pass as "low frequency"."""
    definition = group.ChannelDefinitionSequence[0]
    low, high, notch = (
        number(definition, k) or None
        for k in ("FilterLowFrequency", "FilterHighFrequency", "NotchFilterFrequency")
    )
    return Filters(high_pass_hz=low, low_pass_hz=high, notch_hz=notch)
