"""Turn the words and pictures of a report into a PDF/A-2b file.

Everything a person typed goes to typst as JSON data and is shown as text; nothing is ever
spliced into typst source, so there is no markup to escape. One embedded font draws all
characters; those it lacks are drawn as a box with their code point, never left out.
"""

import base64
import io
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from hub.errors import HubError, Rejected
from hub.kit.clock import utcnow
from hub.kit.fonts import font_file

LABEL_KEYS = frozenset(
    {
        "accession",
        "address",
        "age",
        "birth_date",
        "body_part",
        "clinical_question",
        "exam_number",
        "exam_time",
        "findings",
        "figures",
        "impression",
        "missing_characters",
        "modality",
        "notes",
        "page",
        "patient_name",
        "patient_number",
        "reviewer",
        "sex",
        "signed_at",
        "site",
        "writer",
        "written_at",
    }
)
"""Labels every report needs. ``page`` holds ``{page}`` and ``{pages}``."""

_TEMPLATE = Path(__file__).with_name("typst") / "report.typ"
_MAX_RASTER_PIXELS = 50_000_000
_LONGEST_WORD = 40  # capital W that fit a line of the body
_LONGEST_IN_CELL = 16  # digits that fit a cell of the patient block; also the longest accession
_LONGEST_IN_ADDRESS = 90
_UNBROKEN = r"[^\s\u2e80-\U0010ffff]"
_BREAKS = re.compile("\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
# Invisible by nature and often pasted along from web pages and word processors.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_SVG_ROOT = re.compile(rb"<svg\b[^>]*>")
_SVG_LENGTH = r'\s{}\s*=\s*["\']\s*([0-9.]+)\s*mm\s*["\']'


class UnprintableFigure(Rejected):
    """A picture of the report cannot be printed as it is."""


class DocumentFailed(HubError):
    """The report could not be set as a document."""


@dataclass(frozen=True)
class Figure:
    """A picture in the report.

    Attributes
    ----------
    data : bytes
        SVG, PNG or JPEG.
    kind : {"image", "ecg"}
        Images stand two a row and are fitted; an ECG gets a landscape page of its own
        and is never scaled.
    caption : str
        Printed below an image, above an ECG.
    width_mm : float or None
        Printed width. An ECG needs it unless its SVG states width and height in mm.
    """

    data: bytes
    kind: Literal["image", "ecg"]
    caption: str
    width_mm: float | None = None


@dataclass(frozen=True)
class ReportContent:
    """All that is printed on a report, already put into words.

    Times are formatted by the caller to the minute with the hub's time zone named.
    `patient_number` is masked by the caller. `address` is the report's URL: printed, and
    drawn as a QR code. `notes` are marks such as "machine measurements". `labels` holds
    every key of `LABEL_KEYS`; `language` is a BCP 47 tag and decides line breaking.
    """

    centre_name: str
    site_name: str
    title: str
    exam_number: str
    accession: str
    patient_name: str
    sex: str
    age: str
    birth_date: str
    patient_number: str
    modality: str
    body_part: str
    clinical_question: str
    exam_time: str
    findings: str
    impression: str
    writer_name: str
    written_at: str
    reviewer_name: str | None
    signed_at: str
    figures: tuple[Figure, ...]
    address: str
    notes: tuple[str, ...]
    labels: Mapping[str, str]
    language: str = "zh-CN"

    def __post_init__(self) -> None:
        missing = LABEL_KEYS - self.labels.keys()
        if missing:
            raise ValueError(f"labels missing: {', '.join(sorted(missing))}")

    def texts(self) -> Iterable[str]:
        """Return every string that is printed, labels included."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and field.name != "language":
                yield value
        yield from self.notes
        yield from (figure.caption for figure in self.figures)
        yield from self.labels.values()


def render_report(content: ReportContent, *, created_at: datetime | None = None) -> bytes:
    """Return the report as PDF/A-2b, all fonts embedded.

    Same content and `created_at` give the same bytes. Conformance is typst's claim
    (it refuses to write what it knows the profile forbids), not a validator's.

    Parameters
    ----------
    content : ReportContent
    created_at : datetime, optional
        Timezone-aware creation time for the file's metadata; the present by default.

    Raises
    ------
    UnprintableFigure
        A picture is damaged, of another format, or an ECG without a true size.
    DocumentFailed
        Typst refused the document.
    """
    import typst

    inputs = {"report": json.dumps(_page_data(content), ensure_ascii=False)}
    # UTC as a fixed offset is what typst takes; it writes the same instant.
    timestamp = int((created_at or utcnow()).timestamp())
    try:
        with _COMPILING:
            pdf = _compiler().compile(
                format="pdf", sys_inputs=inputs, pdf_standards="a-2b", timestamp=timestamp
            )
    except typst.TypstError:
        # From None: typst's message quotes the text it stumbled over, which names a patient.
        raise DocumentFailed from None
    return bytes(pdf)


def missing_glyphs(text: str) -> frozenset[str]:
    """Return the characters of `text` that the report font cannot draw.

    Line breaks, tabs, variation selectors and characters that are invisible by nature are
    not missing; control and direction-changing characters are, and are shown as boxes.
    """
    plain = _BREAKS.sub("", text).replace("\t", "").translate(_INVISIBLE)
    return frozenset(character for character in set(plain) if not _drawable(character))


def missing_in_report(content: ReportContent) -> frozenset[str]:
    """Return the characters anywhere on the report that will be drawn as boxes."""
    return frozenset().union(*map(missing_glyphs, content.texts()))


def _page_data(content: ReportContent) -> dict[str, Any]:
    """Return what the template reads: every text as lines of runs, every figure as SVG."""
    notes = list(content.notes)
    if missing_in_report(content):
        notes.append(content.labels["missing_characters"])
    skipped = {"figures", "notes", "labels", "language", "reviewer_name", "address"}
    body = {"findings", "impression", "clinical_question"}
    data: dict[str, Any] = {
        field.name: _lines(
            getattr(content, field.name), _LONGEST_WORD if field.name in body else _LONGEST_IN_CELL
        )
        for field in fields(content)
        if field.name not in skipped
    }
    language, _, region = content.language.partition("-")
    data.update(
        reviewer_name=None if content.reviewer_name is None else _lines(content.reviewer_name),
        notes=[_lines(note) for note in notes],
        labels={key: _lines(label) for key, label in content.labels.items() if key != "page"},
        page=_plain(content.labels["page"]),
        # Breaks by itself at its slashes; a copied address must not hold hidden spaces.
        address=_lines(content.address, _LONGEST_IN_ADDRESS),
        qr=_qr(content.address) if content.address else None,
        images=[_figure(figure) for figure in content.figures if figure.kind == "image"],
        ecgs=[_figure(figure) for figure in content.figures if figure.kind == "ecg"],
        metadata={
            "title": _plain(f"{content.title} {content.exam_number}"),
            "author": _plain(content.centre_name),
        },
        language=language.lower(),
        region=region.lower() or None,
    )
    return data


def _lines(text: str, longest: int = _LONGEST_WORD) -> list[list[str | dict[str, str]]]:
    """Return `text` as lines of runs; a run is text, or ``{"code": "U+XXXX"}`` for a box."""
    text = text.translate(_INVISIBLE).replace("\t", "    ")
    return [_runs(line, longest) for line in _BREAKS.split(text)]


def _runs(line: str, longest: int) -> list[str | dict[str, str]]:
    runs: list[str | dict[str, str]] = []
    drawable = ""
    for character in line:
        if _drawable(character):
            drawable += character
            continue
        if drawable:
            runs.append(_breakable(drawable, longest))
        runs.append({"code": f"U+{ord(character):04X}"})
        drawable = ""
    if drawable:
        runs.append(_breakable(drawable, longest))
    return runs


def _breakable(text: str, longest: int) -> str:
    """Let words much longer than `longest` be broken, by zero-width spaces.

    Only where they would leave the page: the spaces end up in the text layer too.
    """
    return re.sub(
        rf"{_UNBROKEN}{{{longest * 3 // 2 + 1},}}",
        lambda match: "\u200b".join(
            match[0][start : start + longest] for start in range(0, len(match[0]), longest)
        ),
        text,
    )


def _plain(text: str) -> str:
    text = _BREAKS.sub(" ", text).translate(_INVISIBLE).replace("\t", " ")
    return "".join(character if _drawable(character) else "\u25a1" for character in text)


def _drawable(character: str) -> bool:
    code = ord(character)
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:  # noqa: PLR2004 - variation selectors
        return True
    starts, ends = _covered()
    index = bisect_right(starts, code) - 1
    return index >= 0 and code <= ends[index]


@cache
def _covered() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return first and last code points of the ranges that the font has glyphs for.

    Read from the font's own character map, subtable format 12 (OpenType 1.9, "cmap").
    """
    with font_file().open("rb") as font:

        def unsigned(offset: int, size: int = 4) -> int:
            font.seek(offset)
            return int.from_bytes(font.read(size), "big")

        face = unsigned(12)  # the first of the collection; all faces share one map
        tables = {}
        for index in range(unsigned(face + 4, 2)):
            record = face + 12 + 16 * index
            tables[unsigned(record)] = unsigned(record + 8)
        cmap = tables[int.from_bytes(b"cmap", "big")]
        starts_at = {cmap + unsigned(cmap + 8 + 8 * index) for index in range(unsigned(cmap + 2, 2))}
        subtable = next(offset for offset in sorted(starts_at) if unsigned(offset, 2) == 12)  # noqa: PLR2004
        groups = []
        for index in range(unsigned(subtable + 12)):
            group = subtable + 16 + 12 * index
            groups.append((unsigned(group), unsigned(group + 4)))
    # C0, DEL and C1 have glyphs in some fonts; on a report they are always an accident, and
    # characters that turn the writing direction can make a sentence read as another.
    groups = sorted(_without(groups, ((0x00, 0x1F), (0x7F, 0x9F), (0x200E, 0x200F), (0x202A, 0x202E))))
    return tuple(first for first, _ in groups), tuple(last for _, last in groups)


def _without(groups: list[tuple[int, int]], holes: tuple[tuple[int, int], ...]) -> Iterable[tuple[int, int]]:
    for hole_first, hole_last in holes:
        groups = [
            part
            for first, last in groups
            for part in ((first, min(last, hole_first - 1)), (max(first, hole_last + 1), last))
            if part[0] <= part[1]
        ]
    return groups


def _figure(figure: Figure) -> dict[str, Any]:
    """Return a figure as SVG text and millimetres, as the template takes it."""
    if figure.data.startswith(b"\x89PNG\r\n\x1a\n"):
        svg = _raster_as_svg(figure.data, "PNG")
        width, height = figure.width_mm, None
    elif figure.data.startswith(b"\xff\xd8\xff"):
        svg = _raster_as_svg(figure.data, "JPEG")
        width, height = figure.width_mm, None
    else:
        svg, width, height = _checked_svg(figure)
    if figure.kind == "ecg" and width is None:
        raise UnprintableFigure("an ECG needs its width in millimetres")
    return {"svg": svg, "width": width, "height": height, "caption": _lines(figure.caption)}


def _checked_svg(figure: Figure) -> tuple[str, float | None, float | None]:
    root = _SVG_ROOT.search(figure.data)
    if root is None or b"<!DOCTYPE" in figure.data or b"<!ENTITY" in figure.data:
        raise UnprintableFigure("neither SVG, PNG nor JPEG")
    try:
        svg, opening = figure.data.decode(), root[0].decode()
    except UnicodeDecodeError:
        raise UnprintableFigure("SVG that is not UTF-8") from None
    width, height = (re.search(_SVG_LENGTH.format(side), opening) for side in ("width", "height"))
    if "font-weight" not in opening:
        # Left to itself, text inside SVG comes out in the variable font's thinnest weight.
        svg = svg.replace("<svg", '<svg font-weight="500"', 1)
    stated = (float(width[1]), float(height[1])) if width and height else (None, None)
    if figure.kind == "image":
        return svg, figure.width_mm, None
    if figure.width_mm and stated[0] and abs(figure.width_mm - stated[0]) > 0.05:  # noqa: PLR2004 - mm
        raise UnprintableFigure("an ECG is printed at the size that its drawing states")
    return svg, stated[0] or figure.width_mm, stated[1]


def _raster_as_svg(data: bytes, kind: str) -> str:
    """Wrap a raster in SVG: the only way to hand typst binary data that is quick.

    Decoded here first, because a damaged picture inside SVG would leave a silent blank.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            if image.width * image.height > _MAX_RASTER_PIXELS:
                raise UnprintableFigure("too many pixels for a page")
            image.load()
            width, height = image.size
            if image.mode not in {"L", "RGB", "RGBA", "P", "LA"}:
                buffer = io.BytesIO()
                image.convert("L" if image.mode.startswith(("I", "1", "F")) else "RGB").save(buffer, "PNG")
                data, kind = buffer.getvalue(), "PNG"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnprintableFigure("a damaged picture") from None
    encoded = base64.b64encode(data).decode()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><image width="{width}" height="{height}" '
        f'href="data:image/{kind.lower()};base64,{encoded}"/></svg>'
    )


def _qr(address: str) -> str:
    import segno

    buffer = io.BytesIO()
    # Level M: survives a crease or a stamp, and stays coarse enough for a phone at 22 mm.
    segno.make(address, error="m", micro=False).save(buffer, kind="svg", border=2, svgclass=None)
    return buffer.getvalue().decode()


_COMPILING = Lock()


@cache
def _compiler() -> Any:
    """Return this process's compiler; it keeps fonts and what does not change between reports."""
    import typst

    fonts = typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=False, font_paths=[font_file().parent]
    )
    return typst.Compiler(_TEMPLATE, root=_TEMPLATE.parent, font_paths=fonts, ignore_system_fonts=True)
