"""Recordings printed: ECG sheets at true scale as a PDF, all text with an embedded font."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any

from hub.ecg.errors import CannotHold
from hub.ecg.paper import LAYOUTS, TRACE_MM, Layout
from hub.ecg.svg import PAGE_WIDTH_MM, draw_svg
from hub.ecg.waveform import Waveform
from hub.errors import HubError
from hub.kit.fonts import font_file

MAX_SHEETS = 180
"""Half an hour at 25 mm/s; a Holter day on paper is 8,640 sheets."""

_TEMPLATE = Path(__file__).with_name("typst") / "sheets.typ"
_TAIL_S = 0.04
"""A rest of a millimetre of paper gets no sheet of its own."""

_COMPILING = Lock()


class SheetFailed(HubError):
    """The drawing of an ECG could not be set as a PDF."""


def write_pdf(
    waveform: Waveform,
    *,
    header_lines: Sequence[str] = (),
    footer: str = "",
    when_cut: str = "",
    layout: Layout = LAYOUTS["3x4+1"],
    mm_per_s: float = 25.0,
    mm_per_mv: float = 10.0,
) -> bytes:
    """Print a whole recording, one A4 page across for each 250 mm of time.

    Parameters
    ----------
    waveform : Waveform
        Drawn as it is; a caller that wants it filtered filters it, and says so in the text.
    header_lines : sequence of str
        Text above the grid of every sheet, at most 6 lines.
    footer : str
        Text below it.
    when_cut : str
        What is said there when a wave leaves the paper.
    layout : Layout
        One of `hub.ecg.paper.LAYOUTS`.
    mm_per_s, mm_per_mv : float
        Scale of time and voltage.

    Returns
    -------
    bytes
        The same for the same recording: no date of making is written.

    Raises
    ------
    CannotHold
        With reason ``length``, beyond `MAX_SHEETS` pages.
    SheetFailed
        The type setter refused the drawing.
    """
    sheets = draw_sheets(
        waveform,
        header_lines=header_lines,
        footer=footer,
        when_cut=when_cut,
        layout=layout,
        mm_per_s=mm_per_s,
        mm_per_mv=mm_per_mv,
    )
    return pdf_of(list(sheets))


def draw_sheets(
    waveform: Waveform,
    *,
    header_lines: Sequence[str],
    footer: str,
    when_cut: str = "",
    layout: Layout = LAYOUTS["3x4+1"],
    mm_per_s: float = 25.0,
    mm_per_mv: float = 10.0,
) -> Iterator[str]:
    """Yield the SVG of each sheet of a recording; parameters as of `write_pdf`.

    Raises
    ------
    CannotHold
        With reason ``length``, beyond `MAX_SHEETS`.
    """
    sheet_s = TRACE_MM / mm_per_s
    sheets = max(1, ceil((waveform.duration_s - _TAIL_S) / sheet_s))
    if sheets > MAX_SHEETS:
        raise CannotHold(reason="length")
    for sheet in range(sheets):
        page = f" {sheet + 1}/{sheets}" if sheets > 1 else ""
        yield draw_svg(
            waveform,
            header_lines=header_lines,
            footer=f"{footer}{page}",
            when_cut=when_cut,
            layout=layout,
            start_s=sheet * sheet_s,
            mm_per_s=mm_per_s,
            mm_per_mv=mm_per_mv,
        )


def pdf_of(sheets: Sequence[str]) -> bytes:
    """Return drawings of `hub.ecg.svg.draw_svg` as a PDF, one on each A4 page across, at true scale.

    Raises
    ------
    SheetFailed
        The type setter refused a drawing.
    """
    import typst

    data = json.dumps([{"svg": svg, "width": PAGE_WIDTH_MM} for svg in sheets], ensure_ascii=False)
    try:
        with _COMPILING:
            pdf = _compiler().compile(format="pdf", sys_inputs={"sheets": data})
    except typst.TypstError:
        # From None: its message may quote the text that it stumbled over, which names a patient.
        raise SheetFailed from None
    return bytes(pdf)


@cache
def _compiler() -> Any:
    """Return this process's compiler, which keeps the font."""
    import typst

    fonts = typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=False, font_paths=[font_file().parent]
    )
    return typst.Compiler(_TEMPLATE, root=_TEMPLATE.parent, font_paths=fonts, ignore_system_fonts=True)
