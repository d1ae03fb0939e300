"""``hub ecg`` on files."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from typer.testing import CliRunner

from hub.ecg.cli.app import app
from hub.ecg.read import read_ecg
from tests.ecg.records import DATA, ludb

RUN = CliRunner()


def test_a_header_brings_its_data_files(tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    result = RUN.invoke(app, ["read", str(DATA / "ludb_88.hea"), "--json", "--samples", str(target)])
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["format"] == "wfdb"
    assert facts["n_samples"] == 5000
    assert facts["heart_rate_bpm"] > 0
    with np.load(target) as stored:
        np.testing.assert_array_equal(stored["samples_mv"], read_ecg(ludb(88)).samples_mv)
        assert stored["leads"].tolist() == facts["leads"]


def test_plain_text() -> None:
    result = RUN.invoke(app, ["read", str(DATA / "mortara_12lead.dcm")])
    assert result.exit_code == 0
    assert "rate_hz: 1000.0" in result.stdout
    assert "Anonymous" not in result.stdout


def test_a_refusal_is_one_line_and_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "x.hea"
    path.write_text("x 1 500 2\nx.dat 16 0\n")
    (tmp_path / "x.dat").write_bytes(bytes(4))
    result = RUN.invoke(app, ["read", str(path), "--json"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("UnitsMissing: ")


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.dat").write_bytes(bytes(4))
    inner = tmp_path / "in"
    inner.mkdir()
    (inner / "x.hea").write_text("x 1 500 2\n../secret.dat 16 200\n")
    result = RUN.invoke(app, ["read", str(inner / "x.hea")])
    assert result.exit_code == 1
    assert result.stderr.startswith("CompanionMissing: ")


def test_draw(tmp_path: Path) -> None:
    target = tmp_path / "ecg.svg"
    assert RUN.invoke(app, ["draw", str(DATA / "mortara_12lead.dcm"), str(target)]).exit_code == 0
    assert ET.parse(target).getroot().attrib["width"] == "277mm"
