"""Names and words as a worklist gives them to a device, in a character set that the device can show.

A Chinese name goes out in two groups, ``Wang^XiuYing=王^秀英`` (PS3.5 annex K), so that a
console which shows the first group only still shows something right. A set that cannot
hold Chinese gets letters alone. No character ever becomes another one on the way.

Which set: the one registered for the device, else the one its query names, else the
default repertoire, plain ASCII. Many consoles that name none do show GB 18030, but not
all; one that does not would show a wrong name beside a right number, and the technician
would have to notice. Letters are right on every console, and registering the set once
(``hub device add --charset GB18030``) brings the characters. Answers to queries for
images choose otherwise, because there are no letters to fall back on.
"""

import re
from collections.abc import Iterable

from hub.dicom.identifier import answer_charset, holds
from hub.kit.people import comparable_name, has_han
from hub.kit.pinyin import name_in_letters, split_name, words_in_letters

GROUP_LENGTH = LONG_LENGTH = 64
"""Most characters of a name's group, and of LO (PS3.5 section 6.2)."""

_WILDCARDS = frozenset("*?")
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f\\]+")
_TYPED_V = re.compile("([ln])v")
_NAME_DELIMITERS = re.compile(r"[\x00-\x1f\x7f\\=]+")


def charset_for(device_charset: str | None, query_charset: str | Iterable[str]) -> str:
    r"""Return the term in which a device's worklist is written; empty for plain ASCII."""
    declared = query_charset if isinstance(query_charset, str) else tuple(query_charset)
    return answer_charset(device_charset, declared)


def wire_name(name: str, charset: str) -> str:
    """Return a name of value representation PN, in the groups that `charset` can hold."""
    plain = _NAME_DELIMITERS.sub(" ", name).strip()
    if not has_han(plain):
        whole = plain if holds(charset, plain) else name_in_letters(plain)
        return whole.strip()[:GROUP_LENGTH]
    letters = name_in_letters(plain)[:GROUP_LENGTH]
    characters = plain if "^" in plain else "^".join(part for part in split_name(plain) if part)
    return f"{letters}={characters[:GROUP_LENGTH]}" if holds(charset, characters) else letters


def wire_text(text: str, charset: str, length: int = LONG_LENGTH) -> str:
    """Return one line of text of at most `length` characters, in letters where `charset` has no others."""
    line = _UNPRINTED.sub(" ", text).strip()
    return (line if holds(charset, line) else words_in_letters(line))[:length].strip()


def name_matches(key: str, name: str) -> bool:
    """Tell whether a name fits a key with ``*`` and ``?`` (PS3.4 section C.2.2.2.4).

    Case, spaces and the carets between components are ignored, because consoles and people
    write them differently. Each group of the key that says something must fit the name as
    written or in letters.
    """
    if not key.strip("*^= "):
        return True
    forms = {comparable_name(name), comparable_name(name_in_letters(name.replace("^", "")))}
    return all(_group_matches(group, forms) for group in key.split("="))


def _group_matches(group: str, forms: Iterable[str]) -> bool:
    pattern = "".join(part if part in _WILDCARDS else comparable_name(part) for part in group)
    if not pattern.strip("*"):
        return True
    # 吕 is asked for as Lv by those who type it so.
    patterns = {pattern, _TYPED_V.sub(r"\1yu", pattern)}
    return any(wildcard_matches(one, form) for one in patterns for form in forms)


def wildcard_matches(pattern: str, text: str) -> bool:
    """Match ``*`` for any run of characters and ``?`` for one, in linear time for each ``*``."""
    at = read = 0
    star, resume = -1, 0
    while read < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, read
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[read]):
            at, read = at + 1, read + 1
        elif star >= 0:
            resume += 1
            at, read = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")
