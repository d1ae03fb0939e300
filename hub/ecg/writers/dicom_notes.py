"""Annotations of a DICOM ECG: what was measured, where the waves lie, what the device says (C.10.10)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hub.ecg.analysis.model import Beat, Measurement
from hub.ecg.waveform import Waveform
from hub.ecg.writers.dicom_codes import (
    LEAD_MEASUREMENTS,
    MEASUREMENTS,
    OWN_SCHEME,
    P_WAVE,
    QRS,
    QRS_TO_T,
    coded,
    unit,
)
from hub.ecg.writers.dicom_samples import decimal_string

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_STATEMENT = 1024
_MAX_LABEL = 64
_MAX_CODE = 16
_MAX_UNIT = 16
_TEXTS, _NUMBERS, _FIRST_BEAT = 0, 1, 100
"""Annotation Group Numbers: words, numbers, and one for each beat."""

_WHOLE_GROUP = 0


def annotations(waveform: Waveform, measurement: Measurement | None) -> "list[Dataset]":
    """Return the items of Waveform Annotation Sequence for the first multiplex group.

    Parameters
    ----------
    waveform : Waveform
        Its device's words are always written; its device's numbers without `measurement` only,
        so that nobody takes one for the other.
    measurement : Measurement, optional
        Numbers and extents of waves to write.
    """
    items = [_statement(text) for text in waveform.device_statements if text.strip()]
    if measurement is None:
        items += _device_numbers(waveform)
    else:
        items += _measured(measurement, waveform.leads)
        for place, beat in enumerate(measurement.beats):
            items += _waves(beat, waveform.n_samples, _FIRST_BEAT + place)
    return items


def _statement(text: str) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.UnformattedTextValue = text[:_MAX_STATEMENT]
    item.ReferencedWaveformChannels = [1, _WHOLE_GROUP]
    item.AnnotationGroupNumber = _TEXTS
    return item


def _number(name: tuple[str, str, str], value: float, unit_name: str, channel: int) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.ConceptNameCodeSequence = coded(*name)
    item.NumericValue = decimal_string(value)
    item.MeasurementUnitsCodeSequence = unit(unit_name[:_MAX_UNIT])
    item.ReferencedWaveformChannels = [1, channel]
    item.AnnotationGroupNumber = _NUMBERS
    return item


def _device_numbers(waveform: Waveform) -> "Iterator[Dataset]":
    for each in waveform.device_measurements:
        known = each.lead in waveform.leads
        table = LEAD_MEASUREMENTS if known else {} if each.lead else MEASUREMENTS
        code, meaning = table.get(each.name, ("", ""))
        # A number of a lead that is not written must not pass for one of the whole ECG.
        label = f"{each.name} {each.lead}" if each.lead and not known else each.name
        own = "".join(c for c in label if c.isascii() and c.isalnum())[:_MAX_CODE] or "LABEL"
        name = (code, "MDC", meaning) if code else (own, OWN_SCHEME, label[:_MAX_LABEL])
        channel = waveform.leads.index(each.lead) + 1 if known else _WHOLE_GROUP
        yield _number(name, each.value, each.unit, channel)


def _measured(measurement: Measurement, leads: Sequence[str]) -> "Iterator[Dataset]":
    for name, (code, meaning) in MEASUREMENTS.items():
        value = measurement.values.get(name)
        if value is not None and value.value is not None:
            yield _number((code, "MDC", meaning), value.value, value.unit, _WHOLE_GROUP)
    for channel, lead in enumerate(leads, start=1):
        for name, (code, meaning) in LEAD_MEASUREMENTS.items():
            value = measurement.by_lead.get(lead, {}).get(name)
            if value is not None and value.value is not None:
                yield _number((code, "MDC", meaning), value.value, value.unit, channel)


def _waves(beat: Beat, n_samples: int, group: int) -> "Iterator[Dataset]":
    """Mark the extents over all leads; sample positions count from 1 (C.10.10.1.3)."""
    from pydicom import Dataset

    over_all = beat.over_all
    for code, begin, end in (
        (P_WAVE, over_all.p_on, over_all.p_off),
        (QRS, over_all.qrs_on, over_all.qrs_off),
        (QRS_TO_T, over_all.qrs_on, over_all.t_off),
    ):
        if begin is None or end is None or not 0 <= begin <= end < n_samples:
            continue
        item = Dataset()
        item.ConceptNameCodeSequence = coded(code[0], "MDC", code[1])
        item.ReferencedWaveformChannels = [1, _WHOLE_GROUP]
        item.TemporalRangeType = "SEGMENT"
        item.ReferencedSamplePositions = [begin + 1, end + 1]
        item.AnnotationGroupNumber = group
        yield item
