"""WFDB records of several segments, held against wfdb-python."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import CompanionMissing, FormatFeature, NoLeads, RecordingTooLarge
from hub.ecg.formats.wfdb_header import companions, roots
from hub.ecg.grouping import group_files
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_wfdb, wfdb
from tests.ecg.records import DATA, load

RECORD = ("041s.hea", "041s01.hea", "041s01.dat", "041s02.hea", "041s02.dat")


def segment(name: str, leads: str, samples: np.ndarray, *, gain: str = "200/mV") -> dict[str, bytes]:
    """Write one segment of format 16 without checksums; `leads` are words."""
    lines = [f"{name} {samples.shape[1]} 500 {len(samples)}"]
    lines += [
        f"{name}.dat 16 {gain} 16 0 0 {samples[:, n].sum() % 65536} 0 {lead}"
        for n, lead in enumerate(leads.split())
    ]
    return {f"{name}.hea": "\n".join(lines).encode(), f"{name}.dat": samples.astype("<i2").tobytes()}


def variable(second: str = "II") -> dict[str, bytes]:
    """Write a record of variable layout: 3 samples of both leads, a gap of 2, 4 samples of lead II."""
    both = np.array([[200, 400], [600, 800], [1000, -32768]])
    one = np.array([[100], [200], [300], [400]])
    layout = f"m_layout 2 500 0\n~ 0 200/mV 16 0 0 0 0 I\n~ 0 200/mV 16 0 0 0 0 {second}\n"
    return {
        "m.hea": b"m/4 2 500 9 10:00:00 01/02/2020\nm_layout 0\na 3\n~ 2\nb 4\n# age: 51\n",
        "m_layout.hea": layout.encode(),
        **segment("a", "I II", both),
        **segment("b", "II", one, gain="100/mV"),
    }


def save(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


class TestAgainstWfdbPython:
    def test_fixed_layout(self) -> None:
        """Oracle: wfdb.rdrecord without its averaging of frames, on wfdb-python's own record."""
        ours = read_ecg(load(*RECORD))
        assert ours.leads == ("III", "I", "V")
        assert ours.rate_hz == 500
        assert ours.started_at.isoformat() == "1994-10-26T08:26:04"
        assert "channels_not_ecg" in ours.warnings
        for number, first in (("041s01", 0), ("041s02", 4000)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = wfdb.rdrecord(str(DATA / number), smooth_frames=False)
            for column in range(3):
                part = ours.samples_mv[first : first + 4000, column]
                np.testing.assert_allclose(part, theirs.e_p_signal[column], atol=1e-12)

    def test_variable_layout_with_a_gap(self, tmp_path: Path) -> None:
        """Oracle: wfdb.rdrecord on a record whose second lead is absent in part, gains differing."""
        files = variable()
        save(tmp_path, files)
        theirs = by_wfdb(tmp_path / "m")
        ours = read_ecg(files)
        assert ours.leads == ("I", "II") == tuple(theirs.sig_name)
        np.testing.assert_allclose(ours.samples_mv, theirs.p_signal, atol=1e-12)
        assert np.isnan(ours.samples_mv[:, 0]).tolist() == [False] * 3 + [True] * 6
        assert np.isnan(ours.samples_mv[:, 1]).tolist() == [False] * 2 + [True] * 3 + [False] * 4
        assert "gaps" in ours.warnings
        assert ours.lsb_mv == (0.005, None)
        assert ours.patient.age == "51"

    def test_a_segment_used_twice(self, tmp_path: Path) -> None:
        """Oracle: wfdb.rdrecord."""
        files = {"m.hea": b"m/2 1 500 4\na 2\na 2\n", **segment("a", "I", np.array([[5], [6]]))}
        save(tmp_path, files)
        np.testing.assert_allclose(read_ecg(files).samples_mv, by_wfdb(tmp_path / "m").p_signal)


class TestRefusals:
    def test_a_segment_that_was_not_sent(self) -> None:
        files = variable()
        for name in ("a.hea", "b.dat"):
            with pytest.raises(CompanionMissing):
                read_ecg({n: d for n, d in files.items() if n != name})

    def test_segments_of_segments(self) -> None:
        files = {
            "m.hea": b"m/1 1 500 2\na 2\n",
            "a.hea": b"a/1 1 500 2\nb 2\n",
            "b.hea": b"b 1 500 2\nb.dat 16 200",
        }
        with pytest.raises(FormatFeature):
            read_ecg(files | {"b.dat": bytes(4)})

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"m/4 2 500 9", b"m/4 2 500 10"),
            (b"m/4 2 500 9", b"m/4 2 250 9"),
            (b"m/4 2 500 9", b"m/5 2 500 9"),
            (b"m/4 2 500 9", b"m/4 3 500 9"),
            (b"b 4", b"b 5"),
            (b"b 4", b"b -4"),
        ],
    )
    def test_numbers_that_disagree(self, old: bytes, new: bytes) -> None:
        files = variable()
        assert old in files["m.hea"]
        with pytest.raises(Malformed):
            read_ecg(files | {"m.hea": files["m.hea"].replace(old, new)})

    def test_a_segment_with_a_lead_that_the_layout_lacks(self) -> None:
        with pytest.raises(Malformed):
            read_ecg(variable(second="V1"))

    def test_fixed_layout_with_another_number_of_signals(self) -> None:
        parts = segment("a", "I II", np.zeros((2, 2), int)) | segment("b", "I", np.zeros((2, 1), int))
        with pytest.raises(Malformed):
            read_ecg({"m.hea": b"m/2 2 500 4\na 2\nb 2\n", **parts})

    def test_gaps_only(self) -> None:
        with pytest.raises(NoLeads):
            read_ecg({"m.hea": b"m/1 2 500 100\n~ 100\n"})

    def test_a_huge_gap_takes_no_memory(self) -> None:
        files = variable()
        header = files["m.hea"].replace(b"500 9 ", b"500 20000007 ").replace(b"~ 2", b"~ 20000000")
        with pytest.raises(RecordingTooLarge) as caught:
            read_ecg(files | {"m.hea": header})
        assert caught.value.facts["limit"] == "gaps"


class TestCompanions:
    def test_of_one_segment_and_of_several(self) -> None:
        """Oracle: the names as they stand in the headers."""
        headers = load("041s.hea", "041s01.hea", "binformats.hea")
        assert companions(headers["041s.hea"]) == ["041s01.hea", "041s02.hea"]
        assert companions(headers["041s01.hea"]) == ["041s01.dat"]
        assert companions(headers["binformats.hea"]) == [f"binformats.d{n}" for n in range(10)]
        assert companions(variable()["m.hea"]) == ["m_layout.hea", "a.hea", "b.hea"]
        assert companions(variable()["m_layout.hea"]) == []
        assert companions(b"r 1 500 2\n../x/y.dat 16 200\n") == ["y.dat"]
        assert companions(b"no header") == []

    def test_roots(self) -> None:
        files = variable()
        assert roots({n: d for n, d in files.items() if n.endswith(".hea")}) == ["m.hea"]
        assert roots({"a.hea": b"a/1 1 5\nb 1\n", "b.hea": b"b/1 1 5\na 1\n"}) == []

    def test_an_upload_of_two_records(self) -> None:
        """Segments belong to their record, whatever the order and case of the names."""
        sent = [
            (name.upper(), data)
            for name, data in reversed(load(*RECORD, "JS20008.hea", "JS20008.mat").items())
        ]
        groups, refusals = group_files(sent)
        assert {g.name: len(g.files) for g in groups} == {"041S.HEA": 5, "JS20008.HEA": 2}
        assert not refusals
        assert {read_ecg(g.files).n_samples for g in groups} == {8000, 5000}
