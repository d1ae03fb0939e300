"""Names and words on their way to a device; the forms are those of PS3.5 annexes J and K, written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dicom.identifier import GB2312_EXTENSION
from hub.worklist.wire_text import charset_for, name_matches, wildcard_matches, wire_name, wire_text

ASCII, UTF_8 = "", "ISO_IR 192"


@pytest.mark.parametrize(
    ("device", "query", "charset"),
    [
        ("GB18030", "ISO_IR 100", "GB18030"),  # what is registered wins
        ("gbk", "", "GBK"),
        (None, "ISO_IR 192", UTF_8),
        (None, "GB18030", "GB18030"),
        (None, "\\ISO 2022 IR 58", GB2312_EXTENSION),
        (None, "ISO_IR 100", "ISO_IR 100"),
        (None, "", ASCII),
        (None, "NONSENSE", ASCII),
    ],
)
def test_the_set_of_a_worklist(device: str | None, query: str, charset: str) -> None:
    assert charset_for(device, query) == charset


@pytest.mark.parametrize(
    ("name", "charset", "sent"),
    [
        ("王秀英", "GB18030", "Wang^XiuYing=王^秀英"),
        ("王秀英", UTF_8, "Wang^XiuYing=王^秀英"),
        ("王秀英", GB2312_EXTENSION, "Wang^XiuYing=王^秀英"),
        ("王秀英", ASCII, "Wang^XiuYing"),
        ("王秀英", "ISO_IR 100", "Wang^XiuYing"),
        ("李䶮", "GBK", "Li^Yan"),  # the character is beyond GBK, so that no other takes its place
        ("李䶮", "GB18030", "Li^Yan=李^䶮"),
        ("欧阳娜娜", UTF_8, "Ouyang^NaNa=欧阳^娜娜"),
        ("阿依古丽·买买提", UTF_8, "AYiGuLiMaiMaiTi=阿依古丽·买买提"),
        ("WANG^XIUYING", ASCII, "WANG^XIUYING"),
        ("Müller", "ISO_IR 100", "Müller"),
        ("Müller", ASCII, "Muller"),
        ("王=秀\\英", UTF_8, "Wang Xiu Ying=王 秀 英"),
    ],
)
def test_names(name: str, charset: str, sent: str) -> None:
    assert wire_name(name, charset) == sent


def test_texts_are_one_line_that_the_device_can_show() -> None:
    assert wire_text("咳嗽\n一周", "GB18030") == "咳嗽 一周"
    assert wire_text("胸部\\腹部", UTF_8) == "胸部 腹部"
    assert wire_text("胸部正位", ASCII) == "Xiong Bu Zheng Wei"
    assert wire_text("长" * 100, UTF_8) == "长" * 64
    assert len(wire_text("长" * 100, ASCII)) <= 64


@pytest.mark.parametrize(
    ("key", "name", "fits"),
    [
        ("", "王秀英", True),
        ("*", "王秀英", True),
        ("王秀英", "王秀英", True),
        ("王^秀英", "王秀英", True),
        ("王*", "王秀英", True),
        ("?秀英", "王秀英", True),
        ("wang^xiuying", "王秀英", True),
        ("WANG XIU*", "王秀英", True),
        ("Wang^XiuYing=王^秀英", "王秀英", True),
        ("Wang^XiuYing=李^秀英", "王秀英", False),
        ("Wang^XiuLan=王^秀英", "王秀英", False),
        ("LV BU", "吕布", True),
        ("LYU BU", "吕布", True),
        ("SILVA*", "Silva^Ana", True),
        ("秀*", "王秀英", False),
        ("王", "王秀英", False),
        ("WANG", "王秀英", False),
        ("郑伟", "郑玮", False),
    ],
)
def test_names_are_found_as_people_type_them(key: str, name: str, fits: bool) -> None:
    assert name_matches(key, name) is fits


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_wildcards_match_as_a_slow_rule_says(pattern: str, text: str) -> None:
    def slow(rule: str, rest: str) -> bool:
        if not rule:
            return not rest
        if rule[0] == "*":
            return any(slow(rule[1:], rest[at:]) for at in range(len(rest) + 1))
        return bool(rest) and rule[0] in ("?", rest[0]) and slow(rule[1:], rest[1:])

    assert wildcard_matches(pattern, text) is slow(pattern, text)


def test_a_key_of_nothing_but_stars_takes_no_time() -> None:
    assert not wildcard_matches("*a" * 2000 + "b", "a" * 4000)
