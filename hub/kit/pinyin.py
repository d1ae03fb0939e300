"""Chinese names and words in Latin letters, for devices that cannot show Han characters.

A reading is a help for the eye, never an identity: characters with several readings get
the usual one. Surnames have readings of their own (单 is Shan, not Dan), which a
dictionary of words does not know.
"""

import os
import re
import unicodedata
from functools import lru_cache

from hub.kit.people import has_han

SURNAME_READINGS = {
    "单": "Shan",
    "曾": "Zeng",
    "仇": "Qiu",
    "解": "Xie",
    "查": "Zha",
    "区": "Ou",
    "朴": "Piao",
    "缪": "Miao",
    "翟": "Zhai",
    "员": "Yun",
    "繁": "Po",
    "种": "Chong",
    "秘": "Bi",
    "折": "She",
    "黑": "He",
    "都": "Du",
    "卜": "Bu",
    "薄": "Bo",
    "召": "Shao",
    "尉迟": "Yuchi",
    "万俟": "Moqi",
    "单于": "Chanyu",
}
"""Readings that hold for the character as a surname only."""

COMPOUND_SURNAMES = frozenset(
    {"欧阳", "上官", "皇甫", "令狐", "诸葛", "司徒", "司马", "申屠", "夏侯", "尉迟", "慕容", "东方", "公孙"}
    | {"独孤", "南宫", "宇文", "长孙", "闻人", "澹台", "淳于", "单于", "太史", "端木", "钟离", "鲜于", "呼延"}
    | {"赫连", "濮阳", "轩辕", "百里", "东郭", "西门", "万俟", "公冶", "宗政", "第五", "司空", "拓跋", "乐正"}
)
"""Surnames of two characters that occur today."""

LONGEST_SPLIT = 5
"""Longer names are not of the pattern surname and given name (阿依古丽买买提)."""


def split_name(name: str) -> tuple[str, str]:
    """Split a name in Han characters into surname and given name.

    A name that is not of that pattern (mixed scripts, a middle dot, very long) comes
    back whole, with an empty given name.
    """
    if not 1 < len(name) <= LONGEST_SPLIT or not all(has_han(character) for character in name):
        return name, ""
    at = 2 if name[:2] in COMPOUND_SURNAMES and len(name) > 2 else 1  # noqa: PLR2004 - something must be left
    return name[:at], name[at:]


@lru_cache(maxsize=4096)
def name_in_letters(name: str) -> str:
    """Return a name as PS3.5 annex K writes Chinese names: ``Zhang^XiaoDong`` for 张小东.

    Names without Han characters lose their accents only. What has no reading at all
    appears as its code point, so that two such names stay different.
    """
    if not has_han(name):
        return _plain(name)
    family, given = split_name(name)
    whole = "".join(_syllables(family))
    surname = SURNAME_READINGS.get(family) or (whole.capitalize() if given else whole)
    return f"{surname}^{''.join(_syllables(given))}" if given else surname


def name_by_sound(name: str) -> str:
    """Return the words by which a Chinese name is looked for in letters: ``wang xiuying ying`` for 王秀英.

    Empty for other names. Each word may also be typed in part.
    """
    if not has_han(name):
        return ""
    family, _, given = name_in_letters(name).partition("^")
    syllables = re.findall("[A-Z][^A-Z]*", given)
    return " ".join((family, given, *syllables[1:])).strip().casefold()


def words_in_letters(text: str) -> str:
    """Return a text with each Han character as a syllable: ``Xiong Bu CT`` for 胸部CT."""
    return " ".join(" ".join(_syllables(text)).split())


def _syllables(text: str) -> list[str]:
    """Return the reading of each Han character, and what stands between them in plain letters."""
    found: list[str] = []
    for character in text:
        if has_han(character):
            found += [_reading(character), ""]
        elif found:
            found[-1] += _plain(character)
        else:
            found.append(_plain(character))
    return [part for part in found if part]


@lru_cache(maxsize=8192)
def _reading(character: str) -> str:
    """Return the usual reading of one Han character, ``Lyu`` for 吕: ü is YU in documents (GB/T 28039)."""
    # Single characters are asked for only; the phrases would take 43 MB beside them.
    os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")
    from pypinyin import Style, lazy_pinyin

    (found,) = lazy_pinyin(character, style=Style.NORMAL) or [character]
    if found == character:
        return f"U{ord(character):X}"
    return _plain(found.replace("ü", "yu").replace("v", "yu")).capitalize()


def _plain(text: str) -> str:
    """Return a text in another Latin script without its accents; other scripts are left out."""
    folded = unicodedata.normalize("NFKD", text)
    return "".join(character for character in folded if character.isascii())
