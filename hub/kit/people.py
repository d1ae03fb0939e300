"""Small facts about people's data: document numbers, birth dates, masking, comparing names."""

import re
import unicodedata
from datetime import datetime
from functools import lru_cache

ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECK = "10X98765432"
IDEOGRAPHIC_ZERO = "\u3007"
IDEOGRAPHIC_PLANES = ("\U00020000", "\U0003ffff")
"""Planes 2 and 3 hold ideographs only; the newest have no name in Python's tables."""
_ID = re.compile(r"[0-9]{17}[0-9X]")


def valid_id_number(text: str) -> bool:
    """Tell whether `text` is an 18-digit resident identity number: form, date, check digit (GB 11643)."""
    number = text.strip().upper()
    if not _ID.fullmatch(number):
        return False
    try:
        datetime.strptime(number[6:14], "%Y%m%d")  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], ID_WEIGHTS, strict=True))
    return ID_CHECK[total % 11] == number[17]


def sex_of_id_number(text: str) -> str:
    """Return M or F from the 17th digit of a valid identity number, else an empty string."""
    if not valid_id_number(text):
        return ""
    return "M" if int(text.strip()[16]) % 2 else "F"


def mask_number(text: str) -> str:
    """Show at most the last four characters of a document number."""
    tail = text[-4:]
    return "*" * max(len(text) - 4, 4) + tail if len(text) > 4 else "*" * len(text)  # noqa: PLR2004 - last four


def mask_name(name: str) -> str:
    """Show only the first character of a name, for people who need to tell items apart but not patients."""
    return name[:1] + "*" * min(max(len(name) - 1, 1), 3) if name else ""


@lru_cache(maxsize=1024)  # asked of each object of a series
def comparable_name(name: str) -> str:
    """Return a name without what typing varies: spaces, carets, dots, case, width.

    Characters of private use or newer than Python's tables stay: rare name characters
    are among them, and two names that differ in one are two names.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(
        character
        for character in folded
        if unicodedata.category(character)[0] not in "ZPS"
        and unicodedata.category(character) not in {"Cc", "Cf"}
    )


def searchable_name(name: str) -> str:
    """Return a name as searches compare it: one case, one width, one space between words."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("^", " ").split())[:200]


def same_script(first: str, second: str) -> bool:
    """Tell whether two names are both in Han characters or both not: pinyin and 汉字 cannot be compared."""
    return has_han(first) == has_han(second)


@lru_cache(maxsize=1024)
def has_han(text: str) -> bool:
    """Tell whether any character is a CJK ideograph, of whichever age."""
    return any(
        "CJK UNIFIED IDEOGRAPH" in (name := unicodedata.name(character, ""))
        or "CJK COMPATIBILITY IDEOGRAPH" in name
        or character == IDEOGRAPHIC_ZERO
        or IDEOGRAPHIC_PLANES[0] <= character <= IDEOGRAPHIC_PLANES[1]
        for character in text
    )
