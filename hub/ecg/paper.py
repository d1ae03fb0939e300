"""Where every line of an ECG sheet goes, in millimetres. Pure: knows no SVG, no page, no text but lead names.

Scale: 25 mm/s and 10 mm/mV unless another is asked for; the origin is the top left corner of the
grid, x to the right, y downwards. The page's own script lays out by the same rules
(``hub/web/islands/ecg-viewer/layout.ts``); both are held against one file of numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.waveform import Waveform

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to arrange leads on the sheet; another arrangement is another row of `LAYOUTS`.

    Attributes
    ----------
    name : str
        Key of `LAYOUTS`.
    rows : tuple of tuple of str
        Lead names by row; the leads of a row follow each other in time, column by column.
    strips : tuple of str
        Leads drawn below over the whole width.
    row_mm : float
        Distance of two baselines, a multiple of 5 so that baselines lie on strong lines.
    """

    name: str
    rows: tuple[tuple[str, ...], ...]
    strips: tuple[str, ...]
    row_mm: float


_THREE_BY_FOUR = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_SIX_BY_TWO = (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6"))

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("3x4+1", _THREE_BY_FOUR, ("II",), 35.0),
        Layout("3x4+3", _THREE_BY_FOUR, ("V1", "II", "V5"), 20.0),
        Layout("6x2", _SIX_BY_TWO, (), 20.0),
        Layout("12x1", tuple((lead,) for lead in STANDARD_LEADS), (), 10.0),
    )
}
"""Arrangements by name, all 10 s wide at 25 mm/s on A4."""

_CABRERA = {"I": "aVL", "II": "I", "III": "-aVR", "aVR": "II", "aVL": "aVF", "aVF": "III"}
"""Which lead stands where another stands in the usual order: aVL, I, -aVR, II, aVF, III."""

SPEEDS_MM_PER_S = (12.5, 25.0, 50.0)
GAINS_MM_PER_MV = (5.0, 10.0, 20.0)

TRACE_MM = 250.0
"""Length of the time axis on A4; how many seconds that is depends on the speed."""

TRACE_LEFT_MM = 10.0
"""Where time starts; the calibration pulse stands to the left of it."""

RIGHT_MM = 5.0
PULSE_MM = 5.0
PULSE_MV = 1.0
_LABEL_SHARE = 0.36
"""A lead's name stands this part of a row above its baseline."""

_NEARLY = 0.9
"""A recording this close to filling the sheet is laid out as if it did."""

_SHORTEST = 0.1
_EDGE_MM = 20.0
"""From the upper edge to the first baseline and from the last one to the lower edge, where traces fit."""

_LEAST_BELOW_MM = 10.0
_CLEAR_MM = 2.0
_MOST_HEIGHT_MM = 150.0
"""A taller grid would not go on A4 across under six lines of text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One lead in one column.

    Attributes
    ----------
    lead : str
        Name to print.
    x_mm, baseline_mm, width_mm : float
        Left end, height of 0 mV, and length of the segment.
    label_mm : float
        Height of the foot of the lead's name.
    lines : tuple of numpy.ndarray
        Polylines of shape ``(n_points, 2)``, x and y in mm; more than one where samples are
        missing, none where the lead is absent or silent.
    recorded : bool
        Whether the recording holds this lead at all.
    """

    lead: str
    x_mm: float
    baseline_mm: float
    width_mm: float
    label_mm: float
    lines: tuple[Points, ...]
    recorded: bool


@dataclass(frozen=True, slots=True)
class Paper:
    """A laid-out sheet.

    Attributes
    ----------
    width_mm, height_mm : float
        Extents of the grid, multiples of 5.
    mm_per_s, mm_per_mv : float
        Scale.
    started_s : float
        Time of the left end in the recording.
    pulses : tuple of numpy.ndarray
        Calibration pulses as polylines in mm, 1 mV high and 5 mm wide: one for each row, or
        for the first only where rows are narrow.
    segments : tuple of Segment
        Row by row, left to right.
    cut : bool
        Whether a trace of the recording leaves the paper, which would have to be higher than it may be.
    """

    width_mm: float
    height_mm: float
    mm_per_s: float
    mm_per_mv: float
    started_s: float
    pulses: tuple[Points, ...]
    segments: tuple[Segment, ...]
    cut: bool


def in_cabrera_order(layout: Layout) -> Layout:
    """Return the arrangement with the limb leads in Cabrera's order; strips stay as they are."""
    return replace(layout, rows=tuple(tuple(_CABRERA.get(lead, lead) for lead in row) for row in layout.rows))


def shown_seconds(duration_s: float, mm_per_s: float = 25.0) -> float:
    """Return how much time a sheet shows.

    A recording too short to fill it gives narrower columns, so that each lead still has its
    share; without that, the leads of the last columns would have nothing to show.
    """
    full = TRACE_MM / mm_per_s
    return full if duration_s >= _NEARLY * full else max(duration_s, _SHORTEST * full)


def lay_out(
    waveform: Waveform,
    layout: Layout = LAYOUTS["3x4+1"],
    *,
    start_s: float = 0.0,
    mm_per_s: float = 25.0,
    mm_per_mv: float = 10.0,
) -> Paper:
    """Arrange a recording on ECG paper.

    Parameters
    ----------
    waveform : Waveform
        Limb leads that can be computed from I and II are computed.
    layout : Layout
        One of `LAYOUTS`, or one of these `in_cabrera_order`.
    start_s : float, default 0.0
        Which moment of the recording stands at the left.
    mm_per_s, mm_per_mv : float
        Scale of time and voltage.

    Returns
    -------
    Paper
        Columns show consecutive time: the second column goes on where the first ended.

    Notes
    -----
    A lead taller than its row runs into its neighbours' rows, as on paper. Where one would leave the
    grid, room above or below is added, up to a height that A4 holds; what is still taller is cut.
    The room is that of the whole recording, so that its sheets are alike.

    Sample ``n`` stands at ``n * mm_per_s / rate_hz`` mm. DICOM PS3.3 C.10.9.1.8 gives the case
    25 mm/s at 400 Hz: 0.0625 mm per sample.
    """
    full = waveform.with_derived_limb_leads()
    width_s = shown_seconds(waveform.duration_s, mm_per_s)
    column_s = width_s / max(len(row) for row in layout.rows)
    n_rows = len(layout.rows) + len(layout.strips)
    above_mm, below_mm, cut = _edges(full, layout, mm_per_mv)
    baselines = [above_mm + row * layout.row_mm for row in range(n_rows)]
    scale = (mm_per_s, mm_per_mv)
    segments: list[Segment] = []
    for row, baseline in zip(layout.rows, baselines, strict=False):
        for column, lead in enumerate(row):
            place = (TRACE_LEFT_MM + column * column_s * mm_per_s, baseline, layout.row_mm)
            span = (start_s + column * column_s, column_s)
            segments.append(_segment(full, lead, place, span, scale))
    for lead, baseline in zip(layout.strips, baselines[len(layout.rows) :], strict=True):
        place = (TRACE_LEFT_MM, baseline, layout.row_mm)
        segments.append(_segment(full, lead, place, (start_s, width_s), scale))
    # In rows closer than a pulse is high, pulses would run into each other: one says it all.
    pulsed = baselines if layout.row_mm > 1.2 * PULSE_MV * mm_per_mv else baselines[:1]
    return Paper(
        width_mm=_up_to_five(TRACE_LEFT_MM + width_s * mm_per_s + RIGHT_MM),
        height_mm=_up_to_five(baselines[-1] + below_mm),
        mm_per_s=mm_per_s,
        mm_per_mv=mm_per_mv,
        started_s=start_s,
        pulses=tuple(_pulse(baseline, mm_per_mv) for baseline in pulsed),
        segments=tuple(segments),
        cut=cut,
    )


def _edges(waveform: Waveform, layout: Layout, mm_per_mv: float) -> tuple[float, float, bool]:
    """Return the room above the first and below the last baseline, multiples of 5 mm. True: too little."""
    rows = (*layout.rows, *((lead,) for lead in layout.strips))
    up_mm, down_mm = PULSE_MV * mm_per_mv, 0.0
    for place, row in enumerate(rows):
        for samples in (_samples(waveform, lead) for lead in row):
            if samples is None or not samples.size:
                continue
            # Unlike nanmax these make no copy of a day of Holter.
            low, high = np.fmin.reduce(samples), np.fmax.reduce(samples)
            if np.isfinite(low):
                up_mm = max(up_mm, high * mm_per_mv - place * layout.row_mm)
                down_mm = max(down_mm, -low * mm_per_mv - (len(rows) - 1 - place) * layout.row_mm)
    above = max(_EDGE_MM, _up_to_five(up_mm + _CLEAR_MM))
    below = max(_LEAST_BELOW_MM, _up_to_five(down_mm + _CLEAR_MM))
    if above + below <= 2 * _EDGE_MM:
        return above, 2 * _EDGE_MM - above, False
    most = _MOST_HEIGHT_MM - (len(rows) - 1) * layout.row_mm
    below = max(_LEAST_BELOW_MM, below - max(0.0, above + below - most))
    above = min(above, most - below)
    return above, below, bool(up_mm > above or down_mm > below)


def _samples(waveform: Waveform, lead: str) -> Points | None:
    """Return a lead's samples; -aVR is aVR turned over where it was not recorded as such."""
    samples = waveform.lead(lead)
    if samples is None and lead == "-aVR":
        mirrored = waveform.lead("aVR")
        return None if mirrored is None else -mirrored
    return samples


def _segment(
    waveform: Waveform,
    lead: str,
    place: tuple[float, float, float],
    span: tuple[float, float],
    scale: tuple[float, float],
) -> Segment:
    """Place the samples of ``start <= time <= start + length`` of one lead."""
    x_mm, baseline_mm, row_mm = place
    label_mm = baseline_mm - _LABEL_SHARE * row_mm
    start_s, length_s = span
    mm_per_s, mm_per_mv = scale
    width_mm = length_s * mm_per_s
    samples = _samples(waveform, lead)
    if samples is None:
        return Segment(lead, x_mm, baseline_mm, width_mm, label_mm, (), recorded=False)
    first = max(0, int(np.ceil(start_s * waveform.rate_hz - 1e-6)))
    last = int(np.floor((start_s + length_s) * waveform.rate_hz + 1e-6))
    values = samples[first : last + 1]
    times_s = (first + np.arange(values.size)) / waveform.rate_hz - start_s
    points = np.column_stack([x_mm + times_s * mm_per_s, baseline_mm - values * mm_per_mv])
    return Segment(lead, x_mm, baseline_mm, width_mm, label_mm, _unbroken(points), recorded=True)


def _unbroken(points: Points) -> tuple[Points, ...]:
    """Cut a polyline at missing samples; a single sample between two gaps stays, as a dot."""
    present = np.isfinite(points[:, 1])
    if present.all():
        return (points,) if len(points) else ()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return tuple(points[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))


def _pulse(baseline_mm: float, mm_per_mv: float) -> Points:
    """Draw the 1 mV pulse between 2.5 and 7.5 mm, flat up to where the trace begins."""
    left = (TRACE_LEFT_MM - PULSE_MM) / 2
    top = baseline_mm - PULSE_MV * mm_per_mv
    return np.array(
        [
            (left - 2.0, baseline_mm),
            (left, baseline_mm),
            (left, top),
            (left + PULSE_MM, top),
            (left + PULSE_MM, baseline_mm),
            (left + PULSE_MM + 2.0, baseline_mm),
        ]
    )


def _up_to_five(length_mm: float) -> float:
    return float(np.ceil(length_mm / 5.0 - 1e-9) * 5.0)
