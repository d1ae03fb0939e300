"""The one XML reader: what it tolerates, what it refuses, and that it never opens anything.

Oracle for well-formed files: the standard library's ElementTree.
"""

import copy
import random
import socket
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import (
    FormatFeature,
    NoLeads,
    NotAWaveform,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats import xml
from hub.ecg.formats.xml import parse_xml, root_of
from hub.ecg.formats.xml_values import (
    Lead,
    base64_bytes,
    block,
    int16_samples,
    listed_samples,
    moment_from_digits,
    number_of,
    rate_from_interval,
    resolution_mv,
    whole_number_of,
)
from hub.ecg.read import read_ecg
from hub.errors import HubError, Malformed
from tests.ecg import test_aecg, test_cardiosoft, test_mortara, test_muse, test_philips, test_schiller
from tests.ecg.records import load
from tests.ecg.test_read import accept_or_refuse

SEEDS = {
    "aecg": test_aecg.aecg(test_aecg.series(test_aecg.sequences(test_aecg.lead()))),
    "philips plain": test_philips.plain(test_philips.with_pulse(test_philips.twelve(800))),
    "philips xli": test_philips.compressed(test_philips.twelve(1000)),
    "muse": test_muse.muse(test_muse.waveform("Median"), test_muse.waveform()),
    "cardiosoft": test_cardiosoft.cardiosoft(test_cardiosoft.strip()),
    "mortara": test_mortara.eli(test_mortara.rhythm(), test_mortara.cycle()),
    "schiller": test_schiller.sema(test_schiller.wave()),
}
NAME = "王小明"
GIVEN = f"<a><name>{NAME}</name></a>"


def refuse(data: bytes) -> HubError:
    """Read and expect one of the hub's own errors, soon."""
    began = time.process_time()
    with pytest.raises(HubError) as caught:
        read_ecg({"x": data})
    assert time.process_time() - began < 10, "an order of magnitude beyond what any refusal takes"
    return caught.value


class TestTree:
    def test_agrees_with_elementtree(self) -> None:
        data = load("hl7_aecg.xml")["hl7_aecg.xml"]
        ours = list(parse_xml(data).root.walk())
        theirs = list(ET.fromstring(data).iter())
        assert [e.name for e in ours] == [e.tag.partition("}")[2] for e in theirs]
        assert [e.text for e in ours] == [(e.text or "").strip() for e in theirs]

    def test_paths(self) -> None:
        root = parse_xml(b'<h:a xmlns:h="u"><h:b k=" v "><c>1</c></h:b><b><c> 2 </c></b></h:a>').root
        assert [c.text for c in root.all("b/c")] == ["1", "2"]
        assert root.find("b").get("k") == "v"
        assert not root.find("b/d")
        assert root.find("b/d/e").text == root.find("x").get("y") == ""

    def test_text_of_many_pieces_is_one(self) -> None:
        digits = " ".join(str(n) for n in range(200_000))
        text = parse_xml(f"<a>{digits}<!-- -->&#32;<b/>200000</a>".encode()).root.text
        assert np.array_equal(listed_samples(text), np.arange(200_001))


class TestRootOf:
    @pytest.mark.parametrize(
        ("data", "root"),
        [
            (b'<?xml version="1.0"?>\n<!-- <no> --><x:Root a="1">', "Root"),
            (b'<!DOCTYPE R SYSTEM "r.dtd"><R/>', "R"),
            (b'<!DOCTYPE R [<!ENTITY e "f">]><R/>', "R"),
            ('\ufeff<?xml version="1.0" encoding="utf-16"?><W>'.encode("utf-16-le"), "W"),
            ("<?xml?><W>".encode("utf-16-be"), "W"),
            (b"\xef\xbb\xbf  <U>", "U"),
            (b"no markup", ""),
            (b"", ""),
            (b"<" * 100_000, ""),
            (b"<!--" * 100_000, ""),
            (bytes(range(256)), ""),
        ],
    )
    def test_names(self, data: bytes, root: str) -> None:
        assert root_of(data)[0] == root


class TestCharset:
    @pytest.mark.parametrize(
        ("declared", "actual"),
        [
            ("utf-8", "utf-8"),
            ("UTF-16", "utf-16"),
            ("GBK", "gbk"),
            ("gb2312", "gb2312"),
            ("GB18030", "gb18030"),
            ("utf-8", "gbk"),
            ("ISO-8859-1", "gbk"),
            ("ISO-8859-1", "utf-8"),
            ("GBK", "utf-8"),
            ("utf-16", "utf-8"),
            ("utf-8", "utf-16"),
            ("", "utf-8"),
            ("", "gbk"),
            ("x-made-up", "utf-8"),
        ],
    )
    def test_names_are_read_whatever_is_declared(self, declared: str, actual: str) -> None:
        head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
        document = parse_xml((head + GIVEN).encode(actual))
        assert document.read(document.root.find("name").text) == NAME
        assert document.charset.lower() == ("utf-16" if actual == "utf-16" else declared.lower())

    def test_what_the_device_is_known_to_send_wins(self) -> None:
        data = '<?xml version="1.0" encoding="utf-8"?><a><name>Müller</name></a>'.encode("cp1252")
        document = parse_xml(data, charset_override="cp1252")
        assert document.read(document.root.find("name").text) == "Müller"

    def test_a_doubtful_reading_is_said(self) -> None:
        document = parse_xml(b"<a>\x80\xff</a>")
        document.read(document.root.text)
        assert document.unsure

    @pytest.mark.parametrize("other", ["", NAME])
    def test_character_references(self, other: str) -> None:
        data = f'<?xml version="1.0" encoding="utf-8"?><a>&#233;&#x738B;{other}</a>'.encode()
        document = parse_xml(data)
        assert document.read(document.root.text) == f"é王{other}"

    @pytest.mark.parametrize("data", ["<a>\ud800</a>".encode("utf-16-le", "surrogatepass"), b"<\x00?\x00x"])
    def test_broken_utf_16(self, data: bytes) -> None:
        with pytest.raises(Malformed):
            parse_xml(b"\xff\xfe" + data[:-1])


class Listener:
    """A local server that counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()


ROOTS = (
    "AnnotatedECG",
    "restingecgdata",
    "RestingECG",
    "CardiologyXML",
    "ECG ACQUISITION_TIME='1'",
    "x.SchillerEDI",
    "zqecg",
)


class TestNothingIsFetched:
    @pytest.mark.parametrize("root", ROOTS)
    def test_neither_the_net_nor_the_disk(self, root: str, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("SECRET-CONTENT")
        listener = Listener()
        tag = root.split(maxsplit=1)[0]
        url = f"http://127.0.0.1:{listener.port}/x"
        for doctype, text in (
            (f'SYSTEM "{url}"', ""),
            (f'PUBLIC "p" "{url}"', "&undefined;"),
            (f'[<!ENTITY e SYSTEM "{url}">]', "&e;"),
            (f'[<!ENTITY e SYSTEM "{secret.as_uri()}">]', "&e;"),
            (f'[<!ENTITY % e SYSTEM "{url}"> %e;]', ""),
            (f'SYSTEM "{url}" [<!ENTITY % e SYSTEM "{secret.as_uri()}"> %e;]', ""),
        ):
            data = f"<!DOCTYPE {tag} {doctype}><{root}><PatientID>{text}</PatientID></{tag}>".encode()
            assert "SECRET" not in str(refuse(data))
        # The listener does work: this visit is the only one.
        socket.create_connection(("127.0.0.1", listener.port)).close()
        for _ in range(100):
            if listener.visits:
                break
            time.sleep(0.01)
        assert listener.visits == 1
        listener.socket.close()

    def test_includes_and_schemas_are_text(self) -> None:
        data = b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd"/></a>'
        assert parse_xml(data).root.find("include").text == ""


class TestHostile:
    def test_a_bomb_of_entities(self) -> None:
        lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
        data = f'<!DOCTYPE AnnotatedECG [<!ENTITY l0 "lol">{lol}]><AnnotatedECG>&l11;</AnnotatedECG>'
        assert isinstance(refuse(data.encode()), FormatFeature)

    def test_default_attributes(self) -> None:
        data = f'<!DOCTYPE a [<!ATTLIST b c CDATA "{"x" * 10_000}">]><a>{"<b/>" * 10_000}</a>'
        with pytest.raises(FormatFeature):
            parse_xml(data.encode())

    @pytest.mark.parametrize("root", ROOTS)
    def test_deep_nesting(self, root: str) -> None:
        error = refuse(f"<{root}>".encode() + b"<a>" * 100_000)
        assert isinstance(error, RecordingTooLarge)
        assert error.facts["limit"] == "depth"

    def test_many_elements(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(xml, "MAX_ELEMENTS", 1000)
        parse_xml(b"<a>" + b"<a/>" * 999 + b"</a>")
        error = refuse(b"<AnnotatedECG>" + b"<a/>" * 1000 + b"</AnnotatedECG>")
        assert error.facts["limit"] == "elements"

    @pytest.mark.parametrize("start", [b"<a b='", b"<!--", b"<a "])
    def test_one_endless_token(self, start: bytes) -> None:
        with pytest.raises(RecordingTooLarge) as caught:
            parse_xml(b"<a>" + start + b"x" * 12_000_000)
        assert caught.value.facts["limit"] == "token"

    def test_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(xml, "MAX_XML_BYTES", 10)
        with pytest.raises(RecordingTooLarge):
            parse_xml(b"<a>   </a> ")

    @pytest.mark.parametrize(
        "data", [b"", b"<", b"<a>", b"<a></b>", b"<a/><b/>", b"<?xml?>", b"<a>\x00</a>", b"<a>&b;</a>"]
    )
    def test_not_well_formed(self, data: bytes) -> None:
        with pytest.raises(Malformed):
            parse_xml(data)


class TestMutations:
    """Well-formed files with single values, attributes and elements changed, and files with bytes changed."""

    VALUES = (
        "",
        "0",
        "-1",
        "1e308",
        "1e-308",
        "nan",
        "9" * 30,
        "x",
        "1 2 3",
        "1,,2",
        "AAAA",
        "uV",
        "王",
        "True",
    )

    @pytest.mark.parametrize("kind", SEEDS)
    def test_a_waveform_or_a_refusal(self, kind: str) -> None:
        tree, chance = ET.fromstring(SEEDS[kind]), random.Random(kind)
        for _ in range(60):
            changed = copy.deepcopy(tree)
            element = chance.choice(list(changed.iter()))
            if element.attrib and chance.random() < 0.5:
                element.set(chance.choice(sorted(element.attrib)), chance.choice(self.VALUES))
            elif len(element) and chance.random() < 0.5:
                element.remove(chance.choice(list(element)))
            else:
                element.text = chance.choice(self.VALUES)
            accept_or_refuse({"x": ET.tostring(changed, chance.choice(("utf-8", "utf-16", "gb18030")))})
        for _ in range(60):
            data = bytearray(SEEDS[kind])
            data[chance.randrange(len(data))] = chance.randrange(256)
            accept_or_refuse({"x": bytes(data)})


class TestValues:
    @pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999", "9" * 1_000_000, "1 2"])
    def test_no_number(self, text: str) -> None:
        assert number_of(text) is None
        assert whole_number_of(text) is None

    def test_numbers(self) -> None:
        assert number_of(" -2.5e3 ") == -2500
        assert whole_number_of("5000.0") == 5000
        assert whole_number_of("0.5") is None

    @pytest.mark.parametrize("text", ["1 x", "1 nan", "1 inf", "1 " + "9" * 400, "1,2"])
    def test_no_samples(self, text: str) -> None:
        with pytest.raises(Malformed):
            listed_samples(text)

    def test_comma_lists(self) -> None:
        assert listed_samples(" 1,-2,\n3,\n", comma=True).tolist() == [1, -2, 3]
        with pytest.raises(Malformed):
            listed_samples("1,,2", comma=True)
        assert len(listed_samples("1," * 1_500_000, comma=True)) == 1_500_000

    @pytest.mark.parametrize("text", ["A", "A===", "AAAA=AAA", "Ä", "AAA*", "AA==AA"])
    def test_no_base64(self, text: str) -> None:
        with pytest.raises(Malformed):
            base64_bytes(text)

    def test_base64_in_lines(self) -> None:
        assert int16_samples(base64_bytes(" AQD/\n/w== ")).tolist() == [1, -1]
        with pytest.raises(Malformed):
            int16_samples(b"\x00")

    def test_rates(self) -> None:
        assert rate_from_interval(0.002) == 500
        assert rate_from_interval(0.00277777777777778) == 360
        for seconds in (0.0, -1.0, 5e-324):
            with pytest.raises(RateMissing):
                rate_from_interval(seconds)

    @pytest.mark.parametrize(("text", "unit"), [("", 1.0), ("0", 1.0), ("2", None), ("1e300", 1e300)])
    def test_resolutions(self, text: str, unit: float | None) -> None:
        with pytest.raises(UnitsMissing):
            resolution_mv(text, unit)

    def test_moments(self) -> None:
        assert str(moment_from_digits("20021122091000.5")) == "2002-11-22 09:10:00.500000"
        assert str(moment_from_digits("200211220910+0800")) == "2002-11-22 09:10:00+08:00"
        assert str(moment_from_digits("20021122091000-0000")) == "2002-11-22 09:10:00+00:00"
        for text in ("", "2002", "20021322091000", "20021122091000+9999", "٢٠٠٢١١٢٢٠٩١٠"):
            assert moment_from_digits(text) is None

    def test_blocks(self) -> None:
        one = block([Lead("AVR", np.ones(3), 2.0, 0.5), Lead("", np.zeros(3), 1.0)], 500.0)
        assert one.leads == ("aVR", "channel 2")
        assert one.samples_mv[:, 0].tolist() == [2.5] * 3
        assert one.warnings == ("lead_unnamed",)
        assert block([Lead("I", np.ones(1), 1.0)] * 2, 500.0).warnings == ("lead_repeated",)
        with pytest.raises(Truncated):
            block([Lead("I", np.ones(3), 1.0), Lead("II", np.ones(2), 1.0)], 500.0)
        with pytest.raises(NoLeads):
            block([Lead("I", np.ones(0), 1.0)], 500.0)
        with pytest.raises(NoLeads):
            block([], 500.0)
        with pytest.raises(NotAWaveform):
            block([Lead("I", np.full(2, 1e300), 1e300)], 500.0)
