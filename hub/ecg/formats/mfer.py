"""MFER recordings (ISO 22077-1, -2): frames of sequences of blocks, channel after channel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.channels import is_other_signal, lead_of_label
from hub.ecg.formats.mfer_tags import Frame, Number, Tag, looks_like_mfer, read_definitions
from hub.ecg.formats.mfer_text import TextReader, device_of, filters_of, patient_of, start_of, statements_of
from hub.ecg.leads import lead_from_code, unique_names
from hub.ecg.limits import MAX_LEADS, check_size
from hub.ecg.waveform import Part, Waveform
from hub.errors import Malformed

matches = looks_like_mfer

_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 4: "u2", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_STATUS_TYPE = 4
_STATUS_LEAD = 4160
_VOLT = 0
_HERTZ, _SECOND = 0, 1
_DOMINANT_BEAT = 9
_ECG_FORMS = frozenset({0, *range(1, 10), 20, 21})
"""Kinds of waveform that are ECGs, or monitoring that may hold one; 0 is a form not stated further."""
_FREE_VALUES = 8_000_000
_VALUES_PER_BYTE = 8
"""A file may state so many values, gaps included, for each of its bytes; and the former in any case."""
_MOST_PARTS = 64


@dataclass(frozen=True, eq=False)
class _Piece:
    """The ECG channels of one frame."""

    names: tuple[str, ...]
    rate_hz: float
    lsb_mv: tuple[float, ...]
    samples_mv: NDArray[np.float64]
    form: int
    pointer: int | None
    left_out: bool

    def continues(self, other: "_Piece") -> bool:
        """Say whether this piece goes on with the channels of another."""
        mine = (self.names, self.rate_hz, self.lsb_mv, self.form)
        return mine == (other.names, other.rate_hz, other.lsb_mv, other.form)


def read_mfer(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read the ECG of an MFER file.

    Parameters
    ----------
    data : bytes
        The file.
    charset_override : str, optional
        Character set of its texts, where it is known of the device.

    Returns
    -------
    Waveform
        ``samples_mv = (stored + offset) * sensitivity`` turned to millivolts; the file's value for
        "no data" is NaN. Frames with the same definitions are laid end to end, or as far apart as
        their pointers say (NaN, warning ``gaps``); a dominant beat and frames with other
        definitions are `parts`. Events, values and notes become ``device_statements``.

    Raises
    ------
    UnitsMissing
        A channel states no sensitivity in volts.
    RateMissing
        No sampling interval. The standard assumes 1 kHz; a guessed rate gives a wrong heart rate.
    FormatFeature
        AHA or other compression, or channels of different rates.
    NoLeads, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    found = read_definitions(data)
    pieces = [piece for frame in found.frames if (piece := _piece(frame)) is not None]
    rhythm = [piece for piece in pieces if piece.form != _DOMINANT_BEAT]
    if not rhythm:
        raise NoLeads("the MFER file holds no rhythm")
    run = 1
    while run < len(rhythm) and rhythm[run].continues(rhythm[0]):
        run += 1
    warnings: list[str] = []
    samples = _joined(rhythm[:run], len(data), warnings)
    if len(pieces) < len(found.frames) or any(piece.left_out for piece in pieces):
        warnings.append("channels_not_ecg")
    if any(
        Tag.SKW in channel and channel[Tag.SKW].unsigned() for f in found.frames for channel in f.channels
    ):
        warnings.append("channel_skew")
    leads, renamed = unique_names(list(rhythm[0].names))
    if renamed:
        warnings.append("lead_repeated")
    reader = TextReader(found, charset_override)
    moment = start_of(found)
    return Waveform(
        samples_mv=samples,
        rate_hz=rhythm[0].rate_hz,
        leads=leads,
        format="mfer",
        started_at=moment,
        started_at_source="MFER measurement time" if moment else "",
        lsb_mv=rhythm[0].lsb_mv,
        filters=filters_of(found, reader),
        device=device_of(found, reader),
        device_statements=statements_of(found, reader, rhythm[0].rate_hz),
        patient=patient_of(found, reader),
        parts=tuple(_part(piece) for piece in pieces if piece not in rhythm[:run])[:_MOST_PARTS],
        warnings=tuple(warnings),
    )


def _part(piece: _Piece) -> Part:
    median = piece.form == _DOMINANT_BEAT
    leads, _ = unique_names(list(piece.names))
    return Part(
        "median" if median else "rhythm",
        "dominant beat" if median else "further frame",
        piece.samples_mv,
        piece.rate_hz,
        leads,
    )


def _joined(pieces: Sequence[_Piece], n_bytes: int, warnings: list[str]) -> NDArray[np.float64]:
    """Lay pieces end to end, with NaN where a pointer is ahead of the end of the piece before."""
    firsts, after = [], 0
    begins = pieces[0].pointer or 0
    for piece in pieces:
        first = after if piece.pointer is None else piece.pointer - begins
        if first < after:
            raise Malformed("MFER frames overlap in time")
        firsts.append(first)
        after = first + len(piece.samples_mv)
    n_leads = len(pieces[0].names)
    check_size(after, n_leads, pieces[0].rate_hz)
    if len(pieces) == 1:
        return pieces[0].samples_mv
    if after * n_leads > _FREE_VALUES + _VALUES_PER_BYTE * n_bytes:
        raise RecordingTooLarge(limit="gaps", declared=after * n_leads)
    samples = np.full((after, n_leads), np.nan)
    for first, piece in zip(firsts, pieces, strict=True):
        samples[first : first + len(piece.samples_mv)] = piece.samples_mv
    if after > sum(len(piece.samples_mv) for piece in pieces):
        warnings.append("gaps")
    return samples


def _piece(frame: Frame) -> _Piece | None:
    """Decode the ECG channels of a frame, or nothing when it holds none."""
    if len(frame.channels) > MAX_LEADS:
        raise RecordingTooLarge(limit="leads", declared=len(frame.channels))
    form = _form(frame.channels[0])
    if form not in _ECG_FORMS:
        return None
    names = [_name(channel, n) for n, channel in enumerate(frame.channels)]
    chosen = [n for n, channel in enumerate(frame.channels) if _is_ecg(channel, names[n])]
    if not chosen:
        return None
    scales = [_lsb_mv(frame.channels[n], n) for n in chosen]
    rates = {_rate(frame.channels[n]) for n in chosen}
    blocks = {_count(frame.channels[n], Tag.BLK) for n in chosen}
    if len(rates) > 1 or len(blocks) > 1:
        raise FormatFeature("ECG channels of different rates are not read", feature="differing rates")
    columns = _columns(frame, chosen)
    check_size(len(columns[0]), len(chosen), next(iter(rates)))
    samples = np.empty((len(columns[0]), len(chosen)))
    for place, (n, lsb_mv) in enumerate(zip(chosen, scales, strict=True)):
        samples[:, place] = _calibrated(frame.channels[n], columns[place], lsb_mv)
    return _Piece(
        names=tuple(names[n] for n in chosen),
        rate_hz=rates.pop(),
        lsb_mv=tuple(scales),
        samples_mv=samples,
        form=form,
        pointer=frame.pointer,
        left_out=len(chosen) < len(frame.channels),
    )


def _columns(frame: Frame, chosen: Sequence[int]) -> list[NDArray[np.generic]]:
    """Take channels out of the sequences: in each, the blocks of all channels follow one another."""
    order = ">" if frame.big_endian else "<"
    types = [np.dtype(order + _TYPES[_type(channel)]) for channel in frame.channels]
    sizes = [_count(c, Tag.BLK) * t.itemsize for c, t in zip(frame.channels, types, strict=True)]
    counts = {_count(c, Tag.SEQ) for c in frame.channels if Tag.SEQ in c}
    if len(counts) > 1 or (counts and any(Tag.SEQ not in c for c in frame.channels)):
        raise FormatFeature(
            "MFER channels with different sequences are not read", feature="differing sequences"
        )
    present = len(frame.data) // sum(sizes)
    n_sequences = counts.pop() if counts else present
    if n_sequences == 0 or present < n_sequences:
        raise Truncated(needed_bytes=max(1, n_sequences) * sum(sizes), present_bytes=len(frame.data))
    whole = np.frombuffer(frame.data, np.uint8, n_sequences * sum(sizes)).reshape(n_sequences, sum(sizes))
    columns = []
    for n in chosen:
        first = sum(sizes[:n])
        columns.append(np.ascontiguousarray(whole[:, first : first + sizes[n]]).view(types[n]).reshape(-1))
    return columns


def _calibrated(
    channel: dict[Tag, Number], stored: NDArray[np.generic], lsb_mv: float
) -> NDArray[np.float64]:
    offset = _of_type(channel.get(Tag.OFF), stored.dtype) or 0.0
    values: NDArray[np.float64] = (stored.astype(np.float64) + offset) * lsb_mv
    missing = _of_type(channel.get(Tag.NUL), stored.dtype)
    if missing is not None:
        values[stored == stored.dtype.type(missing)] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values


def _of_type(value: Number | None, dtype: np.dtype[np.generic]) -> float | None:
    """Read a value that is stored like the samples: an offset, or what stands for no data."""
    if value is None:
        return None
    if len(value.raw) != dtype.itemsize:
        raise Malformed("an MFER value is not of the type of its samples")
    number = float(np.frombuffer(value.raw, dtype.newbyteorder(value.order))[0])
    if not isfinite(number):
        raise Malformed("an MFER value is no number")
    return number


def _is_ecg(channel: dict[Tag, Number], name: str) -> bool:
    """Say whether a channel is to be read: every one that is not known to be something else."""
    if _type(channel) == _STATUS_TYPE or _lead_code(channel) == _STATUS_LEAD or is_other_signal(name):
        return False
    return Tag.SEN not in channel or channel[Tag.SEN].raw[0] == _VOLT


def _lsb_mv(channel: dict[Tag, Number], column: int) -> float:
    value = channel.get(Tag.SEN)
    if value is None:
        raise UnitsMissing("an MFER channel states no sensitivity", column=column)
    lsb_mv = _scaled(value) * 1e3
    if not isfinite(lsb_mv) or lsb_mv <= 0:
        raise UnitsMissing("an MFER channel states an impossible sensitivity", column=column)
    return lsb_mv


def _rate(channel: dict[Tag, Number]) -> float:
    value = channel.get(Tag.IVL)
    if value is None or value.raw[0] not in {_HERTZ, _SECOND}:
        raise RateMissing("the MFER file states no sampling interval in time")
    number = _scaled(value)
    rate_hz = number if value.raw[0] == _HERTZ else 1.0 / number if number else 0.0
    if not isfinite(rate_hz) or rate_hz <= 0:
        raise RateMissing("the MFER file states an impossible sampling interval")
    return rate_hz


def _scaled(value: Number) -> float:
    """Read unit, power of ten and whole number; powers below zero divide, so that 1e-6 is exact."""
    if len(value.raw) < 3:  # noqa: PLR2004 - one byte each at least
        raise Malformed("an MFER scale is incomplete")
    power = int.from_bytes(value.raw[1:2], "big", signed=True)
    number = value.signed(2)
    return number * 10.0**power if power >= 0 else number / 10.0**-power


def _form(channel: dict[Tag, Number]) -> int:
    return channel[Tag.WFM].unsigned(0, 2) if Tag.WFM in channel else 0


def _type(channel: dict[Tag, Number]) -> int:
    kind = channel[Tag.DTP].unsigned() if Tag.DTP in channel else 0
    if kind not in _TYPES:
        raise FormatFeature("an MFER data type is not read", feature=f"data type {kind}")
    return kind


def _count(channel: dict[Tag, Number], tag: Tag) -> int:
    count = channel[tag].unsigned() if tag in channel else 1
    if count == 0:
        raise Malformed("an MFER frame has blocks without samples")
    return count


def _lead_code(channel: dict[Tag, Number]) -> int | None:
    value = channel.get(Tag.LDN)
    return None if value is None else value.unsigned(0, 2)


def _name(channel: dict[Tag, Number], column: int) -> str:
    code = _lead_code(channel)
    text = re.sub(rb"[^ -~]", b"", channel[Tag.LDN].raw[2:]).decode().strip()[:64] if code is not None else ""
    return lead_from_code(code or 0) or lead_of_label(text) or text or f"channel {column + 1}"
