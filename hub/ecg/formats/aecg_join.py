"""Sequence sets of an aECG that belong together: leads recorded side by side, or one after another."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from hub.ecg.formats.xml import Element
from hub.ecg.formats.xml_values import Block
from hub.ecg.limits import MAX_LEADS, MAX_SECONDS, MAX_VALUES

_SPARSE = 8
"""Sets are joined while the empty cells stay below this multiple of the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One sequence set.

    Attributes
    ----------
    kind : str
        ``"median"`` or ``"rhythm"``.
    series : Element
        Where it stands.
    block : Block
        Its leads.
    began_at : datetime.datetime or None
        Moment of the first sample, when the set's own time is absolute.
    offset_s : float or None
        Time of the first sample on its series' own scale, when the set's own time is relative.
    """

    kind: Literal["median", "rhythm"]
    series: Element
    block: Block
    began_at: datetime | None = None
    offset_s: float | None = None

    def seconds_after(self, other: "Strip") -> float | None:
        """Return how much later than another set this one begins, None when the file does not say."""
        if self.began_at is not None and other.began_at is not None:
            both_zoned = (self.began_at.tzinfo is None) == (other.began_at.tzinfo is None)
            return (self.began_at - other.began_at).total_seconds() if both_zoned else None
        if self.offset_s is not None and other.offset_s is not None and self.series is other.series:
            return self.offset_s - other.offset_s
        return None


def join(main: Strip, others: list[Strip]) -> tuple[Strip, list[Strip]]:
    """Put sets into one recording that say when they begin, at one rate, no lead twice at a time.

    Parameters
    ----------
    main : Strip
        The set that others are joined to.
    others : list of Strip
        In the order of the file.

    Returns
    -------
    joined : Strip
        The recording; NaN where a lead was not recorded. Begins when its earliest set does.
    apart : list of Strip
        What was not joined.
    """
    members, apart = {0: [main]}, []
    for strip in others:
        row = _row(strip, main)
        if strip.kind == "rhythm" and row is not None and _fits(strip, row, members):
            members.setdefault(row, []).append(strip)
        else:
            apart.append(strip)
    if sum(map(len, members.values())) == 1:
        return main, apart
    first = members[min(members)][0]
    return Strip("rhythm", first.series, _joined(members), first.began_at, first.offset_s), apart


def _row(strip: Strip, main: Strip) -> int | None:
    """Return at which sample of the main set another one begins."""
    seconds = strip.seconds_after(main)
    if seconds is None or abs(seconds) > MAX_SECONDS or strip.block.rate_hz != main.block.rate_hz:
        return None
    return round(seconds * main.block.rate_hz)


def _fits(strip: Strip, row: int, members: dict[int, list[Strip]]) -> bool:
    known = [(start, one) for start, strips in members.items() for one in strips]
    end = row + len(strip.block.samples_mv)
    for start, one in known:
        beside = start < end and row < start + len(one.block.samples_mv)
        if beside and set(one.block.leads) & set(strip.block.leads):
            return False
    every = [*known, (row, strip)]
    leads = {lead for _, one in every for lead in one.block.leads}
    rows = max(start + len(one.block.samples_mv) for start, one in every) - min(start for start, _ in every)
    values = sum(one.block.samples_mv.size for _, one in every)
    return len(leads) <= MAX_LEADS and rows * len(leads) <= min(MAX_VALUES, _SPARSE * values)


def _joined(members: dict[int, list[Strip]]) -> Block:
    blocks = [(row, strip.block) for row, strips in sorted(members.items()) for strip in strips]
    begin = blocks[0][0]
    end = max(row + len(block.samples_mv) for row, block in blocks)
    leads = tuple(dict.fromkeys(lead for _, block in blocks for lead in block.leads))
    samples_mv = np.full((end - begin, len(leads)), np.nan)
    lsb_mv: dict[str, float | None] = {}
    for row, block in blocks:
        for column, lead in enumerate(block.leads):
            rows = slice(row - begin, row - begin + len(block.samples_mv))
            samples_mv[rows, leads.index(lead)] = block.samples_mv[:, column]
            same = lsb_mv.get(lead, block.lsb_mv[column]) == block.lsb_mv[column]
            lsb_mv[lead] = block.lsb_mv[column] if same else None
    warnings = dict.fromkeys(warning for _, block in blocks for warning in block.warnings)
    after = ("leads_sequential",) if len(members) > 1 else ()
    units = tuple(lsb_mv[lead] for lead in leads)
    return Block(samples_mv, blocks[0][1].rate_hz, leads, units, (*warnings, *after))
