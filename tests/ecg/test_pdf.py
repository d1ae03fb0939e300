"""The printed ECG, measured on what poppler makes of it."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.ecg.writers.pdf import write_pdf
from tests.ecg.records import ludb
from tests.fixtures.peers import require_peer

MM_PER_PT = 25.4 / 72
TRACE = "rgb(6.274414%,8.235168%,10.980225%)"
TOLERANCE_MM = 0.2


def calibration(seconds: float = 10.0) -> Waveform:
    """Make a signal that is 1 mV high from 1.000 s to 2.000 s in lead II, at 1000 Hz."""
    samples = np.zeros((int(seconds * 1000), 2))
    samples[1000:2000, 1] = 1.0
    return Waveform(samples, 1000.0, ("I", "II"), "test")


def printed(tmp_path: Path, pdf: bytes, program: str, *options: str, ending: str) -> Path:
    source, target = tmp_path / "x.pdf", tmp_path / f"x.{ending}"
    source.write_bytes(pdf)
    subprocess.run([require_peer(program), *options, str(source), str(target)], check=True)
    return target


def lines_mm(svg: str, colour: str) -> list[np.ndarray]:
    """Return the polylines of one colour in millimetres of the page, as poppler places them."""
    found = []
    for tag in re.findall(r"<path [^>]*>", svg):
        path = re.search(r' d="([^"]*)"', tag)
        matrix = re.search(r'transform="matrix\(([^)]*)\)"', tag)
        if f"stroke:{colour}" not in tag or path is None:
            continue
        a, b, c, d, e, f = map(float, matrix[1].split(",")) if matrix else (1, 0, 0, 1, 0, 0)
        for piece in path[1].split("M")[1:]:
            points = np.array([float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", piece)]).reshape(-1, 2)
            x, y = points.T
            found.append(np.column_stack([a * x + c * y + e, b * x + d * y + f]) * MM_PER_PT)
    return found


def colour_of(svg: str, red: float, green: float) -> str:
    """Return the stroke colour nearest to what the drawing asks for; poppler rounds it."""
    colours = set(re.findall(r"stroke:(rgb\([^)]*\))", svg))
    return min(
        colours,
        key=lambda c: abs(float(c[4:].split("%")[0]) - red) + abs(float(c.split(",")[1].rstrip("%")) - green),
    )


@pytest.fixture(scope="module")
def vector(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pdf")
    return printed(folder, write_pdf(calibration()), "pdftocairo", "-svg", ending="svg").read_text()


class TestScale:
    def test_one_millivolt_for_one_second_is_ten_by_twenty_five(self, vector: str) -> None:
        """Oracle: poppler's own vector output of the page, in points of 1/72 inch."""
        trace = colour_of(vector, 6.3, 8.2)
        strips = [
            line for line in lines_mm(vector, trace) if np.ptp(line[:, 0]) > 200 and np.ptp(line[:, 1]) > 1
        ]
        (strip,) = strips
        base, top = strip[:, 1].max(), strip[:, 1].min()
        assert base - top == pytest.approx(10.0, abs=TOLERANCE_MM)
        raised = strip[strip[:, 1] < (base + top) / 2][:, 0]
        assert np.ptp(raised) == pytest.approx(25.0, abs=TOLERANCE_MM)
        assert raised.min() - strip[:, 0].min() == pytest.approx(25.0, abs=TOLERANCE_MM)
        assert np.ptp(strip[:, 0]) == pytest.approx(250.0, abs=TOLERANCE_MM)

    def test_the_pulse_of_the_sheet_is_one_millivolt(self, vector: str) -> None:
        pulses = [
            line
            for line in lines_mm(vector, colour_of(vector, 6.3, 8.2))
            if len(line) == 6 and np.ptp(line[:, 0]) < 10
        ]
        assert pulses
        for pulse in pulses:
            assert np.ptp(pulse[:, 1]) == pytest.approx(10.0, abs=TOLERANCE_MM)
            assert pulse[3, 0] - pulse[2, 0] == pytest.approx(5.0, abs=TOLERANCE_MM)

    def test_grid_lines_lie_where_they_should(self, vector: str) -> None:
        strong = lines_mm(vector, colour_of(vector, 90.6, 60.4))
        thin = lines_mm(vector, colour_of(vector, 96.5, 80.4))
        for axis in (0, 1):
            at = sorted(line[0, axis] for line in [*strong, *thin] if np.ptp(line[:, axis]) < 0.01)
            every_fifth = sorted(line[0, axis] for line in strong if np.ptp(line[:, axis]) < 0.01)
            assert len(at) > 100
            np.testing.assert_allclose(at, at[0] + np.arange(len(at)), atol=TOLERANCE_MM)
            np.testing.assert_allclose(
                every_fifth, every_fifth[0] + 5.0 * np.arange(len(every_fifth)), atol=TOLERANCE_MM
            )

    def test_the_trace_stands_on_the_grid(self, vector: str) -> None:
        """A baseline at 0 mV lies on a strong line, and time begins on one."""
        strong = lines_mm(vector, colour_of(vector, 90.6, 60.4))
        strips = [line for line in lines_mm(vector, colour_of(vector, 6.3, 8.2)) if np.ptp(line[:, 0]) > 200]
        rows = np.array([line[0, 1] for line in strong if np.ptp(line[:, 1]) < 0.01])
        columns = np.array([line[0, 0] for line in strong if np.ptp(line[:, 0]) < 0.01])
        strip = next(line for line in strips if np.ptp(line[:, 1]) > 1)
        assert np.abs(rows - strip[:, 1].max()).min() < TOLERANCE_MM
        assert np.abs(columns - strip[:, 0].min()).min() < TOLERANCE_MM

    def test_the_grid_in_pixels(self, tmp_path: Path) -> None:
        """Oracle: poppler's raster at 254 dots per inch, 10 pixels a millimetre, no vector in between."""
        target = printed(
            tmp_path, write_pdf(calibration()), "pdftoppm", "-r", "254", "-gray", "-singlefile", ending="out"
        )
        data = target.with_suffix(".out.pgm").read_bytes()
        width, height = map(int, re.match(rb"P5\s+(\d+) (\d+)", data).groups())
        assert (width, height) == (2971, 2100)  # poppler rounds up
        page = np.frombuffer(data[-width * height :], np.uint8).reshape(height, width)
        darkness = 255.0 - np.median(page[600:1200], axis=0)
        peaks = np.flatnonzero(
            (darkness > 6) & (darkness >= np.roll(darkness, 1)) & (darkness > np.roll(darkness, -1))
        )
        assert len(peaks) > 200
        offsets = (peaks - peaks[0]) - 10.0 * np.rint((peaks - peaks[0]) / 10.0)
        assert np.abs(offsets).max() <= 2


class TestText:
    def test_chinese_names_print_with_the_embedded_font(self, tmp_path: Path) -> None:
        """Oracle: pdftotext reads the names back; pdffonts sees the font embedded."""
        pdf = write_pdf(read_ecg(ludb(88)), header_lines=("张㐂三 男 45岁",), footer="文件.hea")
        text = printed(tmp_path, pdf, "pdftotext", ending="txt").read_text()
        assert "张㐂三 男 45岁" in text
        assert "文件.hea" in text
        fonts = subprocess.run(
            [require_peer("pdffonts"), str(tmp_path / "x.pdf")], capture_output=True, text=True, check=True
        ).stdout.splitlines()[2:]
        assert fonts
        assert all("NotoSansCJK" in line and re.search(r"\byes\s+yes\s+yes\b", line) for line in fonts)

    def test_a_wave_that_leaves_the_paper_is_said(self, tmp_path: Path) -> None:
        """Oracle: pdftotext."""
        samples = np.zeros((5000, 1))
        samples[1000, 0] = 9.0
        pdf = write_pdf(Waveform(samples, 500.0, ("V1",), "test"), footer="foot", when_cut="有波形超出纸面")
        assert "有波形超出纸面 · foot" in printed(tmp_path, pdf, "pdftotext", ending="txt").read_text()

    def test_the_same_recording_gives_the_same_bytes(self) -> None:
        assert write_pdf(calibration()) == write_pdf(calibration())


class TestLength:
    def test_ten_seconds_a_page(self, tmp_path: Path) -> None:
        pdf = write_pdf(calibration(20.5), footer="x")
        source = tmp_path / "x.pdf"
        source.write_bytes(pdf)
        said = subprocess.run([require_peer("pdfinfo"), str(source)], capture_output=True, text=True).stdout
        assert re.search(r"Pages:\s+3\n", said)
        assert "(A4)" in said

    def test_a_holter_day_is_refused(self) -> None:
        with pytest.raises(CannotHold) as caught:
            write_pdf(Waveform(np.zeros((200 * 3600, 1)), 200.0, ("II",), "test"))
        assert caught.value.facts["reason"] == "length"
