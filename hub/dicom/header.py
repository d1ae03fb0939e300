"""What the catalogue needs to know of an object, read from a copy of its bytes.

Tolerant towards values (a wrong date is no date), strict towards identity and size:
an object that cannot be filed or whose pixels cannot be there is refused by name,
so that the caller can put it into quarantine with the reason.
"""

import contextlib
import struct
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache

from hub.dicom.elements import (
    DOUBLE_PIXEL_DATA,
    EXPLICIT_LITTLE,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    Element,
    Encoding,
    items,
)
from hub.dicom.part10 import layout
from hub.dicom.source import NotHereYet, Readable, Source
from hub.dicom.values import MAX_VALUE_BYTES, Values, open_dataset
from hub.errors import HubError, Rejected, TooLarge
from hub.kit.text import DecodedText, PersonName, decode_text, person_name
from hub.kit.uids import BadUid, parse_uid

MAX_FRAME_BYTES = 512 * 1024 * 1024
"""Decoded size of one frame beyond which an image is refused (a 60-megapixel film has 120 MB)."""

MAX_SAMPLES = 4
"""CMYK of old; everything else has 1 or 3 samples a pixel."""


class UidMissing(Rejected):
    """The SOP Instance, Study or Series Instance UID is missing or is no UID."""


class PixelsMissing(Rejected):
    """The image states more pixels than its bytes can hold."""


class PixelsImpossible(Rejected):
    """The image states dimensions that no picture has."""


class PixelsTooLarge(TooLarge):
    """The image would take more memory than is allowed for one frame."""


@dataclass(frozen=True, slots=True)
class HeaderPatient:
    """The patient as the device wrote it."""

    local_id: str
    issuer: str
    name: PersonName
    name_raw: bytes
    """Patient Name as received, undecoded."""
    sex: str
    """M, F, O or empty."""
    birth_date: str
    """YYYYMMDD or empty."""
    age: str
    """As sent, such as 045Y; empty when absent."""


@dataclass(frozen=True, slots=True)
class HeaderPixels:
    """The Image Pixel facts of an object that has pixel data (PS3.3 section C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits: int
    photometric: str
    expected_bytes: int
    """Size of all frames when not compressed."""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """One object's identity and description, for the catalogue and the worklist.

    Numbers are None and texts empty where the object says nothing usable.
    """

    sop_uid: str
    sop_class: str
    transfer_syntax: str
    study_uid: str
    series_uid: str
    patient: HeaderPatient
    accession: str
    referring: PersonName
    study_id: str
    study_date: str
    study_time: str
    study_description: DecodedText
    modality: str
    series_number: int | None
    series_description: DecodedText
    body_part: str
    laterality: str
    view: str
    instance_number: int | None
    acquired_date: str
    acquired_time: str
    performed_date: str
    performed_time: str
    step_id: str
    """Scheduled Procedure Step ID of the first item of Request Attributes."""
    procedure_id: str
    """Requested Procedure ID of the same item."""
    station: DecodedText
    institution: DecodedText
    manufacturer: DecodedText
    model: DecodedText
    charset: str
    """Specific Character Set as sent, ``\\`` between several values."""
    pixels: HeaderPixels | None
    """None for an object without pixel data."""

    @property
    def frames(self) -> int:
        """Number of frames; 0 without pixel data."""
        return self.pixels.frames if self.pixels else 0


def read_header(
    data: Readable,
    transfer_syntax: str,
    charset_override: str | None = None,
    *,
    sop_class: str = "",
    start: int = 0,
) -> InstanceHeader:
    """Read everything the catalogue needs of one data set.

    Parameters
    ----------
    data : bytes, path or seekable binary file
        The data set alone, without the file header. It is only read.
    transfer_syntax : str
        The UID under which it was sent.
    charset_override : str, optional
        The charset this device is known to use, whatever it declares.
    sop_class : str, optional
        From the association or the file header; used when the data set has none.
    start : int
        Where the data set begins in `data`, in bytes.

    Raises
    ------
    UidMissing
        It cannot be filed: no usable SOP Instance, Study or Series Instance UID.
    PixelsMissing, PixelsImpossible, PixelsTooLarge
        It states an image that its bytes cannot be.
    InflatesTooLarge, BrokenDeflate
        A deflated data set that is a bomb or broken.
    BrokenDataset
        The elements do not fit together, for instance when it is cut off.
    """
    with open_dataset(data, transfer_syntax, start) as values:
        reader = _Reader(values, charset_override)
        return reader.header(transfer_syntax, sop_class, check_pixels(values))


def read_beginning(
    first: bytes,
    transfer_syntax: str,
    charset_override: str | None = None,
    *,
    sop_class: str = "",
    start: int = 0,
) -> tuple[Values, InstanceHeader] | None:
    """Read the header of an image from the first bytes of its data set, as far as that can be done.

    It is the one that `read_header` gives, once `check_bytes` has held the image against all
    the bytes. None when it takes more than is here: an object without pixels, one whose header
    is longer, a deflated one, or one that cannot be filed. Then `read_header` answers in the end.

    Parameters
    ----------
    first : bytes
        What came first, from the first byte of the data set on.
    transfer_syntax, charset_override, sop_class, start
        As `read_header`.
    """
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None
    source = Source.arriving(first, start)
    try:
        encoding = layout(transfer_syntax, source.read(start, 12))
        values = Values(source, start, source.size, encoding)
        element = values.pixel_element
        if element is None:
            return None
        reader = _Reader(values, charset_override)
        return values, reader.header(transfer_syntax, sop_class, stated_pixels(values, element))
    except (NotHereYet, HubError):
        return None


@cache
def tags_read() -> frozenset[int]:
    """Return the tags that a header is made of: found by making one, so that none is forgotten."""
    uids = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
    shorts = {0x00280010: 1, 0x00280011: 1, 0x00280100: 8}
    raw = b"".join(
        (
            *(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", 4) + b"1.2\0" for tag in uids),
            *(struct.pack("<HH2sHH", t >> 16, t & 0xFFFF, b"US", 2, value) for t, value in shorts.items()),
            struct.pack("<HH2sHLH", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", 0, 2, 0),
        )
    )
    values = _Asked(Source(memoryview(raw)), 0, len(raw), EXPLICIT_LITTLE)
    _Reader(values, None).header("", "", check_pixels(values))
    return frozenset(values.asked)


class _Asked(Values):
    """Values that remember which of them were asked for."""

    def __init__(self, source: Source, start: int, end: int, encoding: Encoding) -> None:
        super().__init__(source, start, end, encoding)
        self.asked: set[int] = set()

    def raw(self, tag: int, limit: int = MAX_VALUE_BYTES) -> bytes:
        self.asked.add(tag)
        return super().raw(tag, limit)

    def item(self, tag: int, index: int) -> Values | None:
        self.asked.add(tag)
        return super().item(tag, index)


class _Reader:
    """What the header takes from the values of one data set."""

    def __init__(self, values: Values, override: str | None) -> None:
        self._values = values
        self._override = override
        self._charset = "\\".join(values.codes(0x00080005))

    def header(
        self, transfer_syntax: str, sop_class: str, pixels: HeaderPixels | None = None
    ) -> InstanceHeader:
        code = self._values.code
        name_raw = self._values.raw(0x00100010)
        request = self._values.item(0x00400275, 0)
        return InstanceHeader(
            sop_uid=self._uid(0x00080018),
            sop_class=_tolerant_uid(code(0x00080016) or sop_class),
            transfer_syntax=transfer_syntax,
            study_uid=self._uid(0x0020000D),
            series_uid=self._uid(0x0020000E),
            patient=HeaderPatient(
                local_id=self._text(0x00100020).text,
                issuer=self._text(0x00100021).text,
                name=_named(name_raw, self._charset, self._override),
                name_raw=name_raw,
                sex=_sex(self._text(0x00100040).text),
                birth_date=_date(code(0x00100030)),
                age=code(0x00101010),
            ),
            accession=self._text(0x00080050).text,
            referring=_named(self._values.raw(0x00080090), self._charset, self._override),
            study_id=self._text(0x00200010).text,
            study_date=_date(code(0x00080020)),
            study_time=_time(code(0x00080030)),
            study_description=self._text(0x00081030),
            modality=code(0x00080060).upper()[:16],
            series_number=self._values.number(0x00200011),
            series_description=self._text(0x0008103E),
            body_part=self._text(0x00180015).text,
            laterality=(code(0x00200062) or code(0x00200060)).upper()[:1],
            view=code(0x00185101).upper(),
            instance_number=self._values.number(0x00200013),
            acquired_date=_date(code(0x00080022) or code(0x00080023)),
            acquired_time=_time(code(0x00080032) or code(0x00080033)),
            performed_date=_date(code(0x00400244)),
            performed_time=_time(code(0x00400245)),
            step_id=self._text(0x00400009, request).text if request else "",
            procedure_id=self._text(0x00401001, request).text if request else "",
            station=self._text(0x00081010),
            institution=self._text(0x00080080),
            manufacturer=self._text(0x00080070),
            model=self._text(0x00081090),
            charset=self._charset,
            pixels=pixels,
        )

    def _text(self, tag: int, values: Values | None = None) -> DecodedText:
        return _decoded((values or self._values).raw(tag), self._charset, self._override)

    def _uid(self, tag: int) -> str:
        try:
            return parse_uid(self._values.code(tag))
        except BadUid as error:
            raise UidMissing(tag=f"{tag:08X}") from error


# The objects of one series say most things alike.
_decoded = lru_cache(maxsize=1024)(decode_text)
_named = lru_cache(maxsize=256)(person_name)


def check_pixels(values: Values) -> HeaderPixels | None:
    """Return the size of an image, once it is known that its bytes can be that image.

    Raises
    ------
    PixelsMissing, PixelsImpossible, PixelsTooLarge
        They cannot.
    """
    element = values.pixel_element
    if element is None:
        if values.short(0x00280010) and values.short(0x00280011):
            raise PixelsMissing(expected=1, found=0)
        return None
    pixels = stated_pixels(values, element)
    check_bytes(values.source, element, pixels)
    return pixels


def stated_pixels(values: Values, element: Element) -> HeaderPixels:
    """Return the size of an image as it is stated, whose pixels are in `element`.

    Raises
    ------
    PixelsImpossible, PixelsTooLarge
        No image is like this.
    """
    bits = {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}.get(element.tag) or values.short(0x00280100)
    photometric = values.code(0x00280004).upper()
    rows, columns, samples = values.short(0x00280010), values.short(0x00280011), values.short(0x00280002) or 1
    frames = values.number(0x00280008)
    frames = 1 if frames is None else frames
    if min(rows, columns, bits, frames) <= 0 or bits not in {1, 8, 16, 32, 64} or samples > MAX_SAMPLES:
        raise PixelsImpossible(rows=rows, columns=columns, frames=frames, bits=bits, samples=samples)
    subsampled = photometric == "YBR_FULL_422" and not element.undefined
    frame_bits = rows * columns * bits * (2 if subsampled else samples)
    if frame_bits > MAX_FRAME_BYTES * 8:
        raise PixelsTooLarge(rows=rows, columns=columns, bits=bits, samples=samples)
    return HeaderPixels(
        rows, columns, frames, samples, bits, photometric, expected_bytes=(frame_bits * frames + 7) // 8
    )


def check_bytes(source: Source, element: Element, pixels: HeaderPixels) -> None:
    """Refuse an image that is cut off, or whose frames cannot be in its bytes.

    Raises
    ------
    PixelsMissing, BrokenDataset
        It is not as it is stated.
    """
    available, expected, frames = source.size - element.offset, pixels.expected_bytes, pixels.frames
    if not element.undefined:
        if element.length > available:
            raise PixelsMissing(expected=element.length, found=available)
        if element.length < expected:
            raise PixelsMissing(expected=expected, found=element.length)
        return
    # The first item is the offset table; one stream (video) may hold all frames.
    fragments, found = -1, 0
    for item in items(source, element, source.size):
        fragments += 1
        found += item.end - item.start if fragments else 0
    if found < frames:
        raise PixelsMissing(frames=frames, found=max(0, fragments))


@lru_cache(maxsize=256)
def _tolerant_uid(text: str) -> str:
    with contextlib.suppress(BadUid):
        return parse_uid(text)
    return ""


@lru_cache(maxsize=256)
def _date(text: str) -> str:
    """Return YYYYMMDD for a date that exists, also from the older YYYY.MM.DD."""
    digits = text.replace(".", "").replace("-", "").replace("/", "")[:8]
    with contextlib.suppress(ValueError):
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).strftime("%Y%m%d")
    return ""


@lru_cache(maxsize=256)
def _time(text: str) -> str:
    """Return HHMMSS for a time of day, padded with zeros; empty when there is none."""
    digits = text.replace(":", "").split(".", 1)[0]
    if not digits.isascii() or not digits.isdigit() or len(digits) not in {2, 4, 6}:
        return ""
    digits = digits.ljust(6, "0")
    within = int(digits[:2]) < 24 and int(digits[2:4]) < 60 and int(digits[4:]) <= 60  # noqa: PLR2004 - a clock
    return digits if within else ""


def _sex(text: str) -> str:
    first = text.strip()[:1].upper()
    return {"M": "M", "F": "F", "O": "O", "男": "M", "女": "F"}.get(first, "")
