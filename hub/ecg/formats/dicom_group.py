"""One multiplex group of a DICOM waveform (PS3.3 C.10.9) as calibrated columns."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, Truncated, UnitsMissing
from hub.ecg.formats.dicom_text import clean, number, whole_number
from hub.ecg.formats.g711 import A_LAW, MU_LAW
from hub.ecg.leads import lead_from_code, lead_from_text, unique_names
from hub.ecg.limits import MAX_LEADS, check_size
from hub.ecg.waveform import Filters
from hub.errors import Malformed

if TYPE_CHECKING:
    from pydicom import Dataset

Samples = NDArray[np.float64]

_MV_PER_UNIT = {"uV": 1e-3, "mV": 1.0, "V": 1e3}
"""UCUM codes, case-sensitive: ``MV`` would be a megavolt."""

_SAMPLE_TYPES = {
    "SB": (8, "i1"),
    "UB": (8, "u1"),
    "MB": (8, "u1"),
    "AB": (8, "u1"),
    "SS": (16, "i2"),
    "US": (16, "u2"),
    "SL": (32, "i4"),
    "UL": (32, "u4"),
}
_EXPANSIONS: dict[str, NDArray[np.int16]] = {"MB": MU_LAW, "AB": A_LAW}
_LEAD_CODE = re.compile(r"^(?:2:|5\.6\.3-9-)(\d{1,3})$")
_UNSPECIFIED_LEAD = {"2:0", "5.6.3-9-0"}
_WHOLE = 1e-3
"""How far a skew may be from a whole number of samples: DS values are rounded decimals."""


@dataclass
class _Channels:
    """What the channel definitions of one group say, column by column."""

    names: list[str] = field(default_factory=list)
    lsb_mv: list[float] = field(default_factory=list)
    baseline_mv: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Group:
    """A decoded multiplex group.

    Attributes
    ----------
    samples_mv : numpy.ndarray
        Shape ``(n_samples, n_channels)``, NaN where padded or where a channel started later.
    rate_hz : float
        Sampling frequency.
    leads : tuple of str
        Unique names.
    lsb_mv : tuple of float
        By channel.
    label : str
        As the file names the group.
    derived : bool
        Computed from other samples (a median beat), not recorded.
    offset_ms : float or None
        Multiplex Group Time Offset, of the first row of `samples_mv`; None when the file states none.
    filters : Filters
        Of the first channel.
    warnings : tuple of str
        Codes.
    """

    samples_mv: Samples
    rate_hz: float
    leads: tuple[str, ...]
    lsb_mv: tuple[float | None, ...]
    label: str
    derived: bool
    offset_ms: float | None
    filters: Filters
    warnings: tuple[str, ...]


def decode_group(item: "Dataset", *, little_endian: bool) -> Group:
    """Decode one item of Waveform Sequence.

    Parameters
    ----------
    item : pydicom.Dataset
        The item.
    little_endian : bool
        Byte order of the transfer syntax; Waveform Data follow it (PS3.5 7.3).

    Raises
    ------
    UnitsMissing
        A channel has no sensitivity, or its units are not uV, mV or V by UCUM.
    FormatFeature
        64-bit samples, or an interpretation that the standard does not know.
    Truncated, NoLeads, RateMissing, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    ``mV = (sample * sensitivity * correction + baseline) * mV_per_unit`` (PS3.3 C.10.9.1.4.2):
    the baseline is in sensitivity units. Companded samples are expanded to the decoder
    output values of G.711 first (``companded``). Padding marks missing samples unless it lies
    inside the range of the channel's other samples, where it cannot be told from data
    (``padding_ambiguous``). Channels are shifted by their skew and offset (C.10.9.1.4.3) when
    these are whole numbers of samples in the whole group; else none is, which is said with
    ``channel_skew``: interpolated samples would be none that the device recorded.
    """
    raw, rate_hz = _samples(item, little_endian=little_endian)
    channels = _channels(item, raw.shape[1])
    warnings = channels.warnings
    linear = _expanded(item, raw, warnings)
    values = linear.astype(np.float64)
    values *= np.array(channels.lsb_mv)
    values += np.array(channels.baseline_mv)
    if _mask_padding(item, raw, values, little_endian=little_endian):
        warnings.append("padding_ambiguous")
    shifts = _shifts(item, rate_hz, len(values), warnings)
    values = _shifted(values, shifts - shifts.min(), rate_hz)
    offset_ms = number(item, "MultiplexGroupTimeOffset")
    if offset_ms is not None:
        offset_ms += float(shifts.min()) / rate_hz * 1000
    leads, renamed = unique_names(channels.names)
    if renamed:
        warnings.append("lead_repeated")
    label = clean(item, "MultiplexGroupLabel") or clean(item, "WaveformOriginality") or "unnamed"
    return Group(
        samples_mv=values,
        rate_hz=rate_hz,
        leads=leads,
        lsb_mv=tuple(channels.lsb_mv),
        label=label[:32],
        derived=is_derived(item),
        offset_ms=offset_ms,
        filters=_filters(item),
        warnings=tuple(warnings),
    )


def is_derived(item: "Dataset") -> bool:
    """Say whether a group was computed from others."""
    return clean(item, "WaveformOriginality").upper() == "DERIVED"


def channel_leads(item: "Dataset") -> list[str]:
    """Return the leads of a group by channel, whether or not its samples can be decoded."""
    definitions = list(item.get("ChannelDefinitionSequence") or [])[:MAX_LEADS]
    return [_lead_name(definition, column, []) for column, definition in enumerate(definitions)]


def _samples(item: "Dataset", *, little_endian: bool) -> tuple[NDArray[np.integer], float]:
    """Return stored samples of shape (n_samples, n_channels) and their rate."""
    n_channels = whole_number(item, "NumberOfWaveformChannels") or 0
    n_samples = whole_number(item, "NumberOfWaveformSamples") or 0
    rate_hz = number(item, "SamplingFrequency")
    if n_channels < 1 or n_samples < 1:
        raise NoLeads("the waveform group states no channel or no sample")
    if rate_hz is None or rate_hz <= 0:
        raise RateMissing
    check_size(n_samples, n_channels, rate_hz)
    kind = _sample_type(item, little_endian=little_endian)
    stored = item.get("WaveformData")
    data = stored if isinstance(stored, bytes) else b""
    needed = n_samples * n_channels * kind.itemsize
    if len(data) < needed:
        raise Truncated(needed_bytes=needed, present_bytes=len(data))
    if kind.itemsize == 1 and not little_endian and item["WaveformData"].VR == "OW":
        # Two samples share a word, whose bytes follow the transfer syntax.
        data = np.frombuffer(data[: needed + needed % 2], dtype=">u2").astype("<u2").tobytes()
    return np.frombuffer(data[:needed], dtype=kind).reshape(n_samples, n_channels), rate_hz


def _sample_type(item: "Dataset", *, little_endian: bool) -> np.dtype[np.integer]:
    bits = whole_number(item, "WaveformBitsAllocated")
    interpretation = clean(item, "WaveformSampleInterpretation").upper()
    expected, kind = _SAMPLE_TYPES.get(interpretation, (0, ""))
    if not kind or bits != expected:
        raise FormatFeature("the sample encoding is not read", feature=f"{interpretation[:4]} {bits}")
    return np.dtype(("<" if little_endian else ">") + kind)


def _expanded(item: "Dataset", raw: NDArray[np.integer], warnings: list[str]) -> NDArray[np.integer]:
    """Return linear samples: companded ones expanded, signs of short ones put right."""
    interpretation = clean(item, "WaveformSampleInterpretation").upper()
    if interpretation in _EXPANSIONS:
        warnings.append("companded")
        return np.take(_EXPANSIONS[interpretation], raw)
    if not interpretation.startswith("S"):
        return raw
    result = raw
    for column, definition in enumerate(list(item.ChannelDefinitionSequence)):
        extended = _sign_extended(raw[:, column], whole_number(definition, "WaveformBitsStored"), warnings)
        if extended is not None:
            result = result.astype(np.int64) if result is raw else result
            result[:, column] = extended
    return result


def _sign_extended(
    column: NDArray[np.integer], bits_stored: int | None, warnings: list[str]
) -> NDArray[np.int64] | None:
    """Return samples with their sign extended where the device has not done so; None where all is well.

    PS3.3 C.10.9.1.7 wants the sign extended. Samples that fit the stored bits only as unsigned
    numbers break that; they are negative numbers cut short, or positive ones miscalled. A signal
    is steady: the reading with the smaller steps is taken, and ``sign_not_extended`` says so.
    """
    if bits_stored is None or not 1 < bits_stored < column.dtype.itemsize * 8:
        return None
    half = 1 << (bits_stored - 1)
    if int(column.min()) < 0 or not half <= int(column.max()) < 2 * half:
        return None
    warnings.append("sign_not_extended")
    wide = column.astype(np.int64)
    extended = np.where(wide >= half, wide - 2 * half, wide)
    steadier = np.abs(np.diff(extended)).sum() < np.abs(np.diff(wide)).sum()
    return extended if steadier else None


def _channels(item: "Dataset", n_channels: int) -> _Channels:
    definitions = list(item.get("ChannelDefinitionSequence") or [])
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
    unspecified = source is not None and clean(source, "CodeValue") in _UNSPECIFIED_LEAD
    return by_text or ((label or meaning) if unspecified else (meaning or label))[:64]


def _lead_by_code(source: "Dataset") -> str | None:
    code = clean(source, "CodeValue")
    scheme = clean(source, "CodingSchemeDesignator").upper()
    found = _LEAD_CODE.match(code)
    if found and scheme in {"MDC", "SCPECG"}:
        return lead_from_code(int(found[1]))
    if scheme == "MDC" and code.upper().startswith("MDC_ECG_LEAD_"):
        return lead_from_text(code)
    return None


def _mask_padding(item: "Dataset", raw: NDArray[np.integer], values: Samples, *, little_endian: bool) -> bool:
    """Set padded samples to NaN in `values`; return whether some could not be told from data."""
    stored = item.get("WaveformPaddingValue")
    kind = _sample_type(item, little_endian=little_endian)
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


def _shifts(item: "Dataset", rate_hz: float, n_samples: int, warnings: list[str]) -> NDArray[np.int64]:
    """Return how many samples after the group each channel starts; zeros where that cannot be applied."""
    shifts = []
    for definition in item.ChannelDefinitionSequence:
        by_sample = number(definition, "ChannelSampleSkew")
        by_time = (number(definition, "ChannelTimeSkew") or 0.0) * rate_hz
        agreed = not by_sample or not by_time or abs(by_sample - by_time) < _WHOLE
        shift = (by_sample or by_time) + (number(definition, "ChannelOffset") or 0.0) * rate_hz
        if not agreed or abs(shift) >= n_samples or abs(shift - round(shift)) > _WHOLE:
            warnings.append("channel_skew")
            return np.zeros(len(item.ChannelDefinitionSequence), dtype=np.int64)
        shifts.append(round(shift))
    return np.array(shifts, dtype=np.int64)


def _shifted(values: Samples, shifts: NDArray[np.int64], rate_hz: float) -> Samples:
    """Move columns down by whole samples; the group grows so that nothing is lost."""
    if not shifts.any():
        return values
    n_samples, n_channels = values.shape
    check_size(n_samples + int(shifts.max()), n_channels, rate_hz)
    moved = np.full((n_samples + int(shifts.max()), n_channels), np.nan)
    for column, shift in enumerate(shifts):
        moved[shift : shift + n_samples, column] = values[:, column]
    return moved


def _filters(item: "Dataset") -> Filters:
    """Return the filters of the first channel; DICOM states the high-pass as "low frequency"."""
    definition = item.ChannelDefinitionSequence[0]
    low, high, notch = (
        number(definition, k) or None
        for k in ("FilterLowFrequency", "FilterHighFrequency", "NotchFilterFrequency")
    )
    return Filters(high_pass_hz=low, low_pass_hz=high, notch_hz=notch)
