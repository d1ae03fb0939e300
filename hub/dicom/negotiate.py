"""Which representation a DICOMweb client asks for (PS3.18 section 8.7, RFC 9110 section 12.5.1)."""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hub.errors import Malformed, Unsupported

OCTETS = "application/octet-stream"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
ANY = "*"

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
    """How frames are sent: as stored or decoded, in parts or alone."""

    stored: bool
    multipart: bool
    media_type: str


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


def choose_instances(accepted: Iterable[Acceptable], stored: frozenset[str]) -> bool:
    """Tell whether instances go out as parts (True) or as the one file alone (False).

    Instances are sent in the syntax in which they came, never another: a client that
    names syntaxes must name theirs. One that names none gets them too, which departs
    from the default of PS3.18 section 8.7.3.2; a file states its own syntax.

    Raises
    ------
    NotAcceptable
        Another media type, or only other syntaxes.
    """
    fitting = [each for each in accepted if each.takes(DICOM)]
    named = {each.transfer_syntax for each in fitting}
    if not fitting or not (named & {"", ANY} or stored <= named):
        raise NotAcceptable
    return fitting[0].multipart or fitting[0].media_type != DICOM


def choose_frames(accepted: Iterable[Acceptable], stored: str, *, several: bool = False) -> FrameForm:
    """Choose how to send frames whose stored form has the transfer syntax `stored`.

    Without a transfer syntax the default is uncompressed, little endian (PS3.18 section
    8.7.3.3.1). An image type without one means whatever of that type is stored. Several
    frames come as parts only.

    Raises
    ------
    NotAcceptable
        Only forms that would have to be compressed anew.
    """
    own = COMPRESSED_MEDIA.get(stored, OCTETS)
    for each in accepted:
        syntax = each.transfer_syntax
        # A bare */* stands for the default, which is multipart (PS3.18 section 8.7.5).
        multipart = each.multipart or each.media_type == "*/*"
        if several and not multipart:
            continue
        if each.takes(OCTETS):
            if syntax in {ANY, stored}:
                media_type = own if each.media_type == "*/*" else OCTETS
                return FrameForm(stored=True, multipart=multipart, media_type=media_type)
            if syntax in {"", EXPLICIT_LITTLE}:
                return FrameForm(stored=stored == EXPLICIT_LITTLE, multipart=multipart, media_type=OCTETS)
        elif own != OCTETS and each.takes(own) and syntax in {"", ANY, stored}:
            return FrameForm(stored=True, multipart=each.multipart, media_type=own)
    raise NotAcceptable


def choose_octets(accepted: Iterable[Acceptable]) -> bool:
    """Tell whether plain bytes go out as a part (True) or alone (False)."""
    for each in accepted:
        if each.takes(OCTETS):
            return each.multipart or each.media_type == "*/*"
    raise NotAcceptable


def choose_picture(accepted: Iterable[Acceptable]) -> Literal["jpeg", "png"]:
    """Choose the format of a rendered picture; JPEG is the default (PS3.18 Table 8.7.4-1)."""
    for each in accepted:
        if not each.multipart and each.takes("image/jpeg"):
            return "jpeg"
        if not each.multipart and each.takes("image/png"):
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
