"""``hub ecg`` on files and folders."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from hub.ecg.cli.app import app
from hub.ecg.read import read_ecg
from tests.ecg.records import DATA, ludb

RUN = CliRunner()


def run(*arguments: object) -> tuple[int, list[dict], str]:
    result = RUN.invoke(app, [str(each) for each in arguments])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a good DICOM file, a WFDB record with annotations, two bad files and a folder."""
    top = tmp_path / "in"
    (top / "sub").mkdir(parents=True)
    shutil.copy(DATA / "ludb_88_12lead_gb18030.dcm", top / "b.dcm")
    for name in ("ludb_45.hea", "45.dat", "ludb_45.ii"):
        shutil.copy(DATA / name, top / "sub" / name)
    # Annotations begin with any byte; these could be taken for XML.
    (top / "sub" / "ludb_45.v1").write_bytes(b"<\x04\x00\x00")
    (top / "a.pdf").write_bytes(b"%PDF-1.7")
    (top / "c.dcm").write_bytes((DATA / "mortara_12lead.dcm").read_bytes()[:9000])
    return top


class TestRead:
    def test_the_fields_against_pydicom(self) -> None:
        """Oracle: the elements as pydicom reads them."""
        path = DATA / "ludb_88_12lead_gb18030.dcm"
        code, (facts,), _ = run("read", path, "--json")
        ds = dcmread(path)
        group = ds.WaveformSequence[0]
        assert code == 0
        assert facts["file"] == str(path)
        assert (facts["format"], facts["rate_hz"]) == ("dicom", float(group.SamplingFrequency))
        assert facts["n_samples"] == group.NumberOfWaveformSamples
        assert len(facts["leads"]) == group.NumberOfWaveformChannels
        assert facts["patient"] == {
            "local_id": ds.PatientID,
            "name": str(ds.PatientName),
            "sex": ds.PatientSex,
            "birth_date": ds.get("PatientBirthDate", ""),
            "age": ds.PatientAge,
            "charset": "GB18030",
            "unsure": False,
        }
        assert facts["warnings"] == []

    def test_a_header_brings_its_data_files(self, tmp_path: Path) -> None:
        target = tmp_path / "out.npz"
        code, (facts,), _ = run("read", DATA / "ludb_88.hea", "--json", "--samples", target)
        assert (code, facts["format"], facts["n_samples"]) == (0, "wfdb", 5000)
        with np.load(target) as stored:
            np.testing.assert_array_equal(stored["samples_mv"], read_ecg(ludb(88)).samples_mv)
            assert stored["samples_mv"].dtype == np.float64
            assert stored["leads"].tolist() == facts["leads"]
            assert stored["rate_hz"] == 500.0

    def test_plain_text_names_no_patient(self) -> None:
        result = RUN.invoke(app, ["read", str(DATA / "mortara_12lead.dcm")])
        assert result.exit_code == 0
        assert "rate_hz: 1000.0" in result.stdout
        assert "Anonymous" not in result.stdout

    def test_a_refusal_is_one_line_and_a_failure(self, tmp_path: Path) -> None:
        path = tmp_path / "x.hea"
        path.write_text("x 1 500 2\nx.dat 16 0\n")
        (tmp_path / "x.dat").write_bytes(bytes(4))
        code, (line,), stderr = run("read", path, "--json")
        assert code == 1
        assert line["file"] == str(path)
        assert (line["error"]["code"], line["error"]["column"]) == ("UnitsMissing", 0)
        assert stderr.startswith("UnitsMissing: ")

    def test_a_refusal_in_text_leaves_the_output_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"")
        result = RUN.invoke(app, ["read", str(path)])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "empty file" in result.stderr

    def test_files_outside_the_folder_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "secret.dat").write_bytes(bytes(400))
        inner = tmp_path / "in"
        inner.mkdir()
        (inner / "x.hea").write_text("x 1 500 2\n../secret.dat 16 200\n")
        code, (line,), _ = run("read", inner / "x.hea", "--json")
        assert (code, line["error"]["code"]) == (1, "CompanionMissing")

    def test_names_in_another_case_are_found(self, tmp_path: Path) -> None:
        (tmp_path / "X.HEA").write_text("x 1 500 2\nx.dat 16 200\n")
        (tmp_path / "X.DAT").write_bytes(bytes(4))
        code, lines, _ = run("read", tmp_path, "--json")
        assert (code, len(lines), lines[0]["n_samples"]) == (0, 1, 2)


class TestSeveral:
    def test_a_folder_is_a_line_each_and_bad_files_do_not_stop_it(self, folder: Path) -> None:
        code, lines, _ = run("read", folder, "--json")
        assert code == 1
        assert [Path(line["file"]).relative_to(folder).as_posix() for line in lines] == [
            "a.pdf",
            "b.dcm",
            "c.dcm",
            "sub/ludb_45.hea",
        ]
        assert lines[0]["error"] == {
            "code": "UnknownFormat",
            "message": "The file is none of the ECG formats that are read.",
            "seen": "PDF document",
        }
        assert [line.get("format") for line in lines] == [None, "dicom", None, "wfdb"]

    def test_files_in_the_order_given(self, folder: Path) -> None:
        names = [folder / "sub" / "ludb_45.hea", folder / "sub" / "45.dat", folder / "gone", folder / "b.dcm"]
        code, lines, _ = run("read", *names, "--json")
        assert code == 1
        assert [line["file"] for line in lines] == [str(names[0]), str(names[2]), str(names[3])]
        assert lines[1]["error"]["code"] == "NotFound"

    def test_samples_without_header_say_so(self, folder: Path) -> None:
        (folder / "sub" / "ludb_45.hea").unlink()
        _, lines, _ = run("read", folder / "sub", "--json")
        assert {Path(line["file"]).name: line["error"]["code"] for line in lines} == {
            "45.dat": "HeaderMissing",
            "ludb_45.ii": "UnknownFormat",
            "ludb_45.v1": "UnknownFormat",
        }

    def test_samples_of_several_go_to_a_folder(self, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "npz"
        _, lines, _ = run("read", folder, "--json", "--samples", target)
        written = [line["samples"] for line in lines if "samples" in line]
        assert written == [str(target / "b.dcm.npz"), str(target / "sub" / "ludb_45.hea.npz")]
        with np.load(written[1]) as stored:
            np.testing.assert_array_equal(stored["samples_mv"], read_ecg(ludb(45)).samples_mv)

    def test_samples_of_several_in_one_file_are_refused(self, folder: Path, tmp_path: Path) -> None:
        code, lines, stderr = run("read", folder, "--json", "--samples", tmp_path / "one.npz")
        assert (code, lines) == (2, [])
        assert "folder" in stderr

    def test_two_of_one_name_do_not_overwrite_each_other(self, folder: Path, tmp_path: Path) -> None:
        shutil.copy(folder / "b.dcm", folder / "sub" / "b.dcm")
        code, lines, _ = run(
            "read", folder / "b.dcm", folder / "sub" / "b.dcm", "--json", "--samples", tmp_path / "npz"
        )
        assert code == 1
        assert lines[1]["error"]["code"] == "NameTwice"

    def test_a_header_given_with_its_samples_is_one_recording(self, tmp_path: Path) -> None:
        target = tmp_path / "one.npz"
        code, lines, _ = run("read", DATA / "ludb_45.hea", DATA / "45.dat", "--json", "--samples", target)
        assert (code, len(lines)) == (0, 1)
        assert target.is_file()

    def test_a_folder_that_cannot_be_listed_is_said(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.scandir

        def locked(path: str) -> object:
            if str(path).endswith("sub"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", locked)
        code, lines, _ = run("read", folder, "--json")
        assert code == 1
        assert lines[-1]["file"] == str(folder / "sub")
        assert lines[-1]["error"]["reason"] == "Permission denied"

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"\xc4\xe3.dcm")
        (tmp_path / name).write_bytes(b"?")
        code, (line,), _ = run("read", tmp_path, "--json")
        assert (code, line["file"]) == (1, str(tmp_path / name))

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_in_a_folder_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        code, lines, _ = run("read", tmp_path, "--json")
        assert (code, lines[0]["error"]["code"]) == (1, "NotFound")
