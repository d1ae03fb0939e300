"""An ECG sheet as SVG: true to scale when printed at 100 %, no script, no outside resource.

The grid is drawn as two paths instead of a repeating pattern: patterns are rasterised or
blurred by several renderers at odd zooms, and the grid is what amplitudes are read from.
Only features that usvg (typst), Chromium and print drivers share are used.
"""

import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from hub.ecg.paper import LAYOUTS, Layout, Paper, Points, Segment, lay_out
from hub.ecg.waveform import Waveform

PAGE_WIDTH_MM = 277.0
"""A4 landscape less 10 mm on each side."""

_HEADER_LINE_MM = 5.0
_HEADER_TOP_MM = 4.5
_HEADER_GAP_MM = 3.5
_FOOTER_MM = 6.0
_MAX_HEADER_LINES = 6
_MAX_LINE = 200

_FONTS = "'Noto Sans CJK SC','Source Han Sans SC','Noto Sans SC','Microsoft YaHei','PingFang SC',sans-serif"
_MINOR = "#f6cdcf"
_MAJOR = "#e79a9f"
_EDGE = "#d9787f"
_TRACE = "#10151c"
_TEXT = "#1b2430"
_MUTED = "#5b6673"
_TRACE_MM = 0.28
_WIDE_SPACES = "\u00a0\u2003\u3000"


def draw_svg(
    waveform: Waveform,
    *,
    header_lines: Sequence[str] = (),
    footer: str,
    when_cut: str = "",
    layout: Layout = LAYOUTS["3x4+1"],
    start_s: float = 0.0,
    mm_per_s: float = 25.0,
    mm_per_mv: float = 10.0,
) -> str:
    """Draw a recording as a 12-lead sheet.

    Parameters
    ----------
    waveform : Waveform
        Drawn as recorded, unfiltered; limb leads that can be computed are.
    header_lines : sequence of str
        Text above the grid, already translated; the first is set larger. At most 6 lines.
    footer : str
        Text below the grid on the left; scale and arrangement are printed on the right.
    when_cut : str
        What is said before that text when a wave of the recording leaves the paper.
    layout : Layout
        One of `hub.ecg.paper.LAYOUTS`, or one of these in Cabrera's order.
    start_s : float, default 0.0
        Moment of the recording at the left edge.
    mm_per_s, mm_per_mv : float
        Scale of time and voltage.

    Returns
    -------
    str
        An ``<svg>`` element whose width and height are in mm and whose user unit is 1 mm,
        at most 277 x 190 mm. All text is escaped.
    """
    paper = lay_out(waveform, layout, start_s=start_s, mm_per_s=mm_per_s, mm_per_mv=mm_per_mv)
    lines = [_printable(line) for line in header_lines][:_MAX_HEADER_LINES]
    top = _HEADER_TOP_MM + _HEADER_LINE_MM * (len(lines) - 1) + _HEADER_GAP_MM if lines else 1.0
    height = top + paper.height_mm + _FOOTER_MM
    left = (PAGE_WIDTH_MM - paper.width_mm) / 2
    size = f"{PAGE_WIDTH_MM:g} {height:g}"
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_WIDTH_MM:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {size}" font-family="{_FONTS}" font-weight="500" role="img">'
    )
    parts = [
        root,
        f'<rect width="{PAGE_WIDTH_MM:g}" height="{height:g}" fill="#ffffff"/>',
        *_header(lines, left),
        f'<g transform="translate({left:g} {top:g})">',
        _grid(paper),
        # Below the traces: a lead's name must not hide a wave.
        *(_label(segment) for segment in paper.segments),
        _traces(paper),
        "</g>",
        _footer(paper, layout, _foot(footer, when_cut if paper.cut else ""), left, top),
        "</svg>",
    ]
    return "".join(parts)


def _foot(text: str, warning: str) -> str:
    if not warning:
        return _printable(text)
    return f'<tspan font-weight="bold" fill="{_TEXT}">{_printable(warning)}</tspan> · {_printable(text)}'


def _header(lines: list[str], left: float) -> list[str]:
    result = []
    for number, line in enumerate(lines):
        size, fill, weight = (4.0, _TEXT, ' font-weight="bold"') if number == 0 else (3.2, _TEXT, "")
        y = _HEADER_TOP_MM + _HEADER_LINE_MM * number
        result.append(f'<text x="{left:g}" y="{y:g}" font-size="{size}"{weight} fill="{fill}">{line}</text>')
    return result


def _footer(paper: Paper, layout: Layout, text: str, left: float, top: float) -> str:
    y = top + paper.height_mm + 4.3
    scale = f"{paper.mm_per_s:g} mm/s · {paper.mm_per_mv:g} mm/mV · {layout.name.replace('x', '×')}"
    style = f'font-size="2.9" fill="{_MUTED}"'
    return (
        f'<text x="{left:g}" y="{y:g}" {style}>{text}</text>'
        f'<text x="{left + paper.width_mm:g}" y="{y:g}" text-anchor="end" {style}>{escape(scale)}</text>'
    )


def _grid(paper: Paper) -> str:
    """Draw 1 mm lines thin and 5 mm lines strong, and an edge round the whole."""
    width, height = round(paper.width_mm), round(paper.height_mm)
    thin: list[str] = []
    strong: list[str] = []
    for x in range(width + 1):
        (thin if x % 5 else strong).append(f"M{x} 0V{height}")
    for y in range(height + 1):
        (thin if y % 5 else strong).append(f"M0 {y}H{width}")
    return (
        f'<rect width="{width}" height="{height}" fill="#fffafa"/>'
        f'<path d="{"".join(thin)}" fill="none" stroke="{_MINOR}" stroke-width="0.1"/>'
        f'<path d="{"".join(strong)}" fill="none" stroke="{_MAJOR}" stroke-width="0.18"/>'
        f'<rect width="{width}" height="{height}" fill="none" stroke="{_EDGE}" stroke-width="0.3"/>'
    )


def _traces(paper: Paper) -> str:
    """Draw pulses, column marks and leads, cut off at the edge of the grid and nowhere else."""
    paths = [_path(pulse) for pulse in paper.pulses]
    paths += [_path(line) for segment in paper.segments for line in segment.lines]
    marks = [
        f"M{segment.x_mm:g} {segment.baseline_mm - 3:g}v-2M{segment.x_mm:g} {segment.baseline_mm + 3:g}v2"
        for segment in paper.segments
    ]
    body = "".join(f'<path d="{d}"/>' for d in paths)
    # Several sheets may stand in one page, where an id must be theirs alone.
    clip = f"ecg-{zlib.crc32(body.encode()):08x}"
    return (
        f'<clipPath id="{clip}"><rect width="{paper.width_mm:g}" height="{paper.height_mm:g}"/></clipPath>'
        f'<g clip-path="url(#{clip})" fill="none" stroke="{_TRACE}" stroke-width="{_TRACE_MM}" '
        f'stroke-linejoin="round" stroke-linecap="round">'
        f'<path d="{"".join(marks)}" stroke-width="0.2"/>{body}</g>'
    )


def _label(segment: Segment) -> str:
    """Name the lead above its start; an absent lead is named in grey and has no line."""
    fill = _TEXT if segment.recorded else _MUTED
    x, y = segment.x_mm + 1.2, segment.label_mm
    weight = ' font-weight="bold"' if segment.recorded else ' font-style="italic"'
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="3.6"{weight} fill="{fill}" stroke="#fffafa" '
        f'stroke-width="0.9" stroke-linejoin="round" paint-order="stroke">{escape(segment.lead[:16])}</text>'
    )


def _path(points: Points) -> str:
    """Write a polyline as relative moves of 0.01 mm, without drift; straight runs become one move."""
    whole = np.rint(points * 100.0).astype(np.int64)
    if len(whole) == 1:
        return f"M{_hundredths(whole[0, 0])} {_hundredths(whole[0, 1])}h.01"
    moves = np.diff(whole, axis=0)
    changes = np.flatnonzero((moves[1:] != moves[:-1]).any(axis=1)) + 1
    corners = whole[np.concatenate([[0], changes, [len(whole) - 1]])]
    parts = [f"M{_hundredths(corners[0, 0])} {_hundredths(corners[0, 1])}l"]
    for dx, dy in np.diff(corners, axis=0).tolist():
        second = _hundredths(dy)
        parts.append(f"{_hundredths(dx)}{'' if second.startswith('-') else ' '}{second} ")
    return "".join(parts).rstrip()


def _hundredths(value: int) -> str:
    """Write hundredths as the shortest decimal: 5 is ``.05``, -120 is ``-1.2``."""
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(int(value)), 100)
    if not part:
        return f"{sign}{whole}" if whole else "0"
    return f"{sign}{whole or ''}.{part:02d}".rstrip("0")


def _printable(text: str) -> str:
    """Escape text, drop characters that XML 1.0 forbids, keep runs of spaces (XML would join them)."""
    kept = "".join(c for c in text[:_MAX_LINE] if c.isprintable() or c in _WIDE_SPACES)
    return escape(kept.replace("  ", "\u00a0\u00a0"))
