"""ISHNE Holter reading, held against ecgdatakit and against values computed by hand."""

import binascii
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ecg.errors import (
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.read import read_ecg
from hub.errors import HubError, Malformed
from tests.ecg.oracles import by_ecgdatakit

STORED = np.random.default_rng(7).integers(-3000, 3000, (2000, 3))


def ishne(
    stored: np.ndarray = STORED,
    *,
    specs: tuple[int, ...] = (11, 15, 2),
    qualities: tuple[int, ...] = (1, 1, 1),
    resolutions: tuple[int, ...] = (2500, 5000, 1000),
    rate: int = 200,
    stated: int | None = None,
    names: tuple[bytes, bytes, bytes] = (b"Harry", b"Haagse", b"0042"),
    remark: bytes = b"",
    recorder: bytes = b"H-12+",
    checksum: str = "little",
) -> bytes:
    """Write a file from the published layout."""
    n = stored.shape[1]

    def column(values: tuple[int, ...]) -> bytes:
        return struct.pack("<12h", *(*values, *[-9] * (12 - n)))

    block = struct.pack(
        "<4ih", len(remark), len(stored) if stated is None else stated, 522, 522 + len(remark), 1
    )
    block += names[0].ljust(40, b"\0") + names[1].ljust(40, b"\0") + names[2].ljust(20, b"\0")
    block += struct.pack("<hh", 2, 0) + struct.pack("<3h", 2, 5, 1951) + struct.pack("<3h", 29, 2, 2024)
    block += struct.pack("<3h", 1, 3, 2024) + struct.pack("<3h", 8, 9, 10) + struct.pack("<h", n)
    block += column(specs) + column(qualities) + column(resolutions) + struct.pack("<h", 0)
    block += recorder.ljust(40, b"\0") + struct.pack("<h", rate) + bytes(80) + bytes(80) + bytes(88)
    assert len(block) == 512
    block += remark
    crc = binascii.crc_hqx(block, 0xFFFF).to_bytes(2, checksum) if checksum else b"\0\0"
    return b"ISHNE1.0" + crc + block + stored.astype("<i2").tobytes()


def read(data: bytes, **options):
    return read_ecg({"x": data}, **options)


class TestAgainstEcgdatakit:
    def test_samples(self, tmp_path: Path) -> None:
        """Oracle: ecgdatakit, and (stored x nV) by hand."""
        (tmp_path / "a.ecg").write_bytes(ishne())
        theirs = by_ecgdatakit(tmp_path / "a.ecg")
        ours = read(ishne())
        assert ours.format == "ishne"
        assert ours.leads == ("V1", "V5", "X") == tuple(lead.label for lead in theirs.leads)
        assert ours.rate_hz == theirs.leads[0].sampling_rate == 200
        for column, lead in enumerate(theirs.leads):
            mv = np.asarray(lead.samples) * {"uV": 1e-3, "mV": 1.0}[lead.units]
            np.testing.assert_allclose(ours.samples_mv[:, column], mv, atol=1e-9)
        np.testing.assert_allclose(ours.samples_mv, STORED * [0.0025, 0.005, 0.001], atol=1e-12)
        assert ours.lsb_mv == (0.0025, 0.005, 0.001)


class TestHeader:
    def test_identification(self) -> None:
        """Oracle: the fields as written."""
        wave = read(ishne(remark="first\r\n第二".encode("gbk")))
        patient = wave.patient
        assert (patient.local_id, patient.name, patient.sex, patient.birth_date) == (
            "0042", "Haagse Harry", "F", "19510502",
        )  # fmt: skip
        assert wave.started_at.isoformat() == "2024-02-29T08:09:10"
        assert wave.device == "H-12+"
        assert wave.device_statements == ("first", "第二")

    def test_a_name_in_gbk(self) -> None:
        wave = read(ishne(names=(b"", "张三".encode("gbk"), b"")), charset_override="GB18030")
        assert wave.patient.name == "张三"

    @pytest.mark.parametrize("checksum", ["little", "big", ""])
    def test_checksums_that_hold(self, checksum: str) -> None:
        assert "checksum_wrong" not in read(ishne(checksum=checksum)).warnings

    def test_a_changed_header(self) -> None:
        data = bytearray(ishne())
        data[206] ^= 1
        assert "checksum_wrong" in read(bytes(data)).warnings

    def test_a_failed_lead_is_a_gap(self) -> None:
        stored = np.array([[1, -32768, 2], [3, 4, 5]])
        assert np.isnan(read(ishne(stored)).samples_mv).tolist() == [[False, True, False], [False] * 3]

    def test_leads_without_a_name(self) -> None:
        wave = read(ishne(specs=(0, 1, 1)))
        assert wave.leads == ("channel 1", "channel 2", "channel 3")
        assert "lead_unnamed" in wave.warnings

    def test_quality_is_said(self) -> None:
        assert "lead_quality_poor" in read(ishne(qualities=(1, 4, 0))).warnings
        assert "lead_quality_poor" not in read(ishne(qualities=(1, -9, 0))).warnings

    def test_fewer_samples_than_stated(self) -> None:
        assert "shorter_than_stated" in read(ishne(stated=5000)).warnings

    def test_an_incomplete_last_sample(self) -> None:
        wave = read(ishne() + b"\x01\x02")
        assert wave.n_samples == 2000
        assert "data_beyond_length" in wave.warnings


class TestRefusals:
    @pytest.mark.parametrize("resolution", [0, -9, -1])
    def test_no_resolution_is_never_guessed(self, resolution: int) -> None:
        with pytest.raises(UnitsMissing) as caught:
            read(ishne(resolutions=(2500, resolution, 2500)))
        assert caught.value.facts == {"column": 1}

    @pytest.mark.parametrize("rate", [0, -9])
    def test_no_rate(self, rate: int) -> None:
        with pytest.raises(RateMissing):
            read(ishne(rate=rate))

    def test_no_samples(self) -> None:
        with pytest.raises(Truncated):
            read(ishne()[:524])

    @pytest.mark.parametrize("size", [8, 100, 521])
    def test_cut_header(self, size: int) -> None:
        with pytest.raises(Truncated):
            read(ishne()[:size])

    @pytest.mark.parametrize("leads", [0, 13, -9])
    def test_number_of_leads(self, leads: int) -> None:
        data = bytearray(ishne(checksum=""))
        data[156:158] = struct.pack("<h", leads)
        with pytest.raises(NoLeads):
            read(bytes(data))

    @pytest.mark.parametrize(("place", "value"), [(10, -1), (10, 2**31 - 1), (18, 0), (22, 600)])
    def test_blocks_that_lie_elsewhere(self, place: int, value: int) -> None:
        data = bytearray(ishne(checksum=""))
        data[place : place + 4] = struct.pack("<i", value)
        with pytest.raises((Truncated, Malformed)):
            read(bytes(data))

    def test_too_long(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read(ishne(np.zeros((100_000, 1), int), specs=(5,), qualities=(1,), resolutions=(1,), rate=1))

    def test_annotations_by_name(self) -> None:
        with pytest.raises(FormatFeature) as caught:
            read(b"ANN  1.0" + ishne()[8:])
        assert caught.value.facts["feature"] == "annotation file"


@given(
    st.lists(st.tuples(st.integers(0, 530), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 400)
)
@settings(max_examples=100, deadline=None)
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    """Anything but a waveform or a HubError fails."""
    data = bytearray(ishne(STORED[:50], checksum="", remark=b"remark"))
    for place, value in changes:
        data[place] = value
    try:
        read(bytes(data[: len(data) - cut]))
    except HubError:
        return
