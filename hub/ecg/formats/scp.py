"""SCP-ECG (EN 1064, ISO 11073-91064), versions 1.3, 2 and 3, as calibrated millivolts."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from hub.ecg.errors import ChecksumWrong, FormatFeature, NoLeads, RateMissing, Truncated
from hub.ecg.formats.scp_header import Texts, read_header
from hub.ecg.formats.scp_huffman import Code, read_tables
from hub.ecg.formats.scp_record import Record, looks_like_record, read_record
from hub.ecg.formats.scp_results import global_measurements, lead_measurements, statements
from hub.ecg.formats.scp_signal import (
    Beats,
    Block,
    Signal,
    decimation,
    long_term,
    read_beats,
    read_block,
    read_leads,
    reference_beat,
    rhythm,
    stored_count,
)
from hub.ecg.waveform import DeviceMeasurement, Part, Waveform
from hub.errors import Malformed, Rejected

_LONG_TERM_PROTOCOL = 26
"""Section 12 has its meaning from version 3 on; drafts of it state 2.6 and more."""

_ACQUIRED = "acquisition date and time (tags 25, 26)"
_US_PER_MS = 1000
_BIMODAL_AT = 5

T = TypeVar("T")
Tables = tuple[tuple[Code, ...], ...]


def matches(data: bytes) -> bool:
    """Say whether bytes begin like an SCP-ECG record."""
    return looks_like_record(data)


def read_scp(data: bytes, /, *, charset_override: str | None = None) -> Waveform:
    """Read one SCP-ECG record.

    Parameters
    ----------
    data : bytes
        The whole file.
    charset_override : str, optional
        The character set that this device is known to send, whatever it declares.

    Returns
    -------
    Waveform
        The rhythm of section 6 (or of section 12), with the reference beat as a median part.
        Warnings: ``checksum_wrong`` where the device's checksums are all wrong,
        ``scp_structure_mended`` where lengths or pointers contradict each other, ``scp_lossy``
        after bimodal compression, ``samples_missing`` where leads are longer than their length
        field can say, ``parts_unread`` where something besides the rhythm is damaged.

    Raises
    ------
    ChecksumWrong
        The bytes of the samples were changed since the device wrote them.
    UnitsMissing, RateMissing, NoLeads, Truncated, RecordingTooLarge, FormatFeature, Malformed
        As their names say.
    """
    record = read_record(data)
    if record.samples_damaged:
        raise ChecksumWrong(section=min(record.wrong_sums - {-1}))
    try:
        return _read(record, charset_override)
    except Malformed as error:
        if record.wrong_sums and not isinstance(error, Truncated):
            raise ChecksumWrong("the record is damaged", sections=len(record.wrong_sums)) from error
        raise


def _read(record: Record, charset_override: str | None) -> Waveform:
    warnings: list[str] = []
    header, texts = read_header(record.body(1) or b"", charset_override)
    if record.wrong_sums:
        warnings.append("checksum_wrong")
    if record.damaged:
        warnings.append("scp_structure_mended")
    if record.longer:
        warnings.append("data_beyond_length")
    signal, parts = _signals(record, warnings)
    return Waveform(
        samples_mv=signal.samples_mv,
        rate_hz=signal.rate_hz,
        leads=signal.leads,
        format="scp",
        started_at=header.started_at,
        started_at_source=_ACQUIRED if header.started_at else "",
        lsb_mv=signal.lsb_mv,
        filters=header.filters,
        patient=header.patient,
        device=header.device,
        device_measurements=_measurements(record, warnings),
        device_statements=_statements(record, texts, warnings),
        parts=parts,
        warnings=(*warnings, *header.warnings, *signal.warnings),
    )


def _signals(record: Record, warnings: list[str]) -> tuple[Signal, tuple[Part, ...]]:
    """Return the rhythm and the further waveforms."""
    later = record.body(12) if record.protocol >= _LONG_TERM_PROTOCOL else None
    body = record.body(6)
    if body is None:
        if later is not None:
            return long_term(later), ()
        if record.zero_based:
            raise FormatFeature(feature="samples packed by Heal Force")
        raise Truncated("the rhythm lies beyond the end") if record.damaged else NoLeads
    tables = read_tables(record.body(2) or b"") if record.body(2) is not None else None
    leads, subtracted = read_leads(record.body(3) or b"")
    beats = read_beats(record.body(4) or b"")
    fifth = record.body(5)
    reference = None
    if fifth is not None:
        reference = _reference(fifth, beats, tables, len(leads), None if subtracted else warnings)
    factor = _decimation(body, fifth, record.protocol, subtracted=subtracted)
    counts = [stored_count(lead, beats.protected, factor) if factor > 1 else lead.count for lead in leads]
    block = read_block(body, counts, tables, len(leads))
    signal = rhythm(block, leads, beats, reference, subtracted=subtracted, factor=factor)
    parts = []
    if reference is not None:
        beat = reference_beat(reference, signal.leads)
        parts.append(Part("median", "reference beat", beat.samples_mv, beat.rate_hz, beat.leads))
    found = None if later is None else _leniently(partial(long_term, later), warnings)
    if found is not None:
        parts.append(Part("rhythm", "long-term rhythm", found.samples_mv, found.rate_hz, found.leads))
    return signal, tuple(parts)


def _reference(
    body: bytes, beats: Beats, tables: Tables | None, n_leads: int, warnings: list[str] | None
) -> Block | None:
    """Read section 5; without `warnings`, where the rhythm depends on it, damage is an error."""

    def read() -> Block:
        interval_us = _interval_us(body)
        count = round(beats.length_ms * _US_PER_MS / interval_us) if interval_us else 0
        return read_block(body, count or None, tables, n_leads)

    return read() if warnings is None else _leniently(read, warnings)


def _decimation(body: bytes, fifth: bytes | None, protocol: int, *, subtracted: bool) -> int:
    """Return the factor of section 6. The mark of bimodal compression has a meaning up to version 2 only."""
    bimodal = len(body) > _BIMODAL_AT and body[_BIMODAL_AT] != 0 and protocol < _LONG_TERM_PROTOCOL
    beat_us = _interval_us(fifth) if fifth is not None else 0
    interval_us = _interval_us(body)
    if interval_us == 0:
        raise RateMissing
    return decimation(interval_us, beat_us or None, bimodal=bimodal, subtracted=subtracted)


def _interval_us(body: bytes) -> int:
    return int.from_bytes(body[2:4], "little")


def _measurements(record: Record, warnings: list[str]) -> tuple[DeviceMeasurement, ...]:
    """Return what sections 7 and 10 hold."""
    found: list[DeviceMeasurement] = []
    for number, read in ((7, global_measurements), (10, lead_measurements)):
        body = record.body(number)
        if body is not None:
            found += _leniently(partial(_listed, read, body), warnings) or []
    return tuple(found)


def _listed(read: Callable[[bytes], Iterator[DeviceMeasurement]], body: bytes) -> list[DeviceMeasurement]:
    return list(read(body))


def _statements(record: Record, texts: Texts, warnings: list[str]) -> tuple[str, ...]:
    """Return the texts of section 8, then the codes of section 11."""
    found: list[str] = []
    for number in (8, 11):
        body = record.body(number)
        if body is not None:
            coded = number == 11  # noqa: PLR2004 - universal statement codes
            found += _leniently(partial(statements, body, texts, coded=coded), warnings) or []
    return tuple(dict.fromkeys(found))


def _leniently(read: Callable[[], T], warnings: list[str]) -> T | None:
    """Read what the rhythm does not depend on; where that fails, say so and go on."""
    try:
        return read()
    except Rejected:
        warnings.append("parts_unread")
        return None
