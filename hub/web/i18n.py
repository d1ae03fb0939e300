"""Words, dates and durations in the reader's language.

Every visible text lives in ``locales/<lang>/<room>.po`` under a dotted key whose first part
is the room (``worklist.claim``). Values are put in with :meth:`str.format`, so a text says
``{count} images``. A text with a plural is written with ``msgid_plural`` and chosen by ``n``.

A missing key never breaks a page in use: the key itself is shown between ⟦ ⟧ and the fact is
logged once. With ``HUB_STRICT_TEXTS=1`` (the test suite sets it) it raises instead.
"""

import os
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

LANGUAGES = ("zh-CN", "en")
DEFAULT_LANGUAGE = "zh-CN"
LANGUAGE_COOKIE = "hub_language"
LOCALES_DIR = Path(__file__).parent / "locales"

Translate = Callable[..., str]
Text = str | tuple[str, ...]

log = structlog.get_logger()
_reported: set[tuple[str, str]] = set()
_reported_lock = threading.Lock()


class MissingTextError(KeyError):
    """A key is in no catalogue of this language."""


def choose_language(wanted: str | None, default: str = DEFAULT_LANGUAGE) -> str:
    """Return the language to show: the one wanted if the hub speaks it, else `default`."""
    return wanted if wanted in LANGUAGES else default


@cache
def catalogue(lang: str) -> Mapping[str, Text]:
    """Return every text of `lang`, read from its ``.po`` files once per process.

    Raises
    ------
    ValueError
        If a key stands in the catalogue of another room, or twice.
    """
    from babel.messages.pofile import read_po

    texts: dict[str, Text] = {}
    for path in sorted((LOCALES_DIR / lang.replace("-", "_")).glob("*.po")):
        with path.open("rb") as stream:
            messages = read_po(stream, locale=lang.replace("-", "_"))
        for message in messages:
            if not message.id:
                continue
            key = message.id if isinstance(message.id, str) else message.id[0]
            if key.partition(".")[0] != path.stem or key in texts:
                message_text = f"{path.name}: key in the wrong catalogue, or twice: {key}"
                raise ValueError(message_text)
            text = message.string
            texts[key] = text if isinstance(text, str) else tuple(text or ())
    return texts


def translator(lang: str) -> Translate:
    """Return ``t(key, **values)`` for one language.

    Examples
    --------
    >>> translator("en")("common.ago.minutes", n=3)
    '3 min ago'
    """
    texts = catalogue(lang)

    def t(key: str, /, **values: object) -> str:
        text = texts.get(key)
        if not text:
            return _missing(lang, key)
        if not isinstance(text, str):
            text = text[0] if len(text) == 1 or values.get("n") == 1 else text[1]
        return text.format_map(values) if values else text

    return t


def _missing(lang: str, key: str) -> str:
    if os.environ.get("HUB_STRICT_TEXTS") == "1":
        raise MissingTextError(key)
    with _reported_lock:
        first = (lang, key) not in _reported
        _reported.add((lang, key))
    if first:
        log.warning("text_missing", lang=lang, key=key)
    return f"⟦{key}⟧"


def format_datetime(moment: datetime, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """Return `moment` in the hub's zone, to the minute: ``2026-11-21 23:13``.

    Year first in both languages: the order a Chinese report uses, and the only one an English
    reader cannot take for another.

    Raises
    ------
    ValueError
        If `moment` carries no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone cannot be shown")
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def format_date(day: date | datetime, zone: ZoneInfo) -> str:
    """Return the calendar day, of a moment in the hub's zone: ``2026-11-21``."""
    if isinstance(day, datetime):
        return format_datetime(day, zone)[:10]
    return day.isoformat()


def format_duration(span: timedelta, t: Translate) -> str:
    """Return a length of time in its two largest units, rounded down: ``1 h 5 min``."""
    seconds = int(abs(span).total_seconds())
    if seconds < 60:  # noqa: PLR2004
        return t("common.duration.seconds", n=seconds)
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    parts = [("days", days), ("hours", hours)] if days else [("hours", hours), ("minutes", minutes)]
    return " ".join(t(f"common.duration.{unit}", n=n) for unit, n in parts if n)


def format_ago(moment: datetime, now: datetime, t: Translate) -> str:
    """Return how long ago (or in how long) `moment` is, in its largest unit."""
    seconds = int((now - moment).total_seconds())
    direction = "ago" if seconds >= 0 else "ahead"
    seconds = abs(seconds)
    if seconds < 60:  # noqa: PLR2004
        return t("common.ago.now")
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= size:
            return t(f"common.{direction}.{unit}", n=seconds // size)
    return t(f"common.{direction}.minutes", n=seconds // 60)


def format_age(born: date, on: date, t: Translate) -> str:
    """Return the age at an exam as a clinician writes it: days, months, then years.

    Under 1 month in days, under 3 years in months, else completed years. A birth date after
    the exam is shown as such, never as a negative number.
    """
    if born > on:
        return t("common.age.impossible")
    months = (on.year - born.year) * 12 + on.month - born.month - (on.day < born.day)
    if months < 1:
        return t("common.age.days", n=(on - born).days)
    if months < 36:  # noqa: PLR2004
        return t("common.age.months", n=months)
    return t("common.age.years", n=months // 12)


DICOM_AGE_UNITS = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}


def format_dicom_age(age: str, t: Translate) -> str:
    """Return an AS value (PS3.5 section 6.2, ``045Y``) in words; anything else as it stands."""
    unit = DICOM_AGE_UNITS.get(age[-1:])
    if unit and age[:-1].isdigit():
        return t(f"common.age.{unit}", n=int(age[:-1]))
    return age
