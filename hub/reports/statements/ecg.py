"""Statements that a reader of ECGs picks instead of typing them, in Chinese and English."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hub.kit.pinyin import words_in_letters


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes
    ----------
    code : str
        Stable name.
    zh, en : str
        Its text in both languages.
    positive : bool
        Whether it counts as an abnormal finding.
    keys : str
        What it is found by besides: the Chinese text by its sound, whole and by first letters.
    """

    code: str
    zh: str
    en: str
    positive: bool
    keys: str


@dataclass(frozen=True, slots=True)
class Group:
    """Statements of one kind, in the order in which they are offered."""

    code: str
    zh: str
    en: str
    statements: tuple[Statement, ...]


@cache
def groups() -> tuple[Group, ...]:
    """Return all statements by kind."""
    listed = tomllib.loads(files("hub.reports.statements").joinpath("ecg.toml").read_text(encoding="utf-8"))
    return tuple(
        Group(
            group["code"],
            group["zh"],
            group["en"],
            tuple(Statement(**each, keys=_keys(each["zh"])) for each in group["statements"]),
        )
        for group in listed["group"]
    )


def _keys(text: str) -> str:
    syllables = words_in_letters(text).lower().split()
    return "".join(syllables) + " " + "".join(syllable[0] for syllable in syllables)
