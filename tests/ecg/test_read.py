"""The way in: sniffing by content, limits, and hostile bytes."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.ecg import limits
from hub.ecg.errors import RecordingTooLarge, UnknownFormat
from hub.ecg.formats.sniff import is_dicom, is_wfdb_header
from hub.ecg.read import read_ecg
from hub.errors import HubError
from tests.ecg.records import load, ludb, wfdb_record

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SMALL = wfdb_record(np.arange(40).reshape(20, 2))


def accept_or_refuse(files: dict[str, bytes]) -> None:
    """Anything but a waveform or a HubError fails the test."""
    try:
        wave = read_ecg(files)
    except HubError:
        return
    assert np.isfinite(wave.samples_mv).any() or np.isnan(wave.samples_mv).all()


class TestSniff:
    def test_the_name_does_not_matter(self) -> None:
        data = load("mortara_12lead.dcm")["mortara_12lead.dcm"]
        assert read_ecg({"photo.jpg": data}).format == "dicom"
        header, samples = ludb(88).values()
        assert read_ecg({"88.dat": samples, "x.txt": header}).format == "wfdb"

    @pytest.mark.parametrize(
        ("data", "seen"),
        [
            (b"", "empty file"),
            (b"%PDF-1.7", "PDF"),
            (b"\x89PNG\r\n", "PNG"),
            (b"PK\x03\x04", "ZIP"),
            (b"\x12\x34\x00\x01\x00\x00\x00\x00\x00\x00\x88\x00\x00\x00\x0d\x0dSCPECG", "SCP-ECG"),
            (b"<html>", "XML"),
            (b"hello, world", "unknown"),
        ],
    )
    def test_what_is_not_read_is_named(self, data: bytes, seen: str) -> None:
        with pytest.raises(UnknownFormat) as caught:
            read_ecg({"file": data})
        assert seen in caught.value.facts["seen"]

    def test_samples_in_matlab_form_without_header(self) -> None:
        with pytest.raises(UnknownFormat) as caught:
            read_ecg(load("JS20008.mat"))
        assert "without their header" in caught.value.facts["seen"]

    def test_nothing(self) -> None:
        with pytest.raises(UnknownFormat):
            read_ecg({})

    def test_two_recordings_at_once(self) -> None:
        with pytest.raises(UnknownFormat, match="several"):
            read_ecg(ludb(88) | ludb(64))

    def test_a_bare_data_set_is_dicom(self) -> None:
        data = load("mortara_12lead.dcm")["mortara_12lead.dcm"]
        length = int.from_bytes(data[140:144], "little")
        bare = data[144 + length :]
        assert is_dicom(bare)
        assert read_ecg({"bare": bare}).samples_mv.shape == (10_000, 12)

    def test_a_text_is_no_header(self) -> None:
        assert not is_wfdb_header(b"Dear colleague,\nplease find enclosed")


class TestLimits:
    def test_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.ecg.read.MAX_FILE_BYTES", 1000)
        with pytest.raises(RecordingTooLarge):
            read_ecg(ludb(88))

    def test_number_of_files(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read_ecg({f"f{n}": b"" for n in range(limits.MAX_FILES + 1)})

    @pytest.mark.parametrize(
        ("shape", "limit"),
        [
            ((10, 65, 500.0), "leads"),
            ((10_000_000, 12, 500.0), "values"),
            ((1_000_000, 1, 1.0), "seconds"),
            ((1, 1, 1e-308), "seconds"),
        ],
    )
    def test_declared(self, shape: tuple[int, int, float], limit: str) -> None:
        with pytest.raises(RecordingTooLarge) as caught:
            limits.check_size(*shape)
        assert caught.value.facts["limit"] == limit


class TestHostile:
    @given(st.binary(max_size=600))
    @settings(max_examples=300, deadline=None)
    def test_random_bytes(self, data: bytes) -> None:
        accept_or_refuse({"x": data})
        accept_or_refuse({"x": bytes(128) + b"DICM" + data})

    @given(st.text(st.characters(codec="utf-8"), max_size=200), st.binary(max_size=80))
    @settings(max_examples=300, deadline=None)
    def test_random_headers(self, text: str, data: bytes) -> None:
        accept_or_refuse({"r.hea": b"r 2 500 20\n" + text.encode(), "r.dat": data})

    @given(
        st.lists(
            st.sampled_from(
                ["r", "r.dat", "16", "212", "8", "310", "x1", ":3", "+24", "200", "(5)", "/mV", "0", "-1",
                 "999999999999999999", "1e308", "nan", "#", "\n", " ", " ", "1", "2", "500", "I"]
            ),
            max_size=40,
        )
    )  # fmt: skip
    @settings(max_examples=500, deadline=None)
    def test_headers_of_plausible_words(self, words: list[str]) -> None:
        accept_or_refuse({"r.hea": "".join(words).encode(), "r.dat": bytes(240)})
        accept_or_refuse({"r.hea": b"r 1 500\nr.dat " + "".join(words).encode(), "r.dat": bytes(240)})

    @given(st.integers(0, 10**9), st.integers(0, 255))
    @settings(max_examples=200, deadline=None)
    def test_one_changed_byte_of_a_wfdb_header(self, place: int, value: int) -> None:
        data = bytearray(SMALL["r.hea"])
        data[place % len(data)] = value
        accept_or_refuse(SMALL | {"r.hea": bytes(data)})

    @given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8))
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_changed_bytes_of_a_dicom_header(self, changes: list[tuple[int, int]]) -> None:
        data = bytearray(load("ludb_88_12lead_gb18030.dcm")["ludb_88_12lead_gb18030.dcm"])
        for place, value in changes:
            data[place] = value
        accept_or_refuse({"x": bytes(data)})

    def test_deeply_nested_sequences(self) -> None:
        opening = b"\x00\x54\x00\x01SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        accept_or_refuse({"x": bytes(128) + b"DICM" + opening * 5000})

    @pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
    def test_everything_broken_at_hand(self) -> None:
        for path in sorted((Path(os.environ["HUB_TEST_DATA"]) / "broken").iterdir()):
            if path.name == "derived_scp_bad_crc.scp":  # the sum of the whole only
                assert "checksum_wrong" in read_ecg({path.name: path.read_bytes()}).warnings
            elif path.is_file():
                with pytest.raises(HubError):
                    read_ecg({path.name: path.read_bytes()})
