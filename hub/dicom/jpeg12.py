"""A decoder of 12-bit JPEG for pydicom, which no other plugin here reads.

The names below are those that `pydicom.pixels.decoders.base.Decoder.add_plugin` asks for.
"""

from typing import Any

from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("imagecodecs",)}


def is_available(uid: str) -> bool:
    """Tell pydicom which transfer syntax is decoded here."""
    return uid == JPEGExtended12Bit


def decode_frame(src: bytes, runner: Any) -> bytes:
    """Decode one frame of JPEG Extended, process 4, to unsigned shorts."""
    from imagecodecs import jpeg8_decode

    pixels = jpeg8_decode(src)
    runner.set_option("bits_allocated", pixels.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())
