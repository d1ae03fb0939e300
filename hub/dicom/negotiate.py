"""Which representation a DICOMweb client asks for (PS3.18 section 8.7, RFC 9110 section 12.5.1)."""

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hub.errors import Malformed, Unsupported

OCTETS = "application/octet-stream"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
ANY = "*"
MOST_ENTRIES = 64
"""Media types in one Accept header; each may cost a look into the object."""

_JPEG = "1.2.840.10008.1.2.4."
COMPRESSED_MEDIA = (
    {"1.2.840.10008.1.2.5": "image/dicom-rle"}
    | {f"{_JPEG}{last}": "image/jpeg" for last in (50, 51, 57, 70)}
    | {f"{_JPEG}{last}": "image/jls" for last in (80, 81)}
    | {f"{_JPEG}{last}": "image/jp2" for last in (90, 91)}
    | {f"{_JPEG}{last}": "image/jpx" for last in (92, 93)}
    | {f"{_JPEG}{last}": "video/mpeg" for last in (100, 101)}
    | {f"{_JPEG}{last}": "video/mp4" for last in (102, 103, 104, 105, 106, 107, 108)}
    | {f"{_JPEG}{last}": "image/jxl" for last in (110, 111, 112)}
    | {f"{_JPEG}{last}": "image/jphc" for last in (201, 202, 203)}
)
"""Media type of a compressed frame by its transfer syntax (PS3.18 Table 8.7.3-5)."""

DEFAULT_SYNTAX = {
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/jls": f"{_JPEG}80",
    "image/jp2": f"{_JPEG}90",
    "image/jphc": f"{_JPEG}201",
}
"""Transfer syntax that a media type stands for by itself, of those that are made here."""

_OLD_NAMES = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls"}
_SEPARATE = re.compile(r'((?:[^,;"]|"(?:[^"\\]|\\.)*")*)([,;]|$)')
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+*-]+/[\w!#$&^.+*-]+")


class BadAccept(Malformed):
    """The Accept header cannot be understood."""


class NotAcceptable(Unsupported):
    """None of the media types asked for can be made of this resource."""


@dataclass(frozen=True, slots=True)
class Acceptable:
    """One media type a client takes.

    `media_type` is that of the parts when `multipart`; `transfer_syntax` is a UID, ``*``,
    or empty when none was named.
    """

    media_type: str
    multipart: bool
    transfer_syntax: str = ""
    quality: float = 1.0

    def takes(self, media_type: str) -> bool:
        """Tell whether `media_type` is meant, wildcards considered."""
        return self.media_type in {"*/*", media_type, f"{media_type.partition('/')[0]}/*"}


@dataclass(frozen=True, slots=True)
class FrameForm:
    """How frames are sent: in which transfer syntax, in parts or alone, under which media type."""

    syntax: str
    multipart: bool
    media_type: str


@dataclass(frozen=True, slots=True)
class FileForm:
    """How whole objects are sent: in parts or alone, and the syntaxes that are taken, best first."""

    multipart: bool
    syntaxes: tuple[str, ...]

    def of(self, stored: str, can: Callable[[str], bool]) -> str:
        """Return the syntax in which an object goes out that is stored in `stored`.

        A client that names no syntax gets it as it came, which departs from the default of
        PS3.18 section 8.7.3.2: an archive hands out what it was given, and a file states
        its own syntax.

        Parameters
        ----------
        can : callable
            Tells whether the object can be brought into another syntax; asked in turn.

        Raises
        ------
        NotAcceptable
            Only syntaxes that this object cannot be brought into.
        """
        for syntax in self.syntaxes:
            if syntax in {"", ANY, stored}:
                return stored
            if can(syntax):
                return syntax
        raise NotAcceptable


def acceptable(header: str) -> list[Acceptable]:
    """Read an Accept header, best first; an absent one takes everything.

    Values with a slash are also understood without the quotes they should have, because
    viewers leave them out.

    Raises
    ------
    BadAccept
        It is not a list of media types.
    """
    found: list[Acceptable] = []
    for media_type, parameters in _entries(header or "*/*"):
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise BadAccept
        quality = 1.0
        with contextlib.suppress(ValueError):
            quality = float(parameters.get("q", "1"))
        multipart = media_type == "multipart/related"
        inner = parameters.get("type", "*/*").lower() if multipart else media_type
        if len(found) == MOST_ENTRIES:
            raise BadAccept("the Accept header names too many media types")
        if quality > 0:
            syntax = parameters.get("transfer-syntax", "")
            found.append(Acceptable(_OLD_NAMES.get(inner, inner), multipart, syntax, quality))
    return sorted(found, key=lambda each: -each.quality)


def choose_json(accepted: Iterable[Acceptable]) -> str:
    """Return the media type for DICOM JSON: its own name, or plain JSON for who asks for that."""
    for each in accepted:
        if not each.multipart and each.takes(DICOM_JSON):
            return DICOM_JSON
        if not each.multipart and each.takes("application/json"):
            return "application/json"
    raise NotAcceptable


def choose_files(accepted: Iterable[Acceptable]) -> FileForm:
    """Tell how whole objects are sent.

    Raises
    ------
    NotAcceptable
        Another media type than ``application/dicom``.
    """
    fitting = [each for each in accepted if each.takes(DICOM)]
    if not fitting:
        raise NotAcceptable
    multipart = fitting[0].multipart or fitting[0].media_type != DICOM
    return FileForm(multipart, tuple(dict.fromkeys(each.transfer_syntax for each in fitting)))


def choose_frames(
    accepted: Iterable[Acceptable], stored: str, can: Callable[[str], bool], *, several: bool
) -> FrameForm:
    """Choose how frames go out whose syntax in the archive is `stored`.

    ``application/octet-stream`` without a transfer syntax is uncompressed, little endian
    (PS3.18 section 8.7.3.3.1). An image type without one means whatever of that type is
    stored, else the type's own default (Table 8.7.3-5). Several frames come as parts only.

    Parameters
    ----------
    stored : str
        Transfer syntax of the frames as they lie in the archive.
    can : callable
        Tells whether they can be brought into another syntax.

    Raises
    ------
    NotAcceptable
        Only forms that cannot be made of these frames.
    """
    for each in accepted:
        # A bare */* stands for the default, which is multipart (PS3.18 section 8.7.5).
        multipart = each.multipart or each.media_type == "*/*"
        if several and not multipart:
            continue
        syntax = _frame_syntax(each, stored)
        if syntax and (syntax == stored or can(syntax)):
            return FrameForm(syntax, multipart, _frame_media(each, syntax))
    raise NotAcceptable


def _frame_syntax(each: Acceptable, stored: str) -> str:
    """Return the syntax that one entry asks for, empty when it is none of a frame."""
    named = stored if each.transfer_syntax == ANY else each.transfer_syntax
    if each.takes(OCTETS):
        return named or EXPLICIT_LITTLE
    fitting = [syntax for syntax, media in COMPRESSED_MEDIA.items() if each.takes(media)]
    if named:
        return named if named in fitting else ""
    return stored if stored in fitting else DEFAULT_SYNTAX.get(each.media_type, "")


def _frame_media(each: Acceptable, syntax: str) -> str:
    if each.takes(OCTETS) and each.media_type != "*/*":
        return OCTETS
    return COMPRESSED_MEDIA.get(syntax, OCTETS)


def choose_octets(accepted: Iterable[Acceptable]) -> bool:
    """Tell whether plain bytes go out as a part (True) or alone (False)."""
    for each in accepted:
        if each.takes(OCTETS):
            return each.multipart or each.media_type == "*/*"
    raise NotAcceptable


def choose_picture(accepted: Iterable[Acceptable], *, several: bool = False) -> Literal["jpeg", "png"]:
    """Choose the format of rendered pictures; JPEG is the default (PS3.18 Table 8.7.4-1).

    Several pictures come in parts, whether or not the client names the parts' container.
    """
    for each in accepted:
        if each.multipart and not several:
            continue
        if each.takes("image/jpeg"):
            return "jpeg"
        if each.takes("image/png"):
            return "png"
    raise NotAcceptable


def _entries(header: str) -> Iterable[tuple[str, dict[str, str]]]:
    """Split a list of media types, commas and semicolons in quotes left alone."""
    entry: list[str] = []
    at = 0
    while at <= len(header):
        found = _SEPARATE.match(header, at)
        if found is None:
            raise BadAccept
        entry.append(found[1].strip())
        if found[2] != ";":
            if any(entry):
                yield entry[0].lower(), dict(map(_parameter, filter(None, entry[1:])))
            entry = []
        at = found.end() if found[2] else len(header) + 1


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    value = value.strip()
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return name.strip().lower(), value
