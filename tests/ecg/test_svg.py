"""The drawn sheet: true millimetres, nothing lost, nothing executable; rendered by typst."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from hub.ecg.paper import LAYOUTS, lay_out
from hub.ecg.read import read_ecg
from hub.ecg.svg import draw_svg
from hub.ecg.waveform import Waveform
from tests.ecg.records import load, ludb

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recording() -> Waveform:
    return read_ecg(ludb(88))


def walk(path: str) -> np.ndarray:
    """Follow a path of one absolute move and relative lines, as an SVG reader would."""
    head, _, tail = path.partition("l")
    start = np.array([float(v) for v in head[1:].split()])
    steps = np.array([float(v) for v in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", tail)]).reshape(-1, 2)
    return np.vstack([start, start + np.cumsum(steps, axis=0)])


def traces(svg: str) -> list[str]:
    return [d for d in re.findall(r'<path d="(M[^"]*)"/>', svg) if "l" in d]


class TestTrueScale:
    @pytest.mark.parametrize("name", list(LAYOUTS))
    def test_one_unit_is_one_millimetre_and_a4_holds_it(self, recording: Waveform, name: str) -> None:
        root = ET.fromstring(draw_svg(recording, header_lines=["一"] * 6, footer="x", layout=LAYOUTS[name]))
        width, height = (float(root.attrib[key].removesuffix("mm")) for key in ("width", "height"))
        assert [float(v) for v in root.attrib["viewBox"].split()] == [0, 0, width, height]
        assert width <= 277
        assert height <= 190

    def test_drawn_points_are_the_layout_to_a_hundredth(self, recording: Waveform) -> None:
        """Oracle: the layout's own points; 0.01 mm is 1 uV and 0.4 ms."""
        paper = lay_out(recording)
        drawn = [walk(d) for d in traces(draw_svg(recording, footer=""))][len(paper.pulses) :]
        wanted = [line for segment in paper.segments for line in segment.lines]
        assert len(drawn) == len(wanted)
        for ours, exact in zip(drawn, wanted, strict=True):
            np.testing.assert_allclose(ours[[0, -1]], exact[[0, -1]], atol=0.0051)
            height = np.interp(exact[:, 0], ours[:, 0], ours[:, 1])
            assert np.abs(height - exact[:, 1]).max() <= 0.06
            assert ours[:, 1].min() == pytest.approx(exact[:, 1].min(), abs=0.0051)
            assert ours[:, 1].max() == pytest.approx(exact[:, 1].max(), abs=0.0051)

    def test_no_name_lies_over_a_trace(self, recording: Waveform) -> None:
        svg = draw_svg(recording, footer="")
        assert svg.rindex('paint-order="stroke"') < svg.index("<clipPath")

    def test_grid_has_a_line_for_every_millimetre(self, recording: Waveform) -> None:
        paper = lay_out(recording)
        svg = draw_svg(recording, footer="")
        verticals = {int(x) for x in re.findall(r"M(\d+) 0V", svg)}
        horizontals = {int(y) for y in re.findall(r"M0 (\d+)H", svg)}
        assert verticals == set(range(round(paper.width_mm) + 1))
        assert horizontals == set(range(round(paper.height_mm) + 1))


class TestText:
    def test_markup_in_text_stays_text(self, recording: Waveform) -> None:
        evil = '<script>alert(1)</script>&"\x00\x1b'
        svg = draw_svg(recording, header_lines=[evil], footer=evil)
        root = ET.fromstring(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert sum('<script>alert(1)</script>&"' in (t.text or "") for t in root.iter(f"{SVG}text")) == 2

    def test_spaces_between_fields_stay(self, recording: Waveform) -> None:
        words = [
            t.text
            for t in ET.fromstring(draw_svg(recording, header_lines=["张三　女  59"], footer="")).iter()
        ]
        assert "张三　女\u00a0\u00a059" in words

    def test_a_lead_name_is_text_too(self) -> None:
        wave = Waveform(np.zeros((5000, 1)), 500.0, ("<b>",), "test")
        ET.fromstring(draw_svg(wave, footer=""))

    def test_scale_and_lead_names_are_printed(self, recording: Waveform) -> None:
        words = [t.text for t in ET.fromstring(draw_svg(recording, footer="脚注")).iter(f"{SVG}text")]
        assert "25 mm/s · 10 mm/mV · 3×4+1" in words
        assert {"I", "aVR", "V6", "脚注"} <= set(words)

    @pytest.mark.parametrize(("high_mv", "said"), [(2.0, False), (3.0, False), (9.0, True)])
    def test_a_wave_that_leaves_the_paper_is_said(self, high_mv: float, *, said: bool) -> None:
        """By hand: on a grid of at most 150 mm nothing has 90 mm above its baseline but the last rows."""
        samples = np.zeros((5000, 1))
        samples[1000, 0] = high_mv
        svg = draw_svg(Waveform(samples, 500.0, ("V1",), "test"), footer="f<", when_cut="<出>")
        words = ["".join(t.itertext()) for t in ET.fromstring(svg).iter(f"{SVG}text")]
        assert ("<出> · f<" in words, "f<" in words) == (said, not said)

    def test_nothing_from_outside(self, recording: Waveform) -> None:
        svg = draw_svg(recording, footer="").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in svg
        assert "href" not in svg
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) == set(re.findall(r'<clipPath id="([^"]+)"', svg))

    def test_two_sheets_share_no_id(self, recording: Waveform) -> None:
        other = read_ecg(ludb(64))
        ids = [re.findall(r' id="([^"]+)"', draw_svg(wave, footer="")) for wave in (recording, other)]
        assert len(set(ids[0] + ids[1])) == 2


class TestSpecialTraces:
    def test_gaps_are_not_bridged(self) -> None:
        samples = np.zeros((5000, 1))
        samples[:, 0] = np.sin(np.arange(5000))
        samples[1000:1100] = np.nan
        whole = Waveform(np.nan_to_num(samples), 500.0, ("II",), "test")
        broken = Waveform(samples, 500.0, ("II",), "test")
        assert len(traces(draw_svg(broken, footer=""))) == len(traces(draw_svg(whole, footer=""))) + 2

    def test_a_flat_line_is_one_move(self) -> None:
        svg = draw_svg(Waveform(np.zeros((5000, 1)), 500.0, ("II",), "test"), footer="")
        assert any(re.fullmatch(r"M10 125l249\.95 0", d) for d in traces(svg))

    def test_huge_values_do_no_harm(self) -> None:
        ET.fromstring(draw_svg(Waveform(np.full((5000, 1), 1e9), 500.0, ("II",), "test"), footer=""))

    def test_size_in_bytes(self) -> None:
        assert len(draw_svg(read_ecg(ludb(64)), footer="")) < 130_000
        assert len(draw_svg(read_ecg(load("mortara_12lead.dcm")), footer="")) < 320_000


def test_typst_renders_it_at_true_size(recording: Waveform) -> None:
    """Oracle: typst's renderer at 10 px/mm puts the pulse where the ruler says."""
    from io import BytesIO

    import typst
    from PIL import Image

    svg = draw_svg(recording, footer="")
    source = b'#set page(width: 277mm, height: auto, margin: 0mm)\n#image("ecg.svg")'
    png = typst.compile({"main.typ": source, "ecg.svg": svg.encode()}, format="png", ppi=254.0)
    picture = np.asarray(Image.open(BytesIO(png)).convert("L")).astype(int)
    assert picture.shape[1] == 2770
    # The pulse's top runs 10 mm above the first baseline (20 mm down the grid, which starts 1 mm down),
    # from 2.5 to 7.5 mm of the grid, which starts (277 - 265) / 2 mm from the left.
    row = (1 + 20 - 10) * 10
    dark = np.flatnonzero(picture[row, :200] < 90)
    assert dark.min() == pytest.approx((6 + 2.5) * 10, abs=2.5)
    assert dark.max() == pytest.approx((6 + 7.5) * 10, abs=2.5)
