"""Truths are written here as text; Python's codecs make the bytes that a device would send."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.kit.text import decode_text, name_readings, person_name

SURNAMES = (
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜谢邹喻水窦章云苏"
    "潘葛彭鲁韦马苗凤花方俞任袁柳鲍史唐薛雷贺倪汤罗毕郝安常于傅齐康余元顾孟黄萧尹闫岑"
)
GIVEN = (
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂香月红玉梅建国华志文小东晓春秋云"
    "飞龙凤山水金银福贵荣昌盛德义仁礼智信诚海江河湖波浪天地星辰昞瑋東"
)
DECLARATIONS = ["", "ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "GB18030\\ISO IR 192", "\\ISO 2022 IR 58"]


class TestDecodeText:
    @pytest.mark.parametrize("declared", DECLARATIONS)
    @pytest.mark.parametrize("codec", ["gbk", "gb18030", "utf-8"])
    def test_chinese_under_any_declaration(self, codec: str, declared: str) -> None:
        for surname, given_name in itertools.product(SURNAMES[::3], GIVEN[::2]):
            name = surname + given_name
            assert decode_text(name.encode(codec), declared).text == name

    @pytest.mark.parametrize("declared", DECLARATIONS)
    @pytest.mark.parametrize(
        "name", ["郑伟", "谢霞", "郑强", "施伟", "李昞", "岑昞", "王小东", "王", "张三丰"]
    )
    def test_names_that_are_also_valid_utf8(self, name: str, declared: str) -> None:
        """郑伟 in GBK is valid UTF-8 that reads as a Hebrew accent and a Greek letter."""
        read = decode_text(name.encode("gbk"), declared)
        assert read.text == name
        assert read.declared == declared

    def test_mojibake_stored_as_utf8_is_undone(self) -> None:
        garbled = "王小东".encode("gbk").decode("latin-1")
        assert garbled == "ÍõÐ¡¶«"
        read = decode_text(garbled.encode(), "ISO_IR 192")
        assert read.text == "王小东"
        assert read.used == "GB18030 within ISO_IR 100"
        assert not read.unsure

    @pytest.mark.parametrize("times", [1, 2, 3])
    @pytest.mark.parametrize("western", ["latin-1", "cp1252"])
    @pytest.mark.parametrize("codec", ["gbk", "utf-8"])
    def test_mojibake_of_several_gateways(self, codec: str, western: str, times: int) -> None:
        """Each gateway took the bytes for Western text and stored that as UTF-8."""
        for name in ("王小东", "李建国", "陈秀英"):
            raw = name.encode(codec)
            for _ in range(times):
                with_controls = (bytes([byte]).decode(western, "ignore") or chr(byte) for byte in raw)
                raw = "".join(with_controls).encode()
            for declared in DECLARATIONS:
                read = decode_text(raw, declared)
                assert (read.text, read.unsure) == (name, False), declared

    @pytest.mark.parametrize("text", ["Größe", "Buc^Jérôme", "Fußgröße Größen", "Ærøskøbing"])
    def test_western_text_is_no_mojibake(self, text: str) -> None:
        assert decode_text(text.encode(), "ISO_IR 192").text == text

    @pytest.mark.parametrize("text", ["县昞医院", "李昞", "瑋東"])
    def test_delimiter_bytes_inside_characters(self, text: str) -> None:
        """昞 ends in 0x5C; 瑋 and 東 in 0x7C."""
        assert decode_text(text.encode("gbk"), "GB18030").text == text

    def test_a_character_cut_off_at_the_end_is_dropped(self) -> None:
        read = decode_text("胸部正位摄片检查".encode("gb18030")[:-1], "GB18030")
        assert read.text == "胸部正位摄片检"
        assert read.confidence < 1

    @pytest.mark.parametrize(
        ("text", "codec", "declared"),
        [
            ("Buc^Jérôme", "latin-1", "ISO_IR 100"),
            ("Äneas^Rüdiger", "latin-1", "ISO_IR 100"),
            ("Größe", "latin-1", ""),
            ("25°C", "latin-1", "ISO_IR 100"),
            ("Люкceмбypг", "iso8859_5", "ISO_IR 144"),
            ("Διονυσιος", "iso8859_7", "ISO_IR 126"),
            ("קבנהנ^לרפאל", "iso8859_8", "ISO_IR 138"),
            ("Люксембург", "utf-8", "ISO_IR 192"),
            ("Διονυσιος", "utf-8", "ISO_IR 192"),
            ("བསོད་ནམས", "utf-8", "ISO_IR 192"),
            ("闫䶮𠮷", "gb18030", "GB18030"),
            ("胸部CT平扫+增强", "gb18030", ""),
        ],
    )
    def test_other_scripts_are_left_alone(self, text: str, codec: str, declared: str) -> None:
        assert decode_text(text.encode(codec), declared).text == text

    def test_a_device_override_wins(self) -> None:
        read = decode_text("山田".encode("shift_jis"), "ISO_IR 100", override="shift_jis")
        assert (read.text, read.used, read.confidence) == ("山田", "shift_jis", 1.0)

    def test_ascii_is_certain(self) -> None:
        read = decode_text(b"CHEST PA ", "GBK")
        assert (read.text, read.confidence) == ("CHEST PA", 1.0)

    @given(st.binary(max_size=80), st.sampled_from([*DECLARATIONS, "nonsense", "\\ISO 2022 IR 149"]))
    def test_never_raises(self, raw: bytes, declared: str) -> None:
        read = person_name(raw, declared)
        assert 0 <= read.confidence <= 1


class TestConfidence:
    def test_it_is_calibrated(self) -> None:
        """What is called sure is right; of 1 200 names under six declarations none is wrong and sure.

        Oracle: Python's codecs, from the text that is known.
        """
        sure = wrong_and_sure = total = 0
        for index, (surname, first, second) in enumerate(
            itertools.product(SURNAMES[::4], GIVEN[::5], GIVEN[::7])
        ):
            name = surname + first + (second if index % 2 else "")
            for codec, declared in (("gbk", ""), ("gbk", "ISO_IR 192"), ("utf-8", "GB18030")):
                read = decode_text(name.encode(codec), declared)
                total += 1
                sure += not read.unsure
                wrong_and_sure += read.text != name and not read.unsure
        assert wrong_and_sure == 0
        assert sure / total > 0.99


class TestNameReadings:
    def test_the_right_one_is_among_them_and_scored(self) -> None:
        readings = name_readings("郑伟".encode("gbk"), "ISO_IR 100")
        shown = {reading.used: reading.display for reading in readings}
        assert readings[0].display == "郑伟"
        assert shown["ISO_IR 192"] == "֣ΰ"
        assert shown["ISO_IR 100"] == "Ö£Î°"
        assert all(0 <= reading.confidence <= 1 for reading in readings)

    def test_big5_is_offered(self) -> None:
        assert "陳秀英" in {reading.display for reading in name_readings("陳秀英".encode("big5"), "")}

    def test_ascii_has_one_reading(self) -> None:
        assert [reading.display for reading in name_readings(b"Smith^John ", "ISO_IR 100")] == ["Smith John"]

    @given(st.binary(max_size=40), st.sampled_from(DECLARATIONS))
    def test_never_empty_and_the_automatic_one_is_there(self, raw: bytes, declared: str) -> None:
        readings = name_readings(raw, declared)
        assert person_name(raw, declared).text in {reading.text for reading in readings}


class TestPersonName:
    @pytest.mark.parametrize("codec", ["gbk", "utf-8"])
    def test_a_cut_name_is_for_a_person_to_look_at(self, codec: str) -> None:
        """A description without its last character is still one; a name may be another one."""
        name = person_name("王秀英".encode(codec)[:-1], "")
        assert (name.display, name.cut, name.unsure) == ("王秀", True, True)

    @pytest.mark.parametrize(
        ("raw", "declared", "display"),
        [
            ("Zhang^Wei=张^伟".encode("gb18030"), "GB18030", "张伟"),
            ("Ouyang^NaNa=欧阳^娜娜=".encode("gbk"), "GBK", "欧阳娜娜"),
            ("张^三".encode("gbk"), "", "张三"),
            (b"Smith^John^^Dr", "", "Smith John Dr"),
            ("=王^芳".encode(), "ISO_IR 192", "王芳"),
            (b"", "", ""),
            (b"A^B\\C^D", "", "A B"),
        ],
    )
    def test_display(self, raw: bytes, declared: str, display: str) -> None:
        assert person_name(raw, declared).display == display

    def test_caret_byte_inside_a_character_does_not_split(self) -> None:
        """哵 is 0x865E in GBK: its second byte is the component delimiter."""
        raw = "Li^X=李^哵".encode("gbk")
        assert raw.endswith(b"\x86\x5e")
        assert person_name(raw, "GB18030").ideographic == "李^哵"

    @pytest.mark.parametrize(
        ("raw", "declared", "groups"),
        [
            (
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
                "\\ISO 2022 IR 87",
                ("Yamada^Tarou", "山田^太郎", "やまだ^たろう"),
            ),
            (
                (
                    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
                    b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
                ),
                "ISO 2022 IR 13\\ISO 2022 IR 87",
                ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
            ),
            (
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
                "\\ISO 2022 IR 149",
                ("Hong^Gildong", "洪^吉洞", "홍^길동"),
            ),
            (
                b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
                "\\ISO 2022 IR 58",
                ("Zhang^XiaoDong", "张^小东", ""),
            ),
        ],
        ids=["H.3.1", "H.3.2", "I.2", "K.2"],
    )
    def test_code_extensions(self, raw: bytes, declared: str, groups: tuple[str, str, str]) -> None:
        """Oracle: the names and bytes printed in PS3.5 sections H.3.1, H.3.2, I.2 and K.2."""
        name = person_name(raw, declared)
        assert (name.alphabetic, name.ideographic, name.phonetic) == groups

    @pytest.mark.parametrize(
        ("raw", "declared", "ideographic"),
        [
            (
                b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
                "ISO_IR 192",
                "王^小東",
            ),
            (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "GB18030", "王^小东"),
            (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "GBK", "王^小东"),
        ],
        ids=["J.1", "J.3", "J.4"],
    )
    def test_unicode_and_gb18030(self, raw: bytes, declared: str, ideographic: str) -> None:
        """Oracle: the names and bytes printed in PS3.5 annex J."""
        assert person_name(raw, declared).ideographic == ideographic

    def test_escape_forgotten_after_the_delimiter(self) -> None:
        raw = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\xd0\xa1\xb6\xab"
        assert person_name(raw, "\\ISO 2022 IR 58").display == "张小东"
