"""Stored pixels made into a picture a browser shows.

The order is the standard's (PS3.4 annex N.2): modality transform, display window or
look-up table, then the polarity of the photometric interpretation. What is shown so
is for looking something up; reading is done in the viewer on the stored values.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hub.dicom.frames import Image, read_image
from hub.dicom.pixels import Array, Frame, Undecodable, decode_image
from hub.dicom.source import Readable
from hub.dicom.values import Values, open_stored
from hub.errors import Rejected

DEFAULT_QUALITY = 90
MAX_VIEWPORT = 8192
"""Longest side of a picture that is asked for, in pixels."""

_SHARED_GROUPS, _PER_FRAME_GROUPS = 0x52009229, 0x52009230
_FRAME_VOI_LUT, _PIXEL_VALUE_TRANSFORMATION = 0x00289132, 0x00289145
_SPREAD_PERCENT = (0.5, 99.5)
"""Share of pixels below black and below white when nobody says what to show."""


class BadWindow(Rejected):
    """The window's width must be positive (at least 1 for a linear window)."""


class BadViewport(Rejected):
    """The picture's size must be between 1 and 8192 pixels."""


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
        Width and height of the viewport; the picture fits into it, its proportions kept.
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
        grey_or_rgb = display_values(image, decode_image(image, index), index, window)
    picture = Picture.fromarray(grey_or_rgb)
    if size is not None:
        scale = min(size[0] / picture.width, size[1] / picture.height)
        fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(
            fitted, Picture.Resampling.LANCZOS if scale < 1 else Picture.Resampling.BICUBIC
        )
    drawn = io.BytesIO()
    if image_format == "png":
        picture.save(drawn, "PNG", compress_level=1)
    else:
        picture.save(drawn, "JPEG", quality=max(1, min(100, quality)))
    return drawn.getvalue()


def display_values(image: Image, frame: Frame, index: int, window: Window | None = None) -> Array:
    """Return what to show of a decoded frame: uint8 of shape (rows, columns) or (…, 3)."""
    if frame.photometric == "PALETTE COLOR":
        return _palette(image.values, frame.pixels)
    if frame.pixels.ndim == 3:  # noqa: PLR2004 - colour
        return _to_bytes(frame.pixels, frame.bits_stored)
    if frame.bits_stored == 1:
        shown = frame.pixels.astype(np.uint8) * 255
    else:
        shown = _grey(image, frame, index, window)
    inverse = image.size.photometric == "MONOCHROME1" or image.values.code(0x20500020) == "INVERSE"
    return 255 - shown if inverse else shown


def _grey(image: Image, frame: Frame, index: int, window: Window | None) -> Array:
    pixels = modality_values(image, frame.pixels, index)
    chosen = window or _stated_window(image, index)
    if chosen is None:
        table = image.values.first(0x00283010)
        if table is not None:
            looked_up = _look_up(table, pixels)
            if looked_up is not None:
                return looked_up
        chosen = _spread_window(image, frame, pixels)
    return apply_window(pixels, chosen)


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


def _spread_window(image: Image, frame: Frame, pixels: Array) -> Window:
    """Choose a window from the values: all of them for bytes, else without the extremes."""
    if frame.bits_stored <= 8 and not image.floating:  # noqa: PLR2004 - bytes
        low, high = float(pixels.min()), float(pixels.max())
        if not image.signed and 0 <= low <= high <= 255:  # noqa: PLR2004 - bytes
            low, high = 0.0, 255.0
    else:
        shown = pixels[np.isfinite(pixels) & (frame.pixels != _padding(image))]
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
