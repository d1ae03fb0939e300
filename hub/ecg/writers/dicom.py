"""Recordings written as DICOM ECG objects: 12-Lead, General, Ambulatory, General 32-bit (PS3.3 A.34)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.waveform import Filters, PatientText, Waveform
from hub.ecg.writers.dicom_codes import lead_source, unit
from hub.ecg.writers.dicom_notes import annotations
from hub.ecg.writers.dicom_patient import add_patient
from hub.ecg.writers.dicom_samples import Column, decimal_string, to_columns

if TYPE_CHECKING:
    from pydicom import Dataset

UNKNOWN_START = datetime(1900, 1, 1)  # noqa: DTZ001 - no moment at all
"""Acquisition DateTime must have a value (PS3.3 C.10.8). This one means that it is not known, as in
devices without a clock; the reader takes it so."""

_TWELVE_LEAD_CHANNELS, _TWELVE_LEAD_SAMPLES = 13, 16_384
_GENERAL_CHANNELS, _GENERAL_GROUPS = 24, 4
_AMBULATORY_CHANNELS = 12
_DIAGNOSTIC_HZ, _AMBULATORY_HZ, _FASTEST_HZ = 200.0, 50.0, 1000.0
_LONG_S = 600.0
"""Longer recordings are no resting ECG."""

_PADDING = {16: -(2**15), 32: -(2**31)}
_MAX_LABEL, _MAX_MODEL = 16, 64


@dataclass(frozen=True, eq=False)
class _Group:
    """What becomes one multiplex group."""

    label: str
    derived: bool
    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]
    lsb_mv: tuple[float | None, ...]


def write_dicom(
    waveform: Waveform,
    *,
    patient: Mapping[str, str] | None = None,
    measurement: Measurement | None = None,
    study_uid: str | None = None,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    accession: str = "",
    exact: bool = True,
) -> bytes:
    """Write a recording as a DICOM Part 10 file.

    Parameters
    ----------
    waveform : Waveform
        The rhythm is the first group; further parts (a median beat) follow it.
    patient : mapping of str to str, optional
        Fields of `PatientText` that replace what the recording says.
    measurement : Measurement, optional
        Written as annotations with CID 3227, 3228, 3229, 3335, 3687 and 3688 codes and UCUM units, in
        place of the device's numbers.
    study_uid, series_uid, sop_uid : str, optional
        By default made from the content: the same recording has the same identifiers.
    accession : str
        Accession Number.
    exact : bool
        With False, samples that are no whole steps are rounded to the larger of 1 uV and what
        the bits can hold, and parts that the object cannot hold are left out.

    Returns
    -------
    bytes
        Explicit VR little endian, text in UTF-8. A 12-Lead ECG where its limits hold (13 channels over
        all groups, 16,384 samples, 200 to 1000 Hz, 16 bits: A.34.3), else a General ECG (4 groups of
        24 channels: A.34.4); an Ambulatory ECG below 200 Hz or beyond 10 minutes (one group of
        12 channels from 50 Hz: A.34.5); a General 32-bit ECG for samples that need more bits,
        or more than 1000 Hz.

    Raises
    ------
    CannotHold
        Fact ``reason``: ``step``, ``range``, ``rate``, ``leads``, ``parts``, ``text`` or ``number``.
    """
    given = replace(waveform, patient=_merged(waveform.patient, patient))
    groups = _groups(given)
    bits, columns = _stored(groups, exact=exact)
    sop_class = _object_for(groups, bits)
    while sop_class is None and not exact and len(groups) > 1:
        groups, columns = groups[:-1], columns[:-1]
        sop_class = _object_for(groups, bits)
    if sop_class is None:
        raise CannotHold(reason=_why_not(groups))
    ds = _header(given, sop_class, accession)
    ds.StudyInstanceUID = study_uid or _uid_of(given, "study")
    ds.SeriesInstanceUID = series_uid or _uid_of(given, "series")
    ds.SOPInstanceUID = sop_uid or _uid_of(given, "object", measurement)
    add_patient(ds, given.patient)
    ds.WaveformSequence = [
        _multiplex(group, stored, given.filters, bits) for group, stored in zip(groups, columns, strict=True)
    ]
    notes = annotations(given, measurement)
    if notes:
        ds.WaveformAnnotationSequence = notes
    return _file(ds)


def _merged(text: PatientText, patient: Mapping[str, str] | None) -> PatientText:
    fields: dict[str, Any] = dict(patient or {})
    return replace(text, **fields)


def _groups(waveform: Waveform) -> list[_Group]:
    rhythm = _Group("RHYTHM", False, waveform.samples_mv, waveform.rate_hz, waveform.leads, waveform.lsb_mv)
    steps = dict(zip(waveform.leads, waveform.lsb_mv, strict=True))
    parts = [
        _Group(
            part.label[:_MAX_LABEL] or "PART",
            part.kind == "median",
            part.samples_mv,
            part.rate_hz,
            part.leads,
            tuple(steps.get(lead) for lead in part.leads),
        )
        for part in waveform.parts
    ]
    return [rhythm, *parts]


def _stored(groups: list[_Group], *, exact: bool) -> tuple[int, list[list[Column]]]:
    """Return the samples of all groups in 16 bits, or in 32 where one of them needs it."""
    for bits in (16, 32):
        try:
            return bits, [_columns(group, bits, exact=exact) for group in groups]
        except CannotHold as error:
            if bits == 32 or error.facts.get("reason") != "range":  # noqa: PLR2004 - no more to try
                raise
    raise CannotHold(reason="range")


def _columns(group: _Group, bits: int, *, exact: bool) -> list[Column]:
    """Store a group; the median beat of a device may have finer steps than its rhythm."""
    try:
        return to_columns(group.samples_mv, group.lsb_mv, bits=bits, exact=True)
    except CannotHold:
        if not group.derived and exact:
            raise
        nothing_known = (None,) * len(group.leads)
        return to_columns(group.samples_mv, nothing_known, bits=bits, exact=exact)


def _object_for(groups: list[_Group], bits: int) -> str | None:
    """Return the SOP class whose limits the groups keep, or None."""
    from pydicom import uid

    channels = [len(group.leads) for group in groups]
    rates = [group.rate_hz for group in groups]
    rhythm = groups[0]
    general = len(groups) <= _GENERAL_GROUPS and max(channels) <= _GENERAL_CHANNELS
    diagnostic = min(rates) >= _DIAGNOSTIC_HZ and max(rates) <= _FASTEST_HZ
    long = len(rhythm.samples_mv) / rhythm.rate_hz > _LONG_S
    samples = max(len(group.samples_mv) for group in groups)
    if bits == 16:  # noqa: PLR2004 - what the first three hold
        alone = len(groups) == 1 and channels[0] <= _AMBULATORY_CHANNELS
        if alone and _AMBULATORY_HZ <= rhythm.rate_hz <= _FASTEST_HZ and (long or not diagnostic):
            return str(uid.AmbulatoryECGWaveformStorage)
        if diagnostic and sum(channels) <= _TWELVE_LEAD_CHANNELS and samples <= _TWELVE_LEAD_SAMPLES:
            return str(uid.TwelveLeadECGWaveformStorage)
        if diagnostic and general:
            return str(uid.GeneralECGWaveformStorage)
    return str(uid.General32bitECGWaveformStorage) if general and min(rates) >= _DIAGNOSTIC_HZ else None


def _why_not(groups: list[_Group]) -> str:
    if len(groups[0].leads) > _GENERAL_CHANNELS:
        return "leads"
    return "rate" if groups[0].rate_hz < _DIAGNOSTIC_HZ else "parts"


def _header(waveform: Waveform, sop_class: str, accession: str) -> "Dataset":
    from pydicom import Dataset

    started = waveform.started_at or UNKNOWN_START
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.StudyDate = ds.ContentDate = f"{started:%Y%m%d}".zfill(8)
    ds.StudyTime = ds.ContentTime = f"{started:%H%M%S.%f}"
    ds.AcquisitionDateTime = f"{started:%Y%m%d%H%M%S.%f}".zfill(21) + f"{started:%z}"[:5]
    if started.tzinfo is not None:
        ds.TimezoneOffsetFromUTC = f"{started:%z}"[:5]
    ds.AccessionNumber = accession
    ds.Modality = "ECG"
    ds.Manufacturer = ""
    ds.ManufacturerModelName = waveform.device[:_MAX_MODEL].replace("\\", "/")
    ds.ReferringPhysicianName = ""
    ds.StudyID = ""
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.AcquisitionContextSequence = []
    return ds


def _multiplex(group: _Group, columns: list[Column], filters: Filters, bits: int) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.WaveformOriginality = "DERIVED" if group.derived else "ORIGINAL"
    item.NumberOfWaveformChannels = len(columns)
    item.NumberOfWaveformSamples = len(group.samples_mv)
    item.SamplingFrequency = decimal_string(group.rate_hz)
    item.MultiplexGroupLabel = group.label
    item.ChannelDefinitionSequence = [
        _channel(lead, column, filters, bits) for lead, column in zip(group.leads, columns, strict=True)
    ]
    item.WaveformBitsAllocated = bits
    item.WaveformSampleInterpretation = "SS" if bits == 16 else "SL"  # noqa: PLR2004
    padded = any(column.missing.any() for column in columns)
    raw = np.column_stack([np.where(column.missing, _PADDING[bits], column.raw) for column in columns])
    if padded:
        item.add_new("WaveformPaddingValue", "OW", _PADDING[bits].to_bytes(bits // 8, "little", signed=True))
    item.add_new("WaveformData", "OW", raw.astype(f"<i{bits // 8}").tobytes())
    return item


def _channel(lead: str, column: Column, filters: Filters, bits: int) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.ChannelLabel = lead[:_MAX_LABEL].replace("\\", "/")
    item.ChannelSourceSequence = lead_source(lead)
    item.ChannelSensitivity = column.sensitivity_uv
    item.ChannelSensitivityUnitsSequence = unit("uV")
    item.ChannelSensitivityCorrectionFactor = "1"
    item.ChannelBaseline = column.baseline_uv
    item.ChannelSampleSkew = "0"
    item.WaveformBitsStored = bits
    for keyword, value in (
        ("FilterLowFrequency", filters.high_pass_hz),
        ("FilterHighFrequency", filters.low_pass_hz),
        ("NotchFilterFrequency", filters.notch_hz),
    ):
        if value is not None:
            setattr(item, keyword, decimal_string(value))
    return item


def _uid_of(waveform: Waveform, role: str, measurement: Measurement | None = None) -> str:
    """Return the identifier that a recording has by its content (PS3.5 B.2, a 128-bit number)."""
    facts = (
        role,
        waveform.leads,
        waveform.rate_hz,
        waveform.started_at,
        waveform.patient,
        waveform.device,
        waveform.filters,
        [str(part) for part in waveform.parts],
        waveform.device_statements,
        waveform.device_measurements,
        None if measurement is None else (dict(measurement.values), measurement.beats),
    )
    digest = hashlib.sha256(repr(facts).encode())
    for samples in (waveform.samples_mv, *(part.samples_mv for part in waveform.parts)):
        digest.update(np.ascontiguousarray(samples).tobytes())
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def _file(ds: "Dataset") -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()
