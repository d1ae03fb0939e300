r"""Text from devices: what the bytes most likely say, whatever the header claims.

Chinese devices send GBK bytes under every declaration there is, or under none.
Neither the declaration nor "valid UTF-8 first" can be believed alone: 2 % of
two-character names in GBK are valid UTF-8 that reads as Hebrew or Greek. So every
strict decoding is scored by the script it gives, and the best one is kept together
with how sure that is. Bytes are decoded first and split at ``\``, ``^`` and ``=``
afterwards, because those are also trail bytes of GBK characters.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

UNSURE_BELOW = 0.6
"""Readings with less confidence than this should be confirmed by a person."""

_ESC = b"\x1b"
_FRAGMENT = re.compile(rb"\x1b[^\x1b]*|^[^\x1b]+")
_DELIMITERS = frozenset(b"\\^=\r\n\f\t")
_SINGLE_SYMBOLS = frozenset("°±µ²³¼½¾·×")
_CJK_PUNCTUATION_BLOCKS = ((0x3000, 0x303F), (0xFF00, 0xFFEF), (0x2010, 0x2027), (0x2030, 0x206F))
_SYMBOL_BLOCKS = ((0x2100, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x26FF))
_CJK_SCRIPTS = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
_LIVING_SCRIPTS = frozenset(
    {"GREEK", "CYRILLIC", "HEBREW", "ARABIC", "THAI", "DEVANAGARI", "GEORGIAN", "ARMENIAN", "LAO"}
    | {"TIBETAN", "MONGOLIAN", "YI"}  # spoken in China beside Chinese
)
_DECLARED_BONUS = 0.1
_UTF8_BONUS = 0.2
_CUT_PENALTY = 0.2
_REPAIR_PENALTY = 0.05
_REPAIR_BONUS = 0.5
_MOST_REPAIRS = 3
"""A name passes few gateways; each one that takes it for Latin-1 doubles its bytes."""
_MARGIN_FOR_CERTAINTY = 0.3
_CUT_NAME = 0.5
_EVERYWHERE = ("ISO_IR 192", "GB18030", "ISO_IR 100")
"""Tried on all bytes, whatever is declared."""
_SELDOM = ("Big5", "ISO_IR 13", "ISO 2022 IR 149")
"""Tried only where a person chooses: they read Chinese of the mainland as something, too."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    r"""One text value, and how it was read.

    `declared` is the charset term the sender stated (``\`` between several, empty
    for none), `used` the one that gave `text`, `confidence` from 0 (a guess that
    lost characters) to 1 (certain).
    """

    text: str
    declared: str
    used: str
    confidence: float
    cut: bool = field(default=False, kw_only=True)
    """Whether the bytes end within a character, which is left out."""

    @property
    def unsure(self) -> bool:
        """Whether a person should look at it."""
        return self.confidence < UNSURE_BELOW


@dataclass(frozen=True, slots=True)
class PersonName(DecodedText):
    """A name of value representation PN, in its groups (PS3.5 section 6.2.1)."""

    alphabetic: str
    ideographic: str
    phonetic: str
    display: str
    """One line for people: the ideographic form if there is one."""


@dataclass(frozen=True, slots=True)
class _Reading:
    text: str
    used: str
    score: float
    penalty: float = 0.0
    cut: bool = False


def decode_text(raw: bytes, declared: str | Sequence[str], override: str | None = None) -> DecodedText:
    r"""Read the bytes of a text value.

    Parameters
    ----------
    raw : bytes
        The value as received, padding included or not.
    declared : str or sequence of str
        Specific Character Set (0008,0005), as one string with ``\`` or as values.
    override : str, optional
        What this device is known to send (a DICOM term or a Python codec name). It
        wins whenever it decodes without error.

    Returns
    -------
    DecodedText
        Never raises: bytes that no candidate explains come back with replacement
        characters and confidence 0.

    Notes
    -----
    PS3.3 section C.12.1.1.2 has the terms; escape sequences are PS3.5 section
    6.1.2.5, taken from pydicom's tables.
    """
    raw = raw.rstrip(b"\0 ").lstrip(b"\0")
    terms = _terms(declared)
    stated = "\\".join(terms)
    if raw.isascii() and _ESC not in raw:
        return DecodedText(raw.decode("ascii"), stated, terms[0] or "ISO_IR 6", 1.0)
    if override:
        reading = _strict(raw, override)
        if reading is not None:
            return DecodedText(reading.text, stated, override, 1.0 - reading.penalty, cut=reading.cut)
    if _ESC in raw:
        text = _decode_escapes(raw, terms)
        if text is not None:
            return DecodedText(text, stated, stated or "ISO 2022", 1.0 if len(terms) > 1 else 0.9)
        raw = raw.replace(_ESC, b"")
    return _best(raw, terms, stated)


def person_name(raw: bytes, declared: str | Sequence[str], override: str | None = None) -> PersonName:
    """Read a person's name; of several values the first.

    The ideographic group is preferred for display. Components are joined without
    a space when they are Chinese, Japanese or Korean, with one otherwise.
    """
    return _as_name(decode_text(raw, declared, override))


def name_readings(raw: bytes, declared: str | Sequence[str]) -> tuple[PersonName, ...]:
    """Return every way in which the bytes of a name can be read, the likely sets and readings first.

    For a person who knows the patient: more character sets are tried than by `person_name`,
    and here `confidence` is the plausibility of each reading by itself.
    """
    plain = decode_text(raw, declared)
    raw = raw.strip(b"\0 ")
    if raw.isascii() or (_ESC in raw and not plain.unsure):
        return (_as_name(plain),)
    terms = _terms(declared)
    likely = _readings(raw.replace(_ESC, b""), terms, (*terms, *_EVERYWHERE))
    seldom = _readings(raw.replace(_ESC, b""), terms, _SELDOM)
    found = {plain.text: plain} if _ESC in raw else {}
    for reading in (*likely, *seldom):
        score = round(max(0.0, min(1.0, reading.score)), 2)
        found.setdefault(
            reading.text, DecodedText(reading.text, plain.declared, reading.used, score, cut=reading.cut)
        )
    found.setdefault(plain.text, plain)
    return tuple(map(_as_name, found.values()))


def _as_name(whole: DecodedText) -> PersonName:
    first = whole.text.split("\\", 1)[0]
    groups = [group.strip().rstrip("^") for group in first.split("=", 2)]
    alphabetic, ideographic, phonetic = (*groups, "", "")[:3]
    lines = map(_join_components, (ideographic, alphabetic, phonetic))
    display = next((line for line in lines if line), "")
    # A description without its last character is still one; a name may be another one.
    confidence = min(whole.confidence, _CUT_NAME) if whole.cut else whole.confidence
    return PersonName(
        first,
        whole.declared,
        whole.used,
        confidence,
        alphabetic,
        ideographic,
        phonetic,
        display,
        cut=whole.cut,
    )


def _join_components(group: str) -> str:
    parts = [part.strip() for part in group.split("^") if part.strip()]
    cjk = any(_script(character) in _CJK_SCRIPTS for part in parts for character in part)
    return ("" if cjk else " ").join(parts)


def _terms(declared: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(declared.split("\\")) if isinstance(declared, str) else tuple(declared)


def _best(raw: bytes, terms: Sequence[str], stated: str) -> DecodedText:
    """Score every strict decoding and keep the most plausible."""
    ranked = _readings(raw, terms, (*terms, *_EVERYWHERE))
    if not ranked or ranked[0].score <= 0:
        return DecodedText(raw.decode("gb18030", errors="replace"), stated, "GB18030", 0.0)
    best = ranked[0]
    margin = best.score - (ranked[1].score if len(ranked) > 1 else 0.0)
    certainty = 0.5 + 0.5 * min(1.0, margin / _MARGIN_FOR_CERTAINTY)
    confidence = max(0.0, min(1.0, best.score) * certainty - best.penalty)
    return DecodedText(best.text, stated, best.used, round(confidence, 2), cut=best.cut)


def _readings(raw: bytes, terms: Sequence[str], candidates: Sequence[str]) -> list[_Reading]:
    """Return the strict readings under `candidates`, of which `terms` are declared; the best first."""
    readings: dict[str, _Reading] = {}
    for term in dict.fromkeys(candidates):
        reading = _strict(raw, term) if term else None
        if reading is None:
            continue
        bonus = _DECLARED_BONUS if term in terms else 0.0
        # UTF-8 and GB 18030 hold every script, so stating them says nothing about which.
        one_script = term in terms and _codec(term) not in {"utf-8", "gb18030"}
        score = _plausibility(reading.text, one_script) - reading.penalty + bonus
        if term == "ISO_IR 192" and _hardly_by_chance(reading.text):
            score += _UTF8_BONUS
        _keep(readings, replace(reading, score=score))
        repaired = _undo_mojibake(reading.text) if term in {"ISO_IR 192", "GB18030"} else None
        if repaired is not None:
            penalty = _REPAIR_PENALTY + repaired.penalty
            score = _plausibility(repaired.text, stated=False) - penalty
            if not repaired.cut and _repaired_for_sure(reading.text, repaired.text):
                score += _REPAIR_BONUS
            _keep(readings, replace(repaired, score=score, penalty=penalty))
    return sorted(readings.values(), key=lambda reading: reading.score, reverse=True)


def _keep(readings: dict[str, _Reading], reading: _Reading) -> None:
    """Of two charsets that read the same text, remember the better-scored one."""
    known = readings.get(reading.text)
    if known is None or reading.score > known.score:
        readings[reading.text] = reading


def _strict(raw: bytes, term: str) -> _Reading | None:
    """Decode without replacement; a character cut off at the very end is dropped."""
    try:
        codec = _codec(term)
        return _Reading(raw.decode(codec), term, 0.0)
    except LookupError:
        return None
    except UnicodeDecodeError as error:
        text = raw[: error.start].decode(codec, errors="ignore")
        cut = error.end >= len(raw) and len(raw) - error.start < 4  # noqa: PLR2004 - longest character
        # Without one whole character before the cut there is no sign of this charset.
        return _Reading(text, term, 0.0, _CUT_PENALTY, cut=True) if cut and not text.isascii() else None


def _undo_mojibake(text: str) -> _Reading | None:
    """Undo Chinese bytes that some gateway took for Latin-1 and stored as Unicode, perhaps repeatedly."""
    for _ in range(_MOST_REPAIRS):
        raw = _as_western(text)
        if raw is None:
            return None
        unicode, chinese = _strict(raw, "ISO_IR 192"), _strict(raw, "GB18030")
        if unicode is not None and not unicode.cut and _as_western(unicode.text) is not None:
            text = unicode.text  # taken for Latin-1 more than once
            continue
        for reading in (unicode, chinese):
            if reading is not None and _only_cjk(reading.text):
                return replace(reading, used=f"{reading.used} within ISO_IR 100")
        return None
    return None


def _as_western(text: str) -> bytes | None:
    """Return the bytes of which Latin-1 or Windows-1252 made this text, None when they did not."""
    if text.isascii():
        return None
    try:
        return b"".join(map(_western_byte, text))
    except UnicodeEncodeError:
        return None


def _western_byte(character: str) -> bytes:
    # What Windows-1252 leaves undefined came through as the control character of that number.
    return character.encode("latin-1" if ord(character) <= 0xFF else "cp1252")  # noqa: PLR2004 - Latin-1


def _repaired_for_sure(garbled: str, repaired: str) -> bool:
    """Tell whether so many Latin letters in a row, all bytes of Chinese, can be no accident.

    Read as GBK those bytes are Chinese as well: characters that all begin with 0xC2 or
    0xC3 (with Windows-1252 a few more). Three of them one after another are no name.
    """
    enough = 3
    if sum(not character.isascii() for character in garbled) < enough:
        return False
    return re.search(r"[A-Za-z][^\x00-\x7f]|[^\x00-\x7f][A-Za-z]", repaired) is None


@lru_cache(maxsize=64)
def _codec(term: str) -> str:
    """Return Python's codec for a DICOM term, a misspelt one, or a codec name."""
    from pydicom.charset import python_encoding

    plain = " ".join(term.strip().upper().replace("_", " ").split())
    if plain in {"GBK", "GB2312", "GB18030", "ISO 2022 GBK", "ISO 2022 58", "ISO IR 58", "ISO 2022 IR 58"}:
        return "gb18030"  # a superset of the others, and devices mix them
    if plain in {"ISO IR 192", "UTF8", "UTF-8", "UNICODE"}:
        return "utf-8"
    for spelling in (term, plain, plain.replace("ISO IR", "ISO_IR"), plain.replace("ISO IR", "ISO 2022 IR")):
        if spelling in python_encoding:
            return python_encoding[spelling]
    return term


def _decode_escapes(raw: bytes, terms: Sequence[str]) -> str | None:
    """Decode code extensions of ISO 2022, or return None when they are broken."""
    from pydicom.charset import CODES_TO_ENCODINGS

    try:
        first = _codec(terms[0]) if terms and terms[0] else "ascii"
        parts: list[str] = []
        for fragment in _FRAGMENT.findall(raw):
            if not fragment.startswith(_ESC):
                parts.append(fragment.decode(first))
                continue
            length = 4 if fragment[1:3] in (b"$(", b"$)") else 3
            codec = CODES_TO_ENCODINGS[fragment[:length]]
            parts.append(_decode_designated(fragment, length, codec, first))
        return "".join(parts)
    except (LookupError, UnicodeDecodeError):
        return None


def _decode_designated(fragment: bytes, length: int, codec: str, first: str) -> str:
    if codec in {"iso2022_jp", "iso2022_jp_2"}:
        return fragment.decode(codec)  # Python's codec wants the escape sequence itself
    body = fragment[length:]
    multibyte = {"iso_ir_58": "gb18030", "euc_kr": "euc_kr"}.get(codec)
    if multibyte and first in {"ascii", "iso8859"}:
        # High bytes after a delimiter cannot be ASCII: the device forgot to escape again.
        return body.decode(multibyte)
    end = next((at for at, byte in enumerate(body) if byte in _DELIMITERS), len(body))
    return body[:end].decode(multibyte or codec) + body[end:].decode(first)


def _plausibility(text: str, stated: bool) -> float:
    """Return the mean plausibility of the characters beyond ASCII, about -2 to 1."""
    scripts = {_script(character) for character in text if character.isalpha()} - {"LATIN"}
    mixed = len(scripts - set(_CJK_SCRIPTS)) > (0 if scripts & set(_CJK_SCRIPTS) else 1)
    scores = [
        0.2 if mixed and character.isalpha() and _script(character) not in _CJK_SCRIPTS else score
        for character, score in _character_scores(text, stated)
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _character_scores(text: str, stated: bool) -> Iterator[tuple[str, float]]:
    for run in re.finditer(r"[^\x00-\x7f]+", text):
        before = text[run.start() - 1 : run.start()] if run.start() else ""
        after = text[run.end() : run.end() + 1]
        in_word = (before + after).isascii() and any(side.isalpha() for side in (before, after))
        for character in run.group():
            yield character, _character_score(character, len(run.group()), in_word, stated)


def _character_score(character: str, run_length: int, in_word: bool, stated: bool) -> float:
    category = unicodedata.category(character)
    point = ord(character)
    if character == "\ufffd" or category in {"Cc", "Co", "Cn", "Cs"}:
        return -2.0
    if _script(character) in _CJK_SCRIPTS:
        return _cjk_score(character) - (0.3 if in_word else 0.0)
    if any(low <= point <= high for low, high in _CJK_PUNCTUATION_BLOCKS + _SYMBOL_BLOCKS):
        return 0.8
    if point <= 0x24F or _script(character) == "LATIN":  # noqa: PLR2004 - end of Latin Extended-B
        return _latin_score(character, run_length, in_word)
    stray_mark = category.startswith("M") and point < 0x900  # noqa: PLR2004 - not an Indic vowel sign
    if stray_mark or _script(character) not in _LIVING_SCRIPTS:
        return 0.3
    return 0.9 if stated else 0.8


def _latin_score(character: str, run_length: int, in_word: bool) -> float:
    """Accented letters stand alone or in pairs inside a word; anything else is suspicious."""
    pair = 2
    if character in _SINGLE_SYMBOLS:
        return 0.8 if run_length == 1 else 0.1
    if not character.isalpha() or run_length > pair:
        return 0.1
    return 0.9 if in_word else 0.3


def _cjk_score(character: str) -> float:
    """Common characters first: GB 2312 level 1, level 2, GBK, the rest."""
    if _script(character) != "CJK":
        return 0.9
    try:
        lead = character.encode("gb2312")[0]
    except UnicodeEncodeError:
        return 0.75 if ord(character) <= 0x9FFF else 0.6  # noqa: PLR2004 - end of the basic block
    return 1.0 if lead <= 0xD7 else 0.9  # noqa: PLR2004 - last row of level 1


def _hardly_by_chance(text: str) -> bool:
    """Tell whether valid UTF-8 is too regular to be GBK: several long characters, or only CJK."""
    long_characters = sum(ord(character) > 0x7FF for character in text)  # noqa: PLR2004 - three bytes
    return long_characters >= 3 or _only_cjk(text)  # noqa: PLR2004 - enough of them


def _only_cjk(text: str) -> bool:
    high = [character for character in text if not character.isascii()]
    return bool(high) and all(
        _script(character) in _CJK_SCRIPTS
        or any(low <= ord(character) <= end for low, end in _CJK_PUNCTUATION_BLOCKS)
        for character in high
    )


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    """Return the first word of the character's Unicode name: its script, for letters."""
    return unicodedata.name(character, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]


def known_charset(name: str) -> bool:
    """Tell whether `name` is a character set that `decode_text` takes as an override."""
    try:
        "x".encode(_codec(name))
    except (LookupError, UnicodeError):
        return False
    return True
