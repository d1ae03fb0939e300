"""Where every line of an ECG sheet goes, in millimetres. Pure: knows no SVG, no page, no text but lead names.

Scale: 25 mm/s and 10 mm/mV unless another is asked for; the origin is the top left corner of the
grid, x to the right, y downwards.
"""

from dataclasses import dataclass

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
    column_s : float
        Seconds per column.
    row_mm : float
        Distance of two baselines, a multiple of 5 so that baselines lie on strong lines.
    """

    name: str
    rows: tuple[tuple[str, ...], ...]
    strips: tuple[str, ...]
    column_s: float
    row_mm: float


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "3x4+1",
            (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")),
            ("II",),
            2.5,
            35.0,
        ),
        Layout(
            "6x2",
            (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")),
            (),
            5.0,
            20.0,
        ),
        Layout("12x1", tuple((lead,) for lead in STANDARD_LEADS), (), 10.0, 10.0),
    )
}
"""Arrangements by name, all 10 s wide at 25 mm/s on A4."""

TRACE_LEFT_MM = 10.0
"""Where time starts; the calibration pulse stands to the left of it."""

RIGHT_MM = 5.0
PULSE_MM = 5.0
PULSE_MV = 1.0
_LABEL_SHARE = 0.36
"""A lead's name stands this part of a row above its baseline."""

_FIRST_BASELINE_MM = 20.0
_BELOW_LAST_MM = 20.0


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
    """

    width_mm: float
    height_mm: float
    mm_per_s: float
    mm_per_mv: float
    started_s: float
    pulses: tuple[Points, ...]
    segments: tuple[Segment, ...]


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
        One of `LAYOUTS`.
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
    Sample ``n`` stands at ``n * mm_per_s / rate_hz`` mm. DICOM PS3.3 C.10.9.1.8 gives the case
    25 mm/s at 400 Hz: 0.0625 mm per sample.
    """
    full = waveform.with_derived_limb_leads()
    columns = max(len(row) for row in layout.rows)
    width_s = columns * layout.column_s
    n_rows = len(layout.rows) + len(layout.strips)
    baselines = [_FIRST_BASELINE_MM + row * layout.row_mm for row in range(n_rows)]
    scale = (mm_per_s, mm_per_mv)
    segments: list[Segment] = []
    for row, baseline in zip(layout.rows, baselines, strict=False):
        for column, lead in enumerate(row):
            place = (TRACE_LEFT_MM + column * layout.column_s * mm_per_s, baseline, layout.row_mm)
            span = (start_s + column * layout.column_s, layout.column_s)
            segments.append(_segment(full, lead, place, span, scale))
    for lead, baseline in zip(layout.strips, baselines[len(layout.rows) :], strict=True):
        place = (TRACE_LEFT_MM, baseline, layout.row_mm)
        segments.append(_segment(full, lead, place, (start_s, width_s), scale))
    # In rows closer than a pulse is high, pulses would run into each other: one says it all.
    pulsed = baselines if layout.row_mm > 1.2 * PULSE_MV * mm_per_mv else baselines[:1]
    return Paper(
        width_mm=_up_to_five(TRACE_LEFT_MM + width_s * mm_per_s + RIGHT_MM),
        height_mm=_up_to_five(baselines[-1] + _BELOW_LAST_MM),
        mm_per_s=mm_per_s,
        mm_per_mv=mm_per_mv,
        started_s=start_s,
        pulses=tuple(_pulse(baseline, mm_per_mv) for baseline in pulsed),
        segments=tuple(segments),
    )


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
    samples = waveform.lead(lead)
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
