"""MIT annotation files: marks at samples, as WFDB describes them in annot(5)."""

from dataclasses import dataclass

import numpy as np

from hub.ecg.errors import NotAWaveform, Truncated

SYMBOLS = dict(
    zip(
        (*range(1, 15), 16, *range(18, 42)),
        'NLRaVFJASEj/Q~|sT*D"=pB^t+u?![]en@xf()r',
        strict=True,
    )
)
"""Mark of each type code (WFDB ecgcodes.h); codes without a mark are kept as an empty text."""

BEATS = frozenset("NLRaVFJASEj/QB?enfr")
"""Marks that stand for a beat."""

MAX_MARKS = 5_000_000
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation.

    Attributes
    ----------
    sample : int
        Of the recording, from 0.
    symbol : str
        ``N`` for a normal beat, ``(`` and ``)`` around a wave, ``p``, ``t`` …
    aux : str
        Text that goes with it.
    """

    sample: int
    symbol: str
    aux: str = ""


def read_annotations(data: bytes) -> tuple[Mark, ...]:
    """Read an annotation file.

    Parameters
    ----------
    data : bytes
        The whole file. Pairs of bytes: a type in the upper six bits, a distance in samples in the
        lower ten; types from 59 on change the meaning of what follows.

    Returns
    -------
    tuple of Mark
        In order of the file.

    Raises
    ------
    Truncated
        The file ends inside an annotation.
    NotAWaveform
        A mark lies before the first sample, or there are more than `MAX_MARKS`.
    """
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2").tolist()
    marks: list[Mark] = []
    sample, place = 0, 0
    while place < len(words):
        code, distance = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == 0 and distance == 0:
            break
        if code == _SKIP:
            if place + 2 > len(words):
                raise Truncated
            step = words[place] << 16 | words[place + 1]
            sample += step - (1 << 32) if step >= 1 << 31 else step
            place += 2
        elif code in {_NUM, _SUB, _CHN}:
            continue
        elif code == _AUX:
            end = place + (distance + 1) // 2
            if end > len(words):
                raise Truncated
            text = data[2 * place : 2 * place + distance].split(b"\0")[0].decode("latin-1")
            if marks:
                marks[-1] = Mark(marks[-1].sample, marks[-1].symbol, text)
            place = end
        else:
            sample += distance
            if sample < 0 or len(marks) >= MAX_MARKS:
                raise NotAWaveform("annotations that belong to no sample")
            marks.append(Mark(sample, SYMBOLS.get(code, "")))
    return tuple(marks)
