"""Samples of SCP-ECG: leads, reference beat, rhythm, and the long-term rhythm of version 3.

Source: EN 1064 sections 5.6 to 5.9; how bimodal compression is undone, and section 12 of
version 3, as public readers do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.scp_huffman import Code, decode
from hub.ecg.leads import lead_from_code, unique_names
from hub.ecg.limits import check_size
from hub.errors import Malformed

Numbers = NDArray[np.int64]

MV_PER_NV = 1e-6
_US_PER_S = 1_000_000
_LEAD_BYTES, _QRS_BYTES, _ZONE_BYTES = 9, 14, 8
_REFERENCE_SUBTRACTED = 0x01
_LONGEST_FIELD = 0xFFFE
"""Lead lengths are stored in 16 bits; a longer lead of whole samples ends here in the field."""

_MOST_BEATS = 4096
_MOST_WORK = 8_000_000
"""Huffman-coded bits times tables: 15 leads that fill their 64 KB pass. A bit may be a sample."""

_LONG_TERM_HEAD = 70
_LONG_TERM_LEAD = 4


@dataclass(frozen=True, slots=True)
class Lead:
    """One lead of section 3: first and last sample, both counted, and its code."""

    first: int
    last: int
    code: int

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Beat:
    """One QRS of section 4: its type, and where the reference beat was subtracted around its fiducial."""

    kind: int
    first: int
    fiducial: int
    last: int


@dataclass(frozen=True, slots=True)
class Beats:
    """Section 4.

    Attributes
    ----------
    length_ms : int
        Of the reference beat; 0 when unknown.
    fiducial : int
        Sample of the reference beat, from 1.
    beats : tuple of Beat
        All QRS complexes.
    protected : tuple of (int, int)
        First and last sample of the stretches that are stored at the full rate.
    """

    length_ms: int = 0
    fiducial: int = 0
    beats: tuple[Beat, ...] = ()
    protected: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """The samples of section 5 or 6 as stored, before anything is put together.

    Attributes
    ----------
    step_nv : int
        Nanovolts per unit.
    interval_us : int
        Microseconds per stored sample.
    bimodal : bool
        Whether the marked stretches only are stored at the full rate.
    leads : tuple of numpy.ndarray
        One array per lead.
    cut : bool
        Whether leads ended early because their length does not fit its field.
    """

    step_nv: int
    interval_us: int
    bimodal: bool
    leads: tuple[Numbers, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """Leads put together: float64 millivolts of shape ``(n_samples, n_leads)`` and what they mean."""

    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]
    lsb_mv: tuple[float | None, ...]
    warnings: tuple[str, ...] = ()


def read_leads(body: bytes) -> tuple[tuple[Lead, ...], bool]:
    """Read section 3; say also whether the reference beat was subtracted."""
    count = body[0] if body else 0
    if count == 0:
        raise NoLeads
    check_size(1, count, 1.0)
    if len(body) < 2 + count * _LEAD_BYTES:
        raise Truncated(leads=(len(body) - 2) // _LEAD_BYTES, declared=count)
    leads = []
    for at in range(2, 2 + count * _LEAD_BYTES, _LEAD_BYTES):
        first, last = _u32(body, at), _u32(body, at + 4)
        if last < first:
            raise Malformed("a lead ends before it begins")
        leads.append(Lead(first, last, body[at + 8]))
    return tuple(leads), bool(body[1] & _REFERENCE_SUBTRACTED)


def read_beats(body: bytes) -> Beats:
    """Read section 4; zones that are not all there are left out."""
    if len(body) < 6:  # noqa: PLR2004 - length, fiducial, count
        return Beats()
    length_ms, fiducial, count = (_u16(body, at) for at in (0, 2, 4))
    zones = 6 + count * _QRS_BYTES
    if len(body) < zones or count > _MOST_BEATS:
        return Beats(length_ms, fiducial)
    beats = tuple(
        Beat(_u16(body, at), _u32(body, at + 2), _u32(body, at + 6), _u32(body, at + 10))
        for at in range(6, zones, _QRS_BYTES)
    )
    end = zones + count * _ZONE_BYTES
    starts = range(zones, end, _ZONE_BYTES) if len(body) >= end else ()
    return Beats(length_ms, fiducial, beats, tuple((_u32(body, at), _u32(body, at + 4)) for at in starts))


def read_block(
    body: bytes, counts: Sequence[int] | int | None, tables: Sequence[Sequence[Code]] | None, n_leads: int
) -> Block:
    """Read section 5 or 6.

    Parameters
    ----------
    body : bytes
        The section without its header.
    counts : sequence of int, int or None
        Samples that each lead holds; None takes what is there, which needs samples without Huffman code.
    tables : sequence or None
        Huffman tables of section 2; None for plain 16-bit samples.
    n_leads : int
        As section 3 says.

    Raises
    ------
    UnitsMissing
        The amplitude multiplier is 0.
    RateMissing
        The sample interval is 0.
    Truncated
        A lead holds fewer samples.
    """
    head = 6 + 2 * n_leads
    if len(body) < head:
        raise Truncated("the lead lengths are cut off", bytes=len(body), declared=head)
    step_nv, interval_us, difference, flag = _u16(body, 0), _u16(body, 2), body[4], body[5]
    if step_nv == 0:
        raise UnitsMissing("the amplitude multiplier is 0")
    if interval_us == 0:
        raise RateMissing
    if difference > 2:  # noqa: PLR2004 - amplitudes, first and second differences
        raise FormatFeature(feature="difference encoding", declared=difference)
    work = 8 * (len(body) - head) * len(tables or ())
    if work > _MOST_WORK:
        raise RecordingTooLarge(limit="values", declared=work)
    leads, at, cut = [], head, False
    for n in range(n_leads):
        size = _u16(body, 6 + 2 * n)
        chunk = body[at : at + size]
        at += size
        count = counts if counts is None or isinstance(counts, int) else counts[n]
        values, short = _values(chunk, count, tables)
        cut = cut or (short and size >= _LONGEST_FIELD)
        if short and size < _LONGEST_FIELD:
            raise Truncated(samples=len(values), declared=count or 0)
        leads.append(_summed(values, difference))
    return Block(step_nv, interval_us, bool(flag), tuple(leads), cut)


def _values(chunk: bytes, count: int | None, tables: Sequence[Sequence[Code]] | None) -> tuple[Numbers, bool]:
    """Return the stored numbers of one lead, and whether there are fewer than wanted."""
    if tables is not None:
        if count is None:
            raise FormatFeature(feature="Huffman-coded reference beat of unknown length")
        return decode(chunk, count, tables), False
    there = len(chunk) // 2
    wanted = there if count is None else count
    values = np.frombuffer(chunk, dtype="<i2", count=min(there, wanted)).astype(np.int64)
    return values, there < wanted


def _summed(values: Numbers, difference: int) -> Numbers:
    """Undo first or second differences in 16-bit arithmetic, which wraps around in devices as well."""
    if difference == 0 or len(values) < difference:
        return values
    if difference == 2:  # noqa: PLR2004 - x[n] = d[n] + 2 x[n-1] - x[n-2], the first two as they are
        values = np.concatenate([values[:1], values[1:2] - values[:1], values[2:]])
        values[1:] = np.cumsum(values[1:])
    return np.cumsum(values).astype(np.int16).astype(np.int64)


def reference_beat(block: Block, names: tuple[str, ...]) -> Signal:
    """Put the leads of section 5 together as a beat of its own."""
    size = max(len(lead) for lead in block.leads)
    samples = np.full((size, len(names)), np.nan)
    for column, lead in enumerate(block.leads):
        samples[: len(lead), column] = lead * (block.step_nv * MV_PER_NV)
    return Signal(samples, _US_PER_S / block.interval_us, names, (block.step_nv * MV_PER_NV,) * len(names))


def lead_names(codes: Sequence[int]) -> tuple[tuple[str, ...], list[str]]:
    """Name leads by their codes; return the warnings that this gives as well."""
    warnings = []
    names = []
    for column, code in enumerate(codes):
        known = lead_from_code(code)
        if known is None:
            warnings.append("lead_unnamed")
        names.append(known or (f"lead {code}" if code else f"channel {column + 1}"))
    unique, repeated = unique_names(names)
    return unique, [*warnings, *(["lead_repeated"] if repeated else [])]


def decimation(block_us: int, reference_us: int | None, *, bimodal: bool, subtracted: bool) -> int:
    """Return how many samples of the reference beat one sample of the rhythm stands for.

    Raises
    ------
    FormatFeature
        It cannot be told, or it is no whole number.
    """
    if reference_us is None or reference_us == block_us:
        if bimodal and reference_us is None:
            raise FormatFeature(feature="bimodal compression without a reference beat")
        return 1
    if not bimodal:
        if subtracted:
            raise FormatFeature(feature="reference beat and rhythm at different rates")
        return 1
    if block_us % reference_us or not 1 < block_us // reference_us <= 4:  # noqa: PLR2004 - EN 1064, at most 4
        raise FormatFeature(feature="bimodal decimation", rhythm_us=block_us, beat_us=reference_us)
    return block_us // reference_us


def stored_count(lead: Lead, protected: Sequence[tuple[int, int]], factor: int) -> int:
    """Return how many samples of a lead are stored under bimodal compression."""
    return sum(size if kept else size // factor + size % factor for size, kept in _stretches(lead, protected))


def _stretches(lead: Lead, protected: Sequence[tuple[int, int]]) -> list[tuple[int, bool]]:
    """Divide a lead into lengths, each with whether it is stored at the full rate."""
    found: list[tuple[int, bool]] = []
    at = lead.first
    for first, last in protected:
        begin, end = max(first, at), min(last, lead.last)
        if end < begin:
            continue
        found += [(begin - at, False), (end - begin + 1, True)]
        at = end + 1
    return [*found, (lead.last - at + 1, False)]


def expand(
    stored: Numbers, lead: Lead, protected: Sequence[tuple[int, int]], factor: int
) -> NDArray[np.float64]:
    """Undo bimodal decimation.

    A stored value outside the protected stretches stands for `factor` samples and lies in
    their middle; between neighbours the line is straight, before the first and behind the
    last it is level. What is left over of a stretch is stored as it is.
    """
    parts: list[NDArray[np.float64]] = []
    at = 0
    for size, kept in _stretches(lead, protected):
        means = 0 if kept else size // factor
        if means:
            position = (np.arange(means * factor) - factor // 2) / factor
            parts.append(np.interp(position, np.arange(means), stored[at : at + means]))
        rest = size - means * factor
        parts.append(stored[at + means : at + means + rest].astype(np.float64))
        at += means + rest
    return np.concatenate(parts)


def add_reference(
    residual: NDArray[np.float64], reference: Numbers, lead: Lead, beats: Beats
) -> NDArray[np.float64]:
    """Add the reference beat to the residual of one lead wherever it was subtracted (type 0)."""
    result = residual.copy()
    for beat in beats.beats:
        shift = beats.fiducial - beat.fiducial - 1  # reference index = sample number + shift
        first = max(beat.first, lead.first, -shift)
        last = min(beat.last, lead.first + len(residual) - 1, len(reference) - 1 - shift)
        if beat.kind == 0 and first <= last:
            result[first - lead.first : last - lead.first + 1] += reference[first + shift : last + shift + 1]
    return result


def rhythm(
    block: Block,
    leads: Sequence[Lead],
    beats: Beats,
    reference: Block | None,
    *,
    subtracted: bool,
    factor: int,
) -> Signal:
    """Put section 6 together: expand, add the reference beat, place each lead in time.

    Raises
    ------
    Malformed
        A reference beat was subtracted and is not there.
    RecordingTooLarge, Truncated
        As their names say.
    """
    if subtracted and (reference is None or not beats.beats):
        raise Malformed("the subtracted reference beat is not in the file")
    if factor > 1 and block.cut:
        raise Truncated("a decimated lead is cut off")
    step_nv = gcd(block.step_nv, reference.step_nv) if subtracted and reference else block.step_nv
    rate_hz = _US_PER_S / (block.interval_us / factor)
    columns = []
    for n, lead in enumerate(leads):
        values = block.leads[n].astype(np.float64)
        if factor > 1:
            values = expand(block.leads[n], lead, beats.protected, factor)
        values *= block.step_nv // step_nv
        if subtracted and reference:
            scaled = reference.leads[n] * (reference.step_nv // step_nv)
            values = add_reference(values, scaled, lead, beats)
        columns.append(values)
    names, warnings = lead_names([lead.code for lead in leads])
    begin = min(lead.first for lead in leads)
    size = max(lead.first - begin + len(column) for lead, column in zip(leads, columns, strict=True))
    _check_span(size, sum(map(len, columns)), len(leads), rate_hz)
    samples = np.full((size, len(leads)), np.nan)
    for n, (lead, column) in enumerate(zip(leads, columns, strict=True)):
        samples[lead.first - begin : lead.first - begin + len(column), n] = column
    samples *= step_nv * MV_PER_NV
    if factor > 1:
        warnings.append("scp_lossy")
    if block.cut:
        warnings.append("samples_missing")
    lsb_mv = None if factor > 1 else step_nv * MV_PER_NV
    return Signal(samples, rate_hz, names, (lsb_mv,) * len(leads), tuple(warnings))


def _check_span(size: int, stored: int, n_leads: int, rate_hz: float) -> None:
    """Refuse leads that lie further apart than recording them one after another explains."""
    check_size(size, n_leads, rate_hz)
    if size > 2 * stored + 10 * rate_hz:
        raise Malformed("leads begin far from each other", samples=size, stored=stored)


def long_term(body: bytes) -> Signal:
    """Read section 12 of version 3: samples of all leads by turns, 1 to 4 bytes each.

    Raises
    ------
    FormatFeature
        Samples of another size.
    NoLeads, RateMissing, UnitsMissing, Truncated, RecordingTooLarge
        As their names say.
    """
    if len(body) < _LONG_TERM_HEAD:
        raise Truncated(bytes=len(body), declared=_LONG_TERM_HEAD)
    rate_hz, n_leads, n_samples, width = _u32(body, 0), body[4], _u32(body, 5), body[9]
    if rate_hz == 0:
        raise RateMissing
    if n_leads == 0 or n_samples == 0:
        raise NoLeads
    if width not in {1, 2, 3, 4}:
        raise FormatFeature(feature="bytes per sample", declared=width)
    check_size(n_samples, n_leads, rate_hz)
    at = _LONG_TERM_HEAD + _u32(body, 62) + _u32(body, 66)
    definitions = body[at : at + n_leads * _LONG_TERM_LEAD]
    at += n_leads * _LONG_TERM_LEAD
    data = body[at : at + n_samples * n_leads * width]
    if len(data) < n_samples * n_leads * width:
        raise Truncated(samples=len(data) // (n_leads * width), declared=n_samples)
    steps = [_u16(definitions, n * _LONG_TERM_LEAD + 1) for n in range(n_leads)]
    if not all(steps):
        raise UnitsMissing("the amplitude multiplier is 0", column=steps.index(0))
    names, warnings = lead_names([definitions[n * _LONG_TERM_LEAD] for n in range(n_leads)])
    lsb_mv = tuple(step * MV_PER_NV for step in steps)
    samples = _by_turns(data, width).reshape(n_samples, n_leads) * np.array(lsb_mv)
    return Signal(samples, float(rate_hz), names, lsb_mv, tuple(warnings))


def _by_turns(data: bytes, width: int) -> NDArray[np.int32]:
    if width != 3:  # noqa: PLR2004 - the one size that numpy has no type for
        return np.frombuffer(data, dtype=f"<i{width}").astype(np.int32)
    wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    return wide.reshape(-1).view("<i4") >> 8


def _u16(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 2], "little")


def _u32(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 4], "little")
