"""``hub ecg convert`` and what stands behind it: every format written and read again."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from hub.ecg.analysis.model import Atrial, Measurement, Value
from hub.ecg.cli.app import app
from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Filters, PatientText, Waveform
from hub.ecg.writers.convert import _WRITERS, ENDINGS, UnknownTarget, convert
from hub.ecg.writers.sheet_text import header_lines
from tests.ecg.records import DATA, load

RUN = CliRunner()
GB18030 = "ludb_88_12lead_gb18030.dcm"


def run(*arguments: object) -> tuple[int, list[dict], str]:
    result = RUN.invoke(app, ["convert", *map(str, arguments), "--json"])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


class TestConvert:
    @pytest.mark.parametrize("to", ["dicom", "scp", "aecg", "wfdb", "edf"])
    def test_samples_come_back_exactly(self, to: str) -> None:
        """The reader of each format gives back what was written: 0 LSB, here to the last bit of float64."""
        given = read_ecg(load(GB18030))
        back = read_ecg(convert(given, to, name="x"))
        assert back.format == to
        assert (back.leads, back.rate_hz) == (given.leads, given.rate_hz)
        np.testing.assert_allclose(back.samples_mv, given.samples_mv, atol=1e-12)

    def test_through_every_format_and_back(self) -> None:
        """One recording handed on from format to format loses nothing on the way."""
        given = read_ecg(load(GB18030))
        passed = given
        for to in ("scp", "aecg", "wfdb", "edf", "dicom"):
            passed = read_ecg(convert(passed, to, name="x"))
        assert (passed.leads, passed.rate_hz) == (given.leads, given.rate_hz)
        np.testing.assert_allclose(passed.samples_mv, given.samples_mv, atol=1e-9)
        steps = np.array(given.lsb_mv)
        np.testing.assert_array_equal(np.rint(passed.samples_mv / steps), np.rint(given.samples_mv / steps))

    @pytest.mark.parametrize("to", ENDINGS)
    def test_the_first_file_is_the_one_that_is_opened(self, to: str) -> None:
        files = convert(read_ecg(load(GB18030)), to, name="x")
        assert next(iter(files)) == f"x{ENDINGS[to]}"
        assert all(files.values())

    def test_every_ending_has_its_writer(self) -> None:
        assert ENDINGS.keys() == _WRITERS.keys()

    def test_an_unknown_format(self) -> None:
        with pytest.raises(UnknownTarget):
            convert(read_ecg(load(GB18030)), "docx", name="x")

    def test_a_long_recording_has_several_sheets(self) -> None:
        wave = Waveform(np.zeros((250 * 21, 1)), 250.0, ("II",), "test")
        files = convert(wave, "svg", name="x")
        assert list(files) == ["x.svg", "x-2.svg", "x-3.svg"]
        assert b"x 2/3" in files["x-2.svg"]

    def test_rounding_only_on_request(self) -> None:
        wave = Waveform(np.random.default_rng(3).normal(size=(500, 1)), 500.0, ("II",), "test")
        with pytest.raises(CannotHold):
            convert(wave, "dicom", name="x")
        assert convert(wave, "dicom", name="x", exact=False)


class TestSheetText:
    def test_lines(self) -> None:
        """Oracle: by hand; a reader must see whose ECG it is, and what is odd about it."""
        wave = Waveform(
            np.zeros((1500, 1)),
            150.0,
            ("II",),
            "test",
            started_at=datetime(2024, 1, 2, 3, 4, 5),  # noqa: DTZ001 - the device's clock
            patient=PatientText("编号7", "Wang^Fang=王^芳", "F", "053Y"),
            device="X1",
            filters=Filters(0.05, 150.0, 50.0),
        )
        values = {"hr_bpm": Value(61.4, "bpm"), "pr_ms": Value(None, "ms", reason="no_p_wave")}
        lines = header_lines(wave, Measurement((), (), values, {}, None, Atrial()), "en")
        assert lines[0] == "王芳\u3000编号7\u3000F\u3000053Y"
        assert lines[1] == "2024-01-02 03:04:05\u3000X1\u30000.05–150 Hz (50 Hz)"
        assert "61" in lines[2]
        assert len(lines) == 4

    @pytest.mark.parametrize(
        ("stated", "shown"),
        [("Clark", "Clark"), ("Clark^Ann", "Clark Ann"), ("张三", "张三"), ("^^=李^四", "李四")],
    )
    def test_names(self, stated: str, shown: str) -> None:
        wave = Waveform(np.zeros((5000, 1)), 500.0, ("II",), "test", patient=PatientText(name=stated))
        assert header_lines(wave, None, "zh-CN") == (shown,)


class TestCommand:
    @pytest.mark.parametrize(
        ("name", "to"),
        [
            ("o.dcm", "dicom"),
            ("o.SCP", "scp"),
            ("o.xml", "aecg"),
            ("o.hea", "wfdb"),
            ("o.edf", "edf"),
            ("o.json", "fhir"),
            ("o.pdf", "pdf"),
            ("o.svg", "svg"),
        ],
    )
    def test_the_ending_says_the_format(self, name: str, to: str, tmp_path: Path) -> None:
        target = tmp_path / "new" / name
        code, (line,), _ = run(DATA / GB18030, target)
        assert (code, line["to"], line["written"][0]) == (0, to, str(target))
        assert line["file"] == str(DATA / GB18030)
        assert target.stat().st_size > 0
        assert sorted(map(str, target.parent.iterdir())) == sorted(line["written"])

    def test_a_named_format_and_any_ending(self, tmp_path: Path) -> None:
        target = tmp_path / "o.bin"
        code, _, _ = run(DATA / GB18030, target, "--to", "dicom")
        assert code == 0
        assert read_ecg({"x": target.read_bytes()}).format == "dicom"

    def test_a_wfdb_record_by_its_name(self, tmp_path: Path) -> None:
        code, (line,), _ = run(DATA / GB18030, tmp_path / "rec", "--to", "wfdb")
        assert code == 0
        assert [Path(each).name for each in line["written"]] == ["rec.hea", "rec.dat"]

    @pytest.mark.parametrize("options", [[], ["--to", "docx"]])
    def test_an_unknown_format_is_a_usage_error(self, options: list[str], tmp_path: Path) -> None:
        code, lines, stderr = run(DATA / GB18030, tmp_path / "o.docx", *options)
        assert (code, lines) == (2, [])
        assert "dicom" in stderr

    def test_svg_is_a_true_scale_sheet(self, tmp_path: Path) -> None:
        target = tmp_path / "o.svg"
        assert run(DATA / "mortara_12lead.dcm", target)[0] == 0
        assert ET.parse(target).getroot().attrib["width"] == "277mm"

    def test_measurements_are_written_on_request(self, tmp_path: Path) -> None:
        target = tmp_path / "o.dcm"
        assert run(DATA / GB18030, target)[0] == 0
        assert read_ecg({"x": target.read_bytes()}).device_measurements == ()
        assert run(DATA / GB18030, target, "--measure", "--force")[0] == 0
        names = {each.name for each in read_ecg({"x": target.read_bytes()}).device_measurements}
        assert {"hr_bpm", "qrs_ms", "qt_ms"} <= names

    def test_nothing_is_overwritten_unasked(self, tmp_path: Path) -> None:
        target = tmp_path / "rec.hea"
        (tmp_path / "rec.dat").write_bytes(b"mine")
        code, (line,), _ = run(DATA / GB18030, target)
        assert (code, line["error"]["code"]) == (1, "OutputExists")
        assert (tmp_path / "rec.dat").read_bytes() == b"mine"
        assert not target.exists()
        assert run(DATA / GB18030, target, "--force")[0] == 0
        assert (tmp_path / "rec.dat").read_bytes() != b"mine"

    def test_what_comes_in_between_is_not_overwritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file appears after the check: planted by a Path that denies it."""
        target = tmp_path / "o.dcm"
        target.write_bytes(b"mine")
        seen: list[Path] = []
        real = Path.exists

        def once_blind(path: Path, **options: bool) -> bool:
            if path == target and path not in seen:
                seen.append(path)
                return False
            return real(path, **options)

        monkeypatch.setattr(Path, "exists", once_blind)
        code, (line,), _ = run(DATA / GB18030, target)
        assert (code, line["error"]["code"]) == (1, "OutputExists")
        assert target.read_bytes() == b"mine"
        assert [path.name for path in tmp_path.iterdir()] == ["o.dcm"]

    def test_what_does_not_fit_is_rounded_and_said_or_refused(self, tmp_path: Path) -> None:
        target = tmp_path / "o.scp"
        code, (line,), _ = run(DATA / "ludb_88.hea", target, "--exact")
        assert (code, line["error"]["code"]) == (1, "CannotHold")
        assert not target.exists()
        code, (line,), _ = run(DATA / "ludb_88.hea", target)
        assert code == 0
        assert line["rounded"]["reason"] == "step"
        assert 0 < line["rounded"]["largest_uv"] <= 0.5
        difference = (
            read_ecg({"x": target.read_bytes()}).samples_mv
            - read_ecg(
                {"ludb_88.hea": (DATA / "ludb_88.hea").read_bytes(), "88.dat": (DATA / "88.dat").read_bytes()}
            ).samples_mv
        )
        assert np.abs(difference).max() <= 0.0005 + 1e-9

    def test_a_folder(self, tmp_path: Path) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        (source / "sub").mkdir(parents=True)
        for name in (GB18030, "ludb_45.hea", "45.dat"):
            shutil.copy(DATA / name, source / "sub" / name)
        shutil.copy(DATA / GB18030, source / "a.dcm")
        shutil.copy(DATA / GB18030, source / "a.ima")
        (source / "bad.bin").write_bytes(b"?")
        code, lines, _ = run(source, target, "--to", "dicom")
        assert code == 1
        assert [line.get("written", line.get("error", {}).get("code")) for line in lines] == [
            [str(target / "a.dcm")],
            [str(target / "a.ima.dcm")],
            "UnknownFormat",
            [str(target / "sub" / "ludb_45.dcm")],
            [str(target / "sub" / GB18030)],
        ]

    def test_a_folder_needs_a_format_and_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "file.dcm").write_bytes(b"")
        assert run(tmp_path / "in", tmp_path / "out.dcm")[0] == 2
        assert run(tmp_path / "in", tmp_path / "file.dcm", "--to", "dicom")[0] == 2

    def test_plain_text(self, tmp_path: Path) -> None:
        result = RUN.invoke(app, ["convert", str(DATA / GB18030), str(tmp_path / "o.dcm")])
        assert result.stdout == f"{DATA / GB18030} -> {tmp_path / 'o.dcm'}\n"
