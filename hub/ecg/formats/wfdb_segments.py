"""WFDB records of several segments: laid end to end, with gaps where the record has none.

In a record of fixed layout every segment holds the same signals in the same order. In one of
variable layout the first segment has no length: its header (the layout) lists all signals, and
each further segment holds some of them, told by their descriptions (WFDB header(5)).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge
from hub.ecg.formats.wfdb_header import Header, SignalLine, parse_header
from hub.ecg.formats.wfdb_signals import Choice, Signals, choose, find_file, read_signals
from hub.ecg.limits import check_size
from hub.errors import Malformed

_FREE_VALUES = 8_000_000
"""Values that a record may have however little it stores: 64 MB as float64, gaps included."""
_VALUES_PER_BYTE = 8
"""Beyond that, a record may state this many values for each byte that was sent."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What goes where: the headers by segment name, and for each the record's column of its columns."""

    headers: Mapping[str, Header]
    columns: Mapping[str, Mapping[int, int]]
    lines: tuple[SignalLine, ...]


def read_segments(files: Mapping[str, bytes], header: Header, warnings: list[str]) -> Signals:
    """Decode a multi-segment record.

    Parameters
    ----------
    files : mapping of str to bytes
        The segments' headers and data files by name.
    header : Header
        Of the record.
    warnings : list of str
        Codes are added; ``gaps`` when a lead has a stretch that no segment holds.

    Returns
    -------
    Signals
        All segments, NaN in the gaps.

    Raises
    ------
    CompanionMissing
        A segment's header or data file was not sent.
    FormatFeature
        A segment consists of segments itself, or segments differ in samples per frame.
    Malformed
        Lengths, rates or signals of the record and its segments disagree.
    hub.errors.HubError
        What reading a single segment may raise.
    """
    if not isfinite(header.rate_hz) or header.rate_hz <= 0:
        raise RateMissing
    n_frames = sum(segment.n_samples for segment in header.segments)
    if header.n_samples not in {None, n_frames}:
        raise Malformed("WFDB segments do not add up to their record", stated=n_frames)
    plan = _plan(files, header)
    choice = choose(plan.lines, warnings)
    n_samples, n_leads = n_frames * choice.per_frame, len(choice.columns)
    check_size(n_samples, n_leads, header.rate_hz * choice.per_frame)
    if n_samples * n_leads > _FREE_VALUES + _VALUES_PER_BYTE * sum(map(len, files.values())):
        raise RecordingTooLarge(limit="gaps", declared=n_samples * n_leads)
    samples = np.full((n_samples, n_leads), np.nan)
    scales = _fill(samples, files, header, plan, choice, warnings)
    return Signals(
        samples_mv=samples,
        rate_hz=header.rate_hz * choice.per_frame,
        labels=tuple(plan.lines[n].description for n in choice.columns),
        lsb_mv=tuple(found.pop() if len(found) == 1 else None for found in scales),
    )


def _plan(files: Mapping[str, bytes], header: Header) -> _Plan:
    headers = _segment_headers(files, header)
    first = header.segments[0]
    layout = headers.pop(first.name, None) if first.n_samples == 0 else None
    if not headers:
        raise NoLeads("no segment of the WFDB record holds a sample")
    every = layout or next(iter(headers.values()))
    if len(every.signals) != header.n_signals or not every.signals:
        raise Malformed("a WFDB record and its segments have different signals", stated=header.n_signals)
    lines = list(every.signals)
    columns = {name: _columns(part, lines, by_text=layout is not None) for name, part in headers.items()}
    if layout is not None:
        for name, part in reversed(headers.items()):
            for column, place in columns[name].items():
                lines[place] = part.signals[column]
    return _Plan(headers, columns, tuple(lines))


def _segment_headers(files: Mapping[str, bytes], header: Header) -> dict[str, Header]:
    """Return the header of each segment that is no gap, by segment name, with the record's length for it."""
    headers: dict[str, Header] = {}
    for segment in header.segments:
        if not segment.header_name:
            continue
        part = headers.get(segment.name) or parse_header(find_file(files, segment.header_name))
        if part.segments:
            raise FormatFeature("segments of segments are not read", feature="nested segments")
        if part.rate_hz != header.rate_hz or part.n_samples not in {None, segment.n_samples or None}:
            raise Malformed("a WFDB segment disagrees with its record")
        headers[segment.name] = replace(part, n_samples=segment.n_samples or None)
    return headers


def _columns(part: Header, lines: list[SignalLine], *, by_text: bool) -> dict[int, int]:
    if not by_text:
        if len(part.signals) != len(lines):
            raise Malformed("WFDB segments have different signals")
        return {n: n for n in range(len(lines))}
    places = {line.description: n for n, line in enumerate(lines)}
    found = [signal.description for signal in part.signals]
    if len(places) != len(lines) or len(set(found)) != len(found) or not places.keys() >= set(found):
        raise Malformed("a WFDB segment has signals that its layout does not tell apart")
    return {n: places[text] for n, text in enumerate(found)}


def _fill(  # noqa: PLR0917 - what it takes to lay segments end to end
    samples: np.ndarray,
    files: Mapping[str, bytes],
    header: Header,
    plan: _Plan,
    choice: Choice,
    warnings: list[str],
) -> list[set[float | None]]:
    """Write each segment's samples to its place; return the resolutions found for each lead."""
    scales: list[set[float | None]] = [set() for _ in choice.columns]
    read: dict[str, Signals] = {}
    first = 0
    for segment in header.segments:
        after = first + segment.n_samples * choice.per_frame
        places = {
            column: choice.columns.index(place)
            for column, place in plan.columns.get(segment.name, {}).items()
            if place in choice.columns
        }
        if segment.n_samples and places:
            part = plan.headers[segment.name]
            if any(part.signals[column].per_frame != choice.per_frame for column in places):
                raise FormatFeature("segments differ in samples per frame", feature="differing rates")
            if segment.name not in read:
                wanted = Choice(tuple(places), choice.per_frame)
                read[segment.name] = read_signals(files, part, warnings, wanted)
            targets = list(places.values())
            samples[first:after, targets] = read[segment.name].samples_mv
            for target, lsb in zip(targets, read[segment.name].lsb_mv, strict=True):
                scales[target].add(lsb)
        if segment.n_samples and len(places) < len(choice.columns) and "gaps" not in warnings:
            warnings.append("gaps")
        first = after
    return scales
