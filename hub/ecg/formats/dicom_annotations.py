"""What a device wrote on its ECG: Waveform Annotation Sequence (PS3.3 C.10.10)."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from hub.ecg.formats.dicom_text import TextReader, clean
from hub.ecg.waveform import DeviceMeasurement

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_ITEMS = 20_000
_MAX_STATEMENTS = 500
_MAX_MEASUREMENTS = 2_000

MDC = {
    "2:16016": "hr_bpm",
    "2:16168": "rr_mean_ms",
    "2:16000": "rr_mean_ms",
    "2:16184": "p_ms",
    "2:6656": "p_ms",
    "2:15872": "pr_ms",
    "2:16156": "qrs_ms",
    "2:7936": "qrs_ms",
    "2:16160": "qt_ms",
    "2:8192": "qt_ms",
    "2:15876": "qtc_ms",
    "2:33792": "qtc_ms",
    "2:15880": "qtc_bazett_ms",
    "2:34048": "qtc_bazett_ms",
    "2:15892": "qtc_fridericia_ms",
    "2:34304": "qtc_fridericia_ms",
    "2:16128": "p_axis_deg",
    "2:16132": "qrs_axis_deg",
    "2:16136": "t_axis_deg",
    "2:1792": "q_mv",
    "2:2048": "r_mv",
    "2:2304": "s_mv",
    "2:1024": "st_j_uv",
    "2:14848": "st_j20_uv",
    "2:14336": "st_j60_uv",
    "2:14592": "st_j80_uv",
}
"""ISO/IEEE 11073-10102 codes as in PS3.16 CID 3227, 3228, 3229, 3687, 3688 and 3689."""

_SCPECG = {
    "5.10.2.1-3": "rr_mean_ms",
    "5.13.5-7": "pr_ms",
    "5.13.5-9": "qrs_ms",
    "5.13.5-11": "qt_ms",
    "5.10.2.5-5": "qtc_ms",
    "5.10.3-11": "p_axis_deg",
    "5.10.3-13": "qrs_axis_deg",
    "5.10.3-15": "t_axis_deg",
}
"""What devices wrote before those codes: sections of the SCP-ECG standard."""

_NO_UNIT = "1"
"""UCUM's way to say so."""

_NAMES = {"MDC": MDC, "SCPECG": _SCPECG}
_UNITS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "ms": ("ms", {"ms": 1.0, "s": 1e3, "us": 1e-3}),
    "bpm": ("bpm", {"/min": 1.0, "{H.B.}/min": 1.0, "{beats}/min": 1.0, "{h.b.}/min": 1.0, "bpm": 1.0}),
    "deg": ("deg", {"deg": 1.0}),
    "mv": ("mV", {"mV": 1.0, "uV": 1e-3}),
    "uv": ("uV", {"uV": 1.0, "mV": 1e3}),
}
"""By the end of a name: its unit, and what one of each stated unit is in it."""


def measurements(ds: "Dataset", reader: TextReader, leads: list[list[str]]) -> tuple[DeviceMeasurement, ...]:
    """Return the numbers that the device states.

    Parameters
    ----------
    ds : pydicom.Dataset
        The object.
    reader : TextReader
        Decodes the labels.
    leads : list of list of str
        Lead names by group and channel, as Referenced Waveform Channels counts them from 1.

    Returns
    -------
    tuple of DeviceMeasurement
        A number whose stated unit cannot be that of its name keeps the file's own label and
        unit: it is shown as the device wrote it, and taken for nothing else.
    """
    found: list[DeviceMeasurement] = []
    for item in _items(ds):
        concepts = list(item.get("ConceptNameCodeSequence") or [])
        stated = clean(item, "NumericValue") if concepts else ""
        if not stated or len(found) >= _MAX_MEASUREMENTS:
            continue
        units = list(item.get("MeasurementUnitsCodeSequence") or [])
        unit = clean(units[0], "CodeValue")[:32] if units else ""
        label = reader.read(concepts[0], "CodeMeaning")[:64] or clean(concepts[0], "CodeValue")[:64]
        name = _name(concepts[0])
        target, factors = _UNITS.get(name.rpartition("_")[2], ("", {}))
        lead = _lead(item, leads)
        for value in _numbers(stated):
            if unit in factors:
                found.append(DeviceMeasurement(name, value * factors[unit], target, lead))
            else:
                found.append(DeviceMeasurement(label, value, "" if unit == _NO_UNIT else unit, lead))
    return tuple(found)


def statements(ds: "Dataset", reader: TextReader) -> tuple[str, ...]:
    """Return the device's words: free text, and coded findings that mark no point in time."""
    found: dict[str, None] = {}
    for item in _items(ds):
        text = reader.read(item, "UnformattedTextValue") or _coded(item, reader)
        if text:
            found[text] = None
        if len(found) >= _MAX_STATEMENTS:
            break
    return tuple(found)


def _items(ds: "Dataset") -> "Iterator[Dataset]":
    yield from list(ds.get("WaveformAnnotationSequence") or [])[:_MAX_ITEMS]


def _coded(item: "Dataset", reader: TextReader) -> str:
    concepts = list(item.get("ConceptNameCodeSequence") or [])
    if not concepts or clean(item, "NumericValue") or clean(item, "TemporalRangeType"):
        return ""
    values = list(item.get("ConceptCodeSequence") or [])
    words = [reader.read(each, "CodeMeaning") for each in (concepts[0], *values[:1])]
    return ": ".join(word for word in words if word)


def _name(concept: "Dataset") -> str:
    scheme = clean(concept, "CodingSchemeDesignator").upper()
    return _NAMES.get(scheme, {}).get(clean(concept, "CodeValue"), "")


def _numbers(stated: str) -> list[float]:
    try:
        values = [float(each) for each in stated.split("\\")]
    except ValueError:
        return []
    return [value for value in values if isfinite(value)]


def _lead(item: "Dataset", leads: list[list[str]]) -> str:
    """Return the lead when an annotation is about one channel; channel 0 means the whole group."""
    channels = item.get("ReferencedWaveformChannels")
    pair = list(channels) if isinstance(channels, list) or hasattr(channels, "__iter__") else []
    if len(pair) != 2 or not all(isinstance(each, int) and each > 0 for each in pair):  # noqa: PLR2004 - M, C
        return ""
    group, channel = pair
    known = leads[group - 1] if group <= len(leads) else []
    return known[channel - 1] if channel <= len(known) else ""
