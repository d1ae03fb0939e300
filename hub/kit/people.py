"""Small facts about people's data: document numbers, birth dates, masking, comparing names."""

import re
import unicodedata
from datetime import date, datetime

ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECK = "10X98765432"
_ID = re.compile(r"\d{17}[\dX]")


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


def comparable_name(name: str) -> str:
    """Return a name without what typing varies: spaces, carets, dots, case, width."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


def same_script(first: str, second: str) -> bool:
    """Tell whether two names are both in Han characters or both not: pinyin and 汉字 cannot be compared."""
    return has_han(first) == has_han(second)


def has_han(text: str) -> bool:
    """Tell whether any character is a CJK ideograph."""
    return any("CJK UNIFIED IDEOGRAPH" in unicodedata.name(character, "") for character in text)


def age_on(birth_date: str, day: date) -> tuple[int, str] | None:
    """Return the age as (number, unit) with unit Y, M or D; None when the birth date is unknown.

    Years from three on, months from two on, days below: as reports state it.
    """
    try:
        born = datetime.strptime(birth_date, "%Y%m%d").date()  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return None
    if born > day:
        return None
    months = (day.year - born.year) * 12 + day.month - born.month - (day.day < born.day)
    if months >= 36:  # noqa: PLR2004 - three years
        return months // 12, "Y"
    return (months, "M") if months >= 2 else ((day - born).days, "D")  # noqa: PLR2004 - two months
