"""Time-stamped annotations of EDF+ and BDF+: when each data record begins, and what was remarked."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hub.ecg.errors import RecordingTooLarge
from hub.kit.text import decode_text

LABELS = frozenset({"EDF Annotations", "BDF Annotations"})
MAX_RECORDS = 200_000
"""Data records with annotations that are read: more than two days of one-second records."""
_MAX_STATEMENTS = 500
_MAX_TEXT = 1024
_MAX_TEXTS_LOOKED_AT = 20_000
_MAX_BYTES_LOOKED_AT = 2_000_000
_TAL = re.compile(rb"([+-]\d{1,12}(?:\.\d{0,12})?)(?:\x15\d*\.?\d*)?\x14([^\x00]*)")


@dataclass(frozen=True, slots=True)
class Annotations:
    """What the annotation signals of a file say.

    Attributes
    ----------
    onsets : tuple of float or None
        Beginning of each data record in seconds after the header's start; None where the record
        does not say.
    texts : tuple of str
        ``"12.5 s: text"``, in seconds after the header's start.
    """

    onsets: tuple[float | None, ...]
    texts: tuple[str, ...]


def read_annotations(blocks: Iterable[bytes], n_records: int, override: str | None) -> Annotations:
    """Read the annotation signals (EDF+ 2.2).

    Parameters
    ----------
    blocks : iterable of bytes
        The annotation signals' bytes of each data record, the first signal first.
    n_records : int
        How many there are.
    override : str, optional
        Character set of the texts where they are not UTF-8.

    Raises
    ------
    RecordingTooLarge
        There are more than `MAX_RECORDS`.
    """
    if n_records > MAX_RECORDS:
        raise RecordingTooLarge(limit="annotated records", declared=n_records)
    onsets: list[float | None] = []
    texts: dict[str, None] = {}
    looked_at = 0
    bytes_left = _MAX_BYTES_LOOKED_AT
    for block in blocks:
        found = _TAL.match(block)
        keeps_time = found is not None and (not found[2] or found[2].startswith(b"\x14"))
        onsets.append(float(found[1]) if found is not None and keeps_time else None)
        if found is not None and not found[2].strip(b"\x14") and not block[found.end() :].strip(b"\0"):
            continue
        for onset, text in _remarks(block[:bytes_left]):
            looked_at += 1
            if len(texts) >= _MAX_STATEMENTS or looked_at > _MAX_TEXTS_LOOKED_AT:
                bytes_left = 0
                break
            texts[f"{_seconds(onset)} s: {_decoded(text, override)}"] = None
        bytes_left = max(0, bytes_left - len(block))
    return Annotations(tuple(onsets), tuple(texts))


def _remarks(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield onset and text of each remark."""
    for found in _TAL.finditer(block):
        for text in found[2].split(b"\x14"):
            if text:
                yield found[1], text


def _seconds(onset: bytes) -> str:
    return f"{float(onset):g}"


def _decoded(text: bytes, override: str | None) -> str:
    try:
        return text[:_MAX_TEXT].decode()
    except UnicodeDecodeError:
        return decode_text(text[:_MAX_TEXT], "", override).text
