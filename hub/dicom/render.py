"""Stored pixels made into a picture a browser shows.

The order is the standard's (PS3.4 annex N.2): modality transform, display window or
look-up table, then the polarity of the photometric interpretation. What is shown so
is for looking something up; reading is done in the viewer on the stored values.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hub.dicom.frames import Image, read_image
from hub.dicom.pixels import Array, Frame, Undecodable, decode_image
from hub.dicom.source import Readable
from hub.dicom.values import Values, open_stored
from hub.errors import Rejected

if TYPE_CHECKING:
    from PIL.Image import Image as PictureImage

DEFAULT_QUALITY = 90
MAX_VIEWPORT = 8192
"""Longest side of a picture that is asked for, in pixels."""

_SQUARE = 0.001
_MOST_OBLONG = 10.0
"""Pixels that are stated to be longer than that are taken for square."""
_AT_ONCE_PIXELS = 1 << 15
_SAMPLED_BEYOND = 1 << 20

_PIXEL_MEASURES = 0x00289110
_SHARED_GROUPS, _PER_FRAME_GROUPS = 0x52009229, 0x52009230
_FRAME_VOI_LUT, _PIXEL_VALUE_TRANSFORMATION = 0x00289132, 0x00289145
_SPREAD_PERCENT = (0.5, 99.5)
"""Share of pixels below black and below white when nobody says what to show."""


class BadWindow(Rejected):
    """The window's width must be positive (at least 1 for a linear window)."""


class BadViewport(Rejected):
    """The picture's size must be between 1 and 8192 pixels."""


@dataclass(frozen=True, slots=True)
class Region:
    """What of a picture is drawn, in pixels of the source (PS3.18 section 8.3.5.1.3).

    Attributes
    ----------
    left, top : float
        Its corner.
    width, height : float, optional
        Its size; up to the edge when not given, mirrored when negative.
    """

    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None

    def within(self, width: int, height: int) -> tuple[tuple[float, float, float, float], list[str]]:
        """Return left, top, right and bottom of what lies in a picture, and how it is mirrored.

        Raises
        ------
        BadViewport
            Less than a pixel of it does.
        """
        wide = width - self.left if self.width is None else self.width
        tall = height - self.top if self.height is None else self.height
        box = (
            max(0.0, self.left),
            max(0.0, self.top),
            min(float(width), self.left + abs(wide)),
            min(float(height), self.top + abs(tall)),
        )
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            raise BadViewport("the region lies outside the picture", width=width, height=height)
        return box, ["FLIP_LEFT_RIGHT"] * (wide < 0) + ["FLIP_TOP_BOTTOM"] * (tall < 0)


@dataclass(frozen=True, slots=True)
class Window:
    """Centre and width in units of the modality (PS3.3 section C.11.2.1.2)."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"


def render_frame(
    data: Readable,
    index: int,
    *,
    window: Window | None = None,
    size: tuple[int, int] | None = None,
    region: Region | None = None,
    image_format: Literal["jpeg", "png"] = "jpeg",
    quality: int = DEFAULT_QUALITY,
) -> bytes:
    """Draw one frame of a stored DICOM file.

    Parameters
    ----------
    data : bytes, path or seekable binary file
        The stored file.
    index : int
        From 0.
    window : Window, optional
        Used instead of the file's own; without either, from the spread of the values.
    size : tuple of int, optional
        Width and height that the picture fits into, its proportions kept; without it
        pixel by pixel, those that are not square stretched.
    region : Region, optional
        What of the picture is drawn; without it the whole.
    image_format : {'jpeg', 'png'}
    quality : int, default 90
        Of JPEG, 1 to 100.

    Raises
    ------
    BadWindow, BadViewport
        The request makes no sense.
    HubError
        Whatever `decode_frame` raises.
    """
    from PIL import Image as Picture

    if size is not None and not all(1 <= side <= MAX_VIEWPORT for side in size):
        raise BadViewport(width=size[0], height=size[1])
    with open_stored(data) as (values, transfer_syntax):
        image = read_image(values, transfer_syntax)
        picture = Picture.fromarray(display_values(image, decode_image(image, index), index, window))
        picture = fitted(picture, size, region or Region(), pixel_aspect(values, index))
    drawn = io.BytesIO()
    if image_format == "png":
        picture.save(drawn, "PNG", compress_level=1)
    else:
        picture.save(drawn, "JPEG", quality=max(1, min(100, quality)))
    return drawn.getvalue()


def fitted(
    picture: "PictureImage", size: tuple[int, int] | None, region: Region, aspect: float
) -> "PictureImage":
    """Cut, turn and scale a picture; `aspect` is the height of a pixel over its width.

    Raises
    ------
    BadViewport
        The region lies outside the picture.
    """
    from PIL import Image as Picture

    box, turns = region.within(picture.width, picture.height)
    width, height = box[2] - box[0], box[3] - box[1]
    # Pixels that are not square are stretched, never dropped.
    tall, wide = height * max(aspect, 1.0), width * max(1 / aspect, 1.0)
    scale = min(1.0, MAX_VIEWPORT / max(tall, wide))
    if size is not None:
        scale = min(size[0] / wide, size[1] / tall)
    target = (max(1, round(wide * scale)), max(1, round(tall * scale)))
    if target != picture.size or box != (0.0, 0.0, float(picture.width), float(picture.height)):
        smaller = target[0] < width or target[1] < height
        kind = Picture.Resampling.LANCZOS if smaller else Picture.Resampling.BICUBIC
        # Large pictures are averaged by a whole number first: three times faster, and pictures
        # that are scaled are looked at, not read.
        picture = picture.resize(target, kind, box=box, reducing_gap=1.2)
    for turn in turns:
        picture = picture.transpose(Picture.Transpose[turn])
    return picture


def pixel_aspect(values: Values, index: int) -> float:
    """Return the height of a pixel over its width; 1 where it is not stated, or beyond belief.

    Pixel Spacing, that of the detector, or Pixel Aspect Ratio (PS3.3 sections 10.7.1.1,
    C.8.11.3 and C.7.6.3.1.7): the first number is the distance between rows.
    """
    measures = _functional(values, _PIXEL_MEASURES, index) or values
    for source, tag in ((measures, 0x00280030), (values, 0x00181164), (values, 0x00280034)):
        numbers = source.numbers(tag)
        if len(numbers) == 2 and min(numbers) > 0:  # noqa: PLR2004 - between rows, between columns
            aspect = numbers[0] / numbers[1]
            if abs(aspect - 1) < _SQUARE:
                return 1.0
            return aspect if 1 / _MOST_OBLONG <= aspect <= _MOST_OBLONG else 1.0
    return 1.0


def display_values(image: Image, frame: Frame, index: int, window: Window | None = None) -> Array:
    """Return what to show of a decoded frame: uint8 of shape (rows, columns) or (…, 3)."""
    if frame.photometric == "PALETTE COLOR":
        return _palette(image.values, frame.pixels)
    if frame.pixels.ndim == 3:  # noqa: PLR2004 - colour
        return _to_bytes(frame.pixels, frame.bits_stored)
    inverse = image.size.photometric == "MONOCHROME1" or image.values.code(0x20500020) == "INVERSE"
    if frame.bits_stored == 1:
        shown = frame.pixels.astype(np.uint8) * 255
        return 255 - shown if inverse else shown
    if frame.pixels.dtype.itemsize > 2:  # noqa: PLR2004 - a table of all values would be too long
        shown = _grey(image, frame, index, window, frame.pixels)
        return 255 - shown if inverse else shown
    # What each value is shown as is worked out once, and not for millions of pixels.
    width = frame.pixels.dtype.itemsize
    every = np.arange(1 << 8 * width, dtype=f"u{width}").view(frame.pixels.dtype.newbyteorder("="))
    table = _grey(image, frame, index, window, every)
    return _looked_up(255 - table if inverse else table, frame.pixels)


def _looked_up(table: Array, pixels: Array) -> Array:
    """Apply a table of all values, a few rows at a time, so that what is used stays near the processor."""
    native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    indices = native.view(f"u{pixels.dtype.itemsize}")
    shown = np.empty(indices.shape, np.uint8)
    lines = max(1, _AT_ONCE_PIXELS // max(1, indices.shape[1]))
    places = np.empty((lines, indices.shape[1]), np.intp)
    for top in range(0, len(indices), lines):
        rows = indices[top : top + lines]
        places[: len(rows)] = rows
        # Every index is within the table; "wrap" only saves the look whether it is.
        np.take(table, places[: len(rows)], out=shown[top : top + lines], mode="wrap")
    return shown


def _grey(image: Image, frame: Frame, index: int, window: Window | None, stored: Array) -> Array:
    """Return what stored values are shown as; `frame` gives the window when nobody else does."""
    chosen = window or _stated_window(image, index)
    if chosen is None:
        voi = image.values.first(0x00283010)
        looked_up = _look_up(voi, modality_values(image, stored, index)) if voi is not None else None
        if looked_up is not None:
            return looked_up
        chosen = _spread_window(image, frame, index)
    return apply_window(modality_values(image, stored, index), chosen)


def modality_values(image: Image, pixels: Array, index: int) -> Array:
    """Apply the modality transform: rescale, or its table (PS3.3 section C.11.1)."""
    table = image.values.first(0x00283000)
    if table is not None:
        descriptor, entries = _table(table)
        if entries is not None:
            return np.asarray(entries[_table_index(pixels, descriptor, len(entries))].astype(np.float64))
    rescale = _functional(image.values, _PIXEL_VALUE_TRANSFORMATION, index) or image.values
    slope, intercept = (rescale.numbers(0x00281053) or [1.0])[0], (rescale.numbers(0x00281052) or [0.0])[0]
    return pixels.astype(np.float64) * (slope or 1.0) + intercept


def apply_window(values: Array, window: Window) -> Array:
    """Map values to 0 to 255 (PS3.3 sections C.11.2.1.2.1 and C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function == "LINEAR":
        if width < 1:
            raise BadWindow
        if width == 1:
            return np.where(values > center - 0.5, 255, 0).astype(np.uint8)
        shares = (values - (center - 0.5)) / (width - 1) + 0.5
    elif width <= 0:
        raise BadWindow
    elif window.function == "SIGMOID":
        shares = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    else:
        shares = (values - center) / width + 0.5
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _functional(values: Values, macro: int, index: int) -> Values | None:
    """Return the item of a functional group, the frame's own or the shared one (PS3.3 C.7.6.16)."""
    per_frame = values.item(_PER_FRAME_GROUPS, index)
    own = per_frame.first(macro) if per_frame else None
    return own or values.first(_SHARED_GROUPS, macro)


def _stated_window(image: Image, index: int) -> Window | None:
    stated = _functional(image.values, _FRAME_VOI_LUT, index) or image.values
    centers, widths = stated.numbers(0x00281050), stated.numbers(0x00281051)
    if not centers or not widths:
        return None
    function = stated.code(0x00281056).upper()
    if function in {"LINEAR_EXACT", "SIGMOID"} and widths[0] > 0:
        return Window(centers[0], widths[0], "SIGMOID" if function == "SIGMOID" else "LINEAR_EXACT")
    return Window(centers[0], widths[0]) if widths[0] >= 1 else None


def _spread_window(image: Image, frame: Frame, index: int) -> Window:
    """Choose a window from the values: all of them for bytes, else without the extremes."""
    # Of large pictures every third pixel of every third row is plenty.
    step = 3 if frame.pixels.size > _SAMPLED_BEYOND else 1
    stored = frame.pixels[::step, ::step]
    pixels = modality_values(image, stored, index)
    if frame.bits_stored <= 8 and not image.floating:  # noqa: PLR2004 - bytes
        low, high = float(pixels.min()), float(pixels.max())
        if not image.signed and 0 <= low <= high <= 255:  # noqa: PLR2004 - bytes
            low, high = 0.0, 255.0
    else:
        shown = pixels[np.isfinite(pixels) & (stored != _padding(image))]
        low, high = (
            (float(share) for share in np.percentile(shown, _SPREAD_PERCENT)) if shown.size else (0.0, 1.0)
        )
    return Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")


def _padding(image: Image) -> float:
    """Return the stored value of pixels outside the picture; nan, equal to nothing, when there is none."""
    raw = image.values.raw(0x00280120, 2)
    if len(raw) < 2:  # noqa: PLR2004 - a short
        return float("nan")
    return float(
        int.from_bytes(raw, "little" if image.values.encoding.little else "big", signed=image.signed)
    )


def _look_up(table: Values, pixels: Array) -> Array | None:
    """Apply a VOI table; its own values are scaled to 0 to 255 (PS3.3 section C.11.2.1.1)."""
    descriptor, entries = _table(table)
    if entries is None:
        return None
    shown = entries[_table_index(pixels, descriptor, len(entries))].astype(np.float64)
    highest = float((1 << min(max(int(descriptor[2]), 8), 16)) - 1)
    return np.rint(np.clip(shown / highest, 0, 1) * 255).astype(np.uint8)


def _table(table: Values) -> tuple[list[int], Array | None]:
    """Return the descriptor (entries, first value, bits) and the entries of a LUT."""
    descriptor = [int(number) for number in table.shorts(0x00283002, 6)]
    entries: Array = table.shorts(0x00283006)
    if len(descriptor) != 3 or not len(entries):  # noqa: PLR2004 - three numbers
        return [0, 0, 0], None
    first = table.elements[0x00283002]
    if first.vr == "SS" and descriptor[1] > 0x7FFF:  # noqa: PLR2004 - negative
        descriptor[1] -= 0x10000
    if len(entries) < (descriptor[0] or 0x10000) and descriptor[2] <= 8:  # noqa: PLR2004 - bytes in words
        entries = np.frombuffer(table.raw(0x00283006, 0x10000), np.uint8).astype(np.uint16)
    return descriptor, entries


def _table_index(pixels: Array, descriptor: list[int], entries: int) -> Array:
    first = descriptor[1]
    if first > 0x7FFF and pixels.min() < 0:  # noqa: PLR2004 - a negative number written as unsigned
        first -= 0x10000
    return np.clip(np.rint(pixels).astype(np.int64) - first, 0, entries - 1)


def _palette(values: Values, pixels: Array) -> Array:
    """Look colours up, segmented tables included (PS3.3 section C.7.9)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.uid import ExplicitVRLittleEndian

    tables = Dataset()
    tables.file_meta = FileMetaDataset()
    tables.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for color in range(3):
        descriptor = [int(number) for number in values.shorts(0x00281101 + color, 6)]
        tables.add_new(0x00281101 + color, "US", descriptor)
        for tag in (0x00281201 + color, 0x00281221 + color):
            raw = values.shorts(tag).astype("<u2").tobytes()
            if raw:
                tables.add_new(tag, "OW", raw)
    try:
        colored = apply_color_lut(pixels, tables)
    except Exception as error:
        raise Undecodable(error=type(error).__name__) from error
    return _to_bytes(colored[..., :3], 8 * colored.itemsize)


def _to_bytes(pixels: Array, bits: int) -> Array:
    if bits == 8 or pixels.dtype == np.uint8:  # noqa: PLR2004 - as it is
        return pixels.astype(np.uint8)
    return (pixels.astype(np.float64) * (255.0 / ((1 << bits) - 1))).round().clip(0, 255).astype(np.uint8)
