"""Document numbers, masks and names.

Identity numbers here are invented; their check digits were worked out by hand from
GB 11643 (weights 2^(18-i) mod 11), and one is the standard's own example.
"""

import pytest

from hub.kit.people import (
    ID_WEIGHTS,
    comparable_name,
    has_han,
    mask_name,
    mask_number,
    same_script,
    sex_of_id_number,
    valid_id_number,
)

EXAMPLE = "11010519491231002X"


class TestIdNumber:
    def test_weights_are_powers_of_two_modulo_eleven(self) -> None:
        """GB 11643-1999 section 6.2: W_i = 2^(i-1) mod 11, counted from the check digit."""
        assert list(ID_WEIGHTS) == [2 ** (18 - place) % 11 for place in range(1, 18)]

    @pytest.mark.parametrize("number", [EXAMPLE, "11010519491231002x", f" {EXAMPLE} ", "440524188001010014"])
    def test_good_ones(self, number: str) -> None:
        assert valid_id_number(number)

    @pytest.mark.parametrize("place", range(18))
    def test_one_wrong_digit_is_found(self, place: int) -> None:
        """A check digit modulo 11 finds every single error."""
        for digit in "0123456789":
            if digit != EXAMPLE[place]:
                assert not valid_id_number(EXAMPLE[:place] + digit + EXAMPLE[place + 1 :])

    @pytest.mark.parametrize(
        "number",
        [
            "",
            "110105491231002",
            EXAMPLE + "1",
            EXAMPLE[:-1],
            "１１０１０５１９４９１２３１００２X",
            "1101051949123100\n2X",
        ],
    )
    def test_other_forms(self, number: str) -> None:
        assert not valid_id_number(number)

    def test_a_day_that_does_not_exist(self) -> None:
        body = "11010519490230002"
        digit = "10X98765432"[sum(int(d) * w for d, w in zip(body, ID_WEIGHTS, strict=True)) % 11]
        assert not valid_id_number(body + digit)

    def test_sex(self) -> None:
        """The 17th digit: odd is male, even female."""
        assert sex_of_id_number(EXAMPLE) == "F"
        assert sex_of_id_number("440524188001010014") == "M"
        assert sex_of_id_number("440524188001010015") == ""


class TestMasks:
    @pytest.mark.parametrize("text", ["", "1", "1234", "12345", "13800138000", EXAMPLE, "AB-1234567890"])
    def test_at_most_the_last_four_are_shown(self, text: str) -> None:
        masked = mask_number(text)
        shown = masked.replace("*", "")
        assert len(shown) <= 4
        assert text.endswith(shown)
        if len(text) <= 4:
            assert shown == ""

    def test_a_name_shows_one_character_and_not_its_length(self) -> None:
        assert [mask_name(name) for name in ("", "王", "王芳", "欧阳志强", "Smith^John")] == [
            "",
            "王*",
            "王*",
            "欧***",
            "S***",
        ]


class TestNames:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("张三", "张^三"),
            ("张三", " 张　三 "),
            ("ZHANG^SAN", "Zhang San"),
            ("ＺＨＡＮＧ", "zhang"),
            ("阿依古丽·买买提", "阿依古丽•买买提"),
            ("豈^弟", "豈弟"),
        ],
    )
    def test_the_same_name(self, first: str, second: str) -> None:
        assert comparable_name(first) == comparable_name(second)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("张三", "张四"),
            ("张三", "张"),
            ("王\ue000", "王\ue001"),
            ("王\U000323b0", "王"),
            ("王", "王\U0003134a"),
        ],
    )
    def test_two_names(self, first: str, second: str) -> None:
        """Also where they differ in a character of private use or one newer than Python's tables."""
        assert comparable_name(first) != comparable_name(second)

    @pytest.mark.parametrize("text", ["张", "Zhang 三", "𠮷", "㛃", "\uf900", "〇", "\U000323b0"])
    def test_ideographs(self, text: str) -> None:
        assert has_han(text)

    @pytest.mark.parametrize("text", ["", "Zhang", "ヤマダ", "김", "Ærø", "123", "·"])
    def test_other_scripts(self, text: str) -> None:
        assert not has_han(text)

    def test_scripts_are_compared(self) -> None:
        assert same_script("张三", "李四")
        assert not same_script("张三", "ZHANG SAN")
