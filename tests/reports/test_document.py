"""Printed reports. Oracles: poppler's programs read the file, fontTools reads the font."""

import io
import re
import subprocess
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from fontTools.ttLib import TTCollection
from PIL import Image

from hub.reports import document
from hub.reports.document import (
    Figure,
    UnprintableFigure,
    missing_glyphs,
    missing_in_report,
    render_report,
)
from tests.fixtures.peers import require_peer
from tests.fixtures.report_samples import LABELS_EN, LABELS_ZH, RARE_NAME, key_image, report, ruled_ecg

CREATED = datetime(2026, 11, 21, 1, 44, tzinfo=UTC)
CONTROLS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F))}


def pages_of(pdf, *options):
    done = subprocess.run(
        [require_peer("pdftotext"), "-layout", *options, "-", "-"], input=pdf, capture_output=True, check=True
    )
    return done.stdout.decode().removesuffix("\f").split("\f")


def text_of(pdf):
    return re.sub(r"[\s\u200b]+", "", "".join(pages_of(pdf)))


def page_sizes(pdf, tmp_path):
    (tmp_path / "report.pdf").write_bytes(pdf)
    done = subprocess.run(
        [require_peer("pdfinfo"), "-l", "99", "report.pdf"], cwd=tmp_path, capture_output=True, text=True
    )
    sizes = re.findall(r"Page +\d+ size: +([\d.]+) x ([\d.]+) pts", done.stdout)
    return [(round(float(w) / 72 * 25.4, 1), round(float(h) / 72 * 25.4, 1)) for w, h in sizes]


def picture_of(pdf, page, dpi):
    done = subprocess.run(
        [require_peer("pdftoppm"), "-gray", "-r", str(dpi), "-f", str(page), "-l", str(page), "-"],
        input=pdf, capture_output=True, check=True,
    )  # fmt: skip
    return np.asarray(Image.open(io.BytesIO(done.stdout)))


@pytest.fixture(scope="module")
def chest():
    return render_report(report(), created_at=CREATED)


class TestPage:
    def test_holds_every_printed_word(self, chest):
        text = text_of(chest)
        content = report()
        for words in content.texts():
            if words in {content.labels["missing_characters"], content.labels["page"]}:
                continue
            assert re.sub(r"\s", "", words) in text

    def test_address_can_be_copied_whole(self, chest):
        assert report().address in pages_of(chest)[0]

    def test_claims_pdf_a_2b(self, chest):
        assert re.search(rb"pdfaid:part>\s*2\s*<", chest)
        assert re.search(rb"pdfaid:conformance>\s*B\s*<", chest)
        assert b"/Interpolate true" not in chest

    def test_embeds_a_subset_of_every_font(self, chest, tmp_path):
        (tmp_path / "report.pdf").write_bytes(chest)
        done = subprocess.run(
            [require_peer("pdffonts"), "report.pdf"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        fonts = done.stdout.splitlines()[2:]
        assert fonts
        for line in fonts:
            assert line.split()[-5:-2] == ["yes", "yes", "yes"], line  # embedded, subset, to Unicode

    def test_is_the_same_bytes_for_the_same_report(self, chest):
        assert render_report(report(), created_at=CREATED) == chest

    def test_names_patient_and_exam_on_every_page_of_a_long_report(self, tmp_path):
        findings = "\n".join(f"{line}. 双肺纹理增多，右下肺野见斑片状密度增高影。" for line in range(150))
        pdf = render_report(report(findings=findings, figures=(Figure(ruled_ecg(), "ecg", "心电图"),)))
        pages = pages_of(pdf)
        assert len(pages) == len(page_sizes(pdf, tmp_path)) >= 4
        for number, page in enumerate(pages, 1):
            assert RARE_NAME in page
            assert "DX-20261121-0007" in page
            assert f"第{number}页/共{len(pages)}页" in page.replace(" ", "")
            assert "甲书远" in page
            assert "乙敬之" in page
            assert "2026-11-21 09:44（UTC+08:00）" in page
        assert "149. 双肺" in "".join(pages)

    def test_speaks_english_with_english_labels(self):
        pdf = render_report(report(labels=LABELS_EN, language="en", title="DR report", reviewer_name=None))
        page = pages_of(pdf)[0]
        assert "Page 1 of 1" in page
        assert "Findings" in page
        assert "Reviewer" not in page
        assert not any(label in page for label in LABELS_ZH.values())

    def test_refuses_a_catalogue_with_a_hole(self):
        with pytest.raises(ValueError, match="impression"):
            report(labels={key: value for key, value in LABELS_ZH.items() if key != "impression"})

    def test_several_threads_get_each_their_own_report(self):
        made = {}
        names = [f"甲{number}乙" for number in range(6)]

        def render(name):
            made[name] = render_report(report(patient_name=name, figures=()))

        threads = [threading.Thread(target=render, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in names:
            text = text_of(made[name])
            assert name in text
            assert not any(other in text for other in names if other != name)


class TestFont:
    def test_covers_rare_name_characters(self):
        assert missing_glyphs(RARE_NAME + "囍堃喆龑㵘䲜𬭊") == frozenset()

    def test_agrees_with_fonttools_on_every_code_point(self):
        with TTCollection(str(document.font_file()), lazy=True) as collection:
            best = collection.fonts[2].getBestCmap()
        selectors = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
        unseen = {*map(ord, "\t\n\r\x0b\x0c\x85\u2028\u2029\u00ad\u200b\u200c\u200d\u2060\ufeff")}
        for code in (*range(0x30000), *selectors):
            expected = code in unseen | selectors or (code in best and chr(code) not in CONTROLS)
            assert (not missing_glyphs(chr(code))) == expected, hex(code)

    def test_missing_characters_are_listed_and_drawn_with_their_code(self):
        content = report(findings="见 😀 及 \u0e01 影", figures=())
        assert missing_in_report(content) == {"😀", "\u0e01"}
        text = text_of(render_report(content))
        assert "见U+1F600及U+0E01影" in text
        assert LABELS_ZH["missing_characters"] in text

    def test_nothing_is_said_of_missing_characters_when_there_are_none(self, chest):
        assert missing_in_report(report()) == frozenset()
        assert LABELS_ZH["missing_characters"] not in text_of(chest)


class TestHostileText:
    @pytest.mark.parametrize(
        "markup",
        [
            '#image("x")',
            '#eval("1+1") #read("report.typ") #sys.inputs',
            "$a^2/b$ *粗* _斜_ `code` ~ -- --- ...",
            r"\n \u{1F600} \# C:\dir",
            "= Heading - item + item / term: x",
            "<label> @ref // comment /* comment */ [x] {y} ] } )",
            "\"quoted\" 'single' <b>bold</b> &amp; {{ x }} %s {0} {page}",
        ],
    )
    def test_is_printed_as_typed(self, markup):
        pdf = render_report(
            report(findings=markup, patient_name=markup[:40], notes=(markup,), title=markup[:30], figures=())
        )
        assert text_of(pdf).count(re.sub(r"\s", "", markup)) >= 2

    def test_control_and_direction_characters_become_boxes(self):
        text = text_of(render_report(report(findings="甲\x00\x07\x1b[31m乙\u202e丙\ud800丁", figures=())))
        assert "甲U+0000U+0007U+001B[31m乙U+202E丙U+D800丁" in text

    def test_lines_stay_lines(self):
        page = pages_of(render_report(report(findings="甲\r\n乙\r丙\u2028丁\n\n戊", figures=())))[0]
        lines = [line.strip() for line in page.splitlines()]
        assert [line for line in lines if line in set("甲乙丙丁戊")] == list("甲乙丙丁戊")

    @pytest.mark.parametrize("unit", ["W", "长", "9", "a/", " "])
    def test_ten_thousand_characters_stay_on_the_page(self, unit):
        findings = unit * (10_000 // len(unit)) + "末"
        pdf = render_report(report(findings=findings, accession="9" * 64, figures=()))
        assert re.sub(r"\s", "", findings) in "".join(
            re.sub(r"[\s\u200b]+", "", page) for page in re.split(r"\f", "".join(body_lines(pdf)))
        )
        right_edge = picture_of(pdf, 1, 50)[:, -int(50 * 15 / 25.4) :]
        assert right_edge.min() > 200, "ink in the right margin"


def body_lines(pdf):
    """Return the text between heads and feet of all pages."""
    for page in pages_of(pdf):
        for line in page.splitlines():
            if not re.search(r"书写时间|签发时间|连州市人民医院", line):
                yield line


class TestFigures:
    @pytest.mark.parametrize("reader", [None, "乙敬之"])
    def test_ecg_is_printed_at_true_scale_on_a_landscape_page(self, tmp_path, reader):
        figure = Figure(ruled_ecg(), "ecg", "十二导联心电图")
        pdf = render_report(report(figures=(figure,), reviewer_name=reader))
        assert page_sizes(pdf, tmp_path) == [(210.0, 297.0), (297.0, 210.0)]
        dots_per_mm = 20
        dark = picture_of(pdf, 2, 25.4 * dots_per_mm) < 128
        tall = np.flatnonzero(dark.sum(axis=0) > 90 * dots_per_mm) / dots_per_mm
        long = np.flatnonzero(dark[:, 40 * dots_per_mm : 240 * dots_per_mm].sum(axis=1) > 180 * dots_per_mm)
        long = long[long < 185 * dots_per_mm] / dots_per_mm  # above the foot with its rule
        long = long[long > 15]
        assert tall.max() - tall.min() == pytest.approx(251, abs=0.2)
        assert long.max() - long.min() == pytest.approx(151, abs=0.2)
        assert "aVR" in pages_of(pdf)[1]

    def test_an_ecg_larger_than_a4_gets_a_larger_page_not_a_smaller_scale(self, tmp_path):
        pdf = render_report(report(figures=(Figure(ruled_ecg(400, 250), "ecg", "长条"),)))
        width, height = page_sizes(pdf, tmp_path)[1]
        assert width >= 400
        assert height >= 250

    @pytest.mark.parametrize("height", [168, 172, 174, 176, 190, 300])
    @pytest.mark.parametrize("caption", ["", "十二导联心电图", "很长的说明" * 40])
    def test_an_ecg_of_any_height_takes_one_page(self, tmp_path, height, caption):
        pdf = render_report(report(figures=(Figure(ruled_ecg(277, height), "ecg", caption),)))
        sizes = page_sizes(pdf, tmp_path)
        assert len(sizes) == 2
        assert sizes[1][0] == 297.0
        if height <= 172 and len(caption) < 20:
            assert sizes[1][1] == 210.0

    def test_an_ecg_of_no_known_size_is_refused(self):
        bare = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><path d="M0 0"/></svg>'
        for figure in (
            Figure(bare, "ecg", ""),
            Figure(key_image(), "ecg", ""),
            Figure(ruled_ecg(), "ecg", "", width_mm=200),
        ):
            with pytest.raises(UnprintableFigure):
                render_report(report(figures=(figure,)))

    @pytest.mark.parametrize(
        ("kind", "mode"),
        [("PNG", mode) for mode in ("L", "RGB", "1", "I;16", "P", "RGBA", "LA")]
        + [("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
    )
    def test_every_kind_of_picture_leaves_its_ink(self, kind, mode):
        pdf = render_report(report(figures=(Figure(key_image(kind, mode=mode), "image", "x"),)))
        empty = render_report(report(figures=()))
        assert (picture_of(pdf, 1, 40) < 120).sum() > (picture_of(empty, 1, 40) < 120).sum() + 2000

    def test_damaged_or_foreign_pictures_are_refused_not_left_blank(self):
        whole = key_image("PNG", size=(600, 600))
        for data in (
            b"",
            b"GIF89a",
            whole[: len(whole) // 2],
            whole[:40],
            b"<!DOCTYPE x><svg></svg>",
            b"<svg \xff>",
        ):
            with pytest.raises(UnprintableFigure):
                render_report(report(figures=(Figure(data, "image", "x"),)))

    def test_five_images_flow_over_pages(self, tmp_path):
        figures = tuple(Figure(key_image(), "image", f"图{number}") for number in range(5))
        pdf = render_report(report(figures=figures))
        assert len(page_sizes(pdf, tmp_path)) == 2
        assert all(f"图{number}" in text_of(pdf) for number in range(5))
