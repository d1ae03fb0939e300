"""Names and words in letters.

Oracle: PS3.5 section K.2 writes 张小东 as Zhang^XiaoDong; surname readings are those of the
dictionary of modern Chinese (现代汉语词典), written out here by hand.
"""

import pytest

from hub.kit.pinyin import COMPOUND_SURNAMES, SURNAME_READINGS, name_in_letters, split_name, words_in_letters


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("张小东", "Zhang^XiaoDong"),
        ("王秀英", "Wang^XiuYing"),
        ("郑伟", "Zheng^Wei"),
        ("李昞", "Li^Bing"),
        ("单雄信", "Shan^XiongXin"),
        ("曾国藩", "Zeng^GuoFan"),
        ("仇英", "Qiu^Ying"),
        ("卜算子", "Bu^SuanZi"),
        ("尉迟恭", "Yuchi^Gong"),
        ("欧阳娜娜", "Ouyang^NaNa"),
        ("吕布", "Lyu^Bu"),
        ("王某之女", "Wang^MouZhiNyu"),
        ("王", "Wang"),
        ("WANG XIUYING", "WANG XIUYING"),
        ("Müller^Jürgen", "Muller^Jurgen"),
        ("阿依古丽·买买提", "AYiGuLiMaiMaiTi"),
    ],
)
def test_names(name: str, letters: str) -> None:
    assert name_in_letters(name) == letters


def test_what_has_no_reading_stays_told_apart() -> None:
    first, second = name_in_letters("王\U00020bb7"), name_in_letters("王\U0003134a")
    assert first.isascii()
    assert second.isascii()
    assert first != second


def test_a_name_is_split_only_where_it_is_of_the_pattern() -> None:
    assert split_name("王秀英") == ("王", "秀英")
    assert split_name("司马光") == ("司马", "光")
    assert split_name("司马") == ("司", "马")
    assert split_name("阿依古丽·买买提") == ("阿依古丽·买买提", "")
    assert split_name("阿依古丽买买提") == ("阿依古丽买买提", "")
    assert split_name("WANG") == ("WANG", "")


def test_words() -> None:
    assert words_in_letters("胸部正侧位") == "Xiong Bu Zheng Ce Wei"
    assert words_in_letters("胸部CT 平扫") == "Xiong Bu CT Ping Sao"


def test_the_tables_agree() -> None:
    compounds = {surname for surname in SURNAME_READINGS if len(surname) > 1}
    assert compounds <= COMPOUND_SURNAMES
    assert all(len(surname) == 2 for surname in COMPOUND_SURNAMES)


def test_every_common_character_has_ascii_letters() -> None:
    level_one = [
        bytes((lead, trail)).decode("gb2312", errors="ignore")
        for lead in range(0xB0, 0xD8)
        for trail in range(0xA1, 0xFF)
    ]
    for character in filter(None, level_one):
        letters = words_in_letters(character)
        assert letters.isascii(), character
        assert letters.isalpha(), character
