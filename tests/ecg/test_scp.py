"""SCP-ECG reading, against ecgdatakit, the same recording in other formats, and records packed by hand."""

import os
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import (
    ChecksumWrong,
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats.scp import matches, read_scp
from hub.ecg.formats.scp_huffman import DEFAULT_TABLES, decode, encode, read_tables
from hub.ecg.formats.scp_signal import read_block
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg import scp_files as scp
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA, load

EXAMPLE = "ecgtoolkit_Example.scp"


def example() -> bytes:
    return (DATA / EXAMPLE).read_bytes()


def stored(wave, step_nv: int = 1000) -> list[list[int]]:
    return np.round(wave.samples_mv.T * 1e6 / step_nv).astype(int).tolist()


class TestOneRecordingInThreeFormats:
    def test_sample_by_sample_as_ecgdatakit(self) -> None:
        """Oracle: ecgdatakit on the C# ECG Toolkit's example, rhythm and reference beat."""
        wave, theirs = read_scp(example()), by_ecgdatakit(DATA / EXAMPLE)
        assert wave.leads == tuple(lead.label for lead in theirs.leads)
        assert wave.samples_mv.shape == (5000, 12)
        np.testing.assert_array_equal(wave.samples_mv, np.column_stack([x.samples for x in theirs.leads]))
        beat = np.column_stack([x.samples for x in theirs.median_beats])
        np.testing.assert_array_equal(wave.median.samples_mv, beat)

    @pytest.mark.parametrize("other", ["hl7_aecg.xml", "ecgtoolkit_12lead.dcm"])
    def test_equals_the_other_formats(self, other: str) -> None:
        """Oracle: the same recording written as aECG and as DICOM by other programs."""
        wave, same = read_scp(example()), read_ecg(load(other))
        for name in wave.leads:
            difference = wave.lead(name) - same.lead(name)
            assert np.nanmax(np.abs(difference)) < 1e-12

    def test_what_it_says(self) -> None:
        """Oracle: the DICOM file states PR 148, QRS 120, QT 420, QTc 443 ms and axes 44, -61, 86."""
        wave = read_scp(example())
        assert wave.patient.local_id == "SBJ-123"
        assert (wave.patient.name, wave.patient.sex, wave.patient.birth_date) == ("Clark", "M", "19530508")
        assert wave.started_at == datetime(2002, 11, 22, 9, 10)  # noqa: DTZ001 - no zone stated
        assert wave.device == "ECGConversion ELI250"
        values = {each.name: each.value for each in wave.device_measurements}
        assert values == {
            "p_ms": 102,
            "pr_ms": 148,
            "qrs_ms": 120,
            "qt_ms": 420,
            "p_axis_deg": 44,
            "qrs_axis_deg": -61,
            "t_axis_deg": 86,
            "qtc_ms": 443,
        }
        assert wave.lsb_mv == (0.0025,) * 12
        assert wave.warnings == ()


class TestSamples:
    def test_plain(self) -> None:
        wave = read_scp(scp.simple([1, -2, 32767, -32768]))
        assert stored(wave) == [[1, -2, 32767, -32768]]
        assert (wave.rate_hz, wave.leads, wave.lsb_mv) == (500.0, ("I",), (0.001,))

    @pytest.mark.parametrize("coded", [False, True])
    def test_first_differences_wrap_around(self, coded: bool) -> None:
        """By hand: 30000 + 30000 is -5536 in 16 bits."""
        values = [30000, 30000, -1]
        body = scp.samples([scp.huffman(values) if coded else scp.plain(values)], difference=1)
        more = {"s2": scp.DEFAULT_TABLE} if coded else {}
        assert stored(read_scp(scp.simple(values, s6=body, **more))) == [[30000, -5536, -5537]]

    def test_second_differences(self) -> None:
        """By hand: x[n] = d[n] + 2 x[n-1] - x[n-2] from 10, 12 gives 15, 17."""
        body = scp.samples([scp.plain([10, 12, 1, -1])], difference=2)
        assert stored(read_scp(scp.simple([0] * 4, s6=body))) == [[10, 12, 15, 17]]

    def test_leads_of_different_ranges_lie_where_they_were_recorded(self) -> None:
        ranges = scp.leads((11, 13, 1), (14, 15, 2), flags=0)
        wave = read_scp(scp.simple(s3=ranges, s6=scp.samples([scp.plain([1, 2, 3]), scp.plain([4, 5])])))
        expected = [[1, np.nan], [2, np.nan], [3, np.nan], [np.nan, 4], [np.nan, 5]]
        np.testing.assert_allclose(wave.samples_mv * 1000, expected)

    def test_leads_far_from_each_other_take_no_memory(self) -> None:
        ranges = scp.leads((1, 2, 1), (50_000_000, 50_000_001, 2))
        with pytest.raises((Malformed, RecordingTooLarge)):
            read_scp(scp.simple(s3=ranges, s6=scp.samples([scp.plain([1, 2])] * 2)))

    def test_unknown_and_repeated_leads(self) -> None:
        ranges = scp.leads((1, 1, 1), (1, 1, 1), (1, 1, 0), (1, 1, 200))
        wave = read_scp(scp.simple(s3=ranges, s6=scp.samples([scp.plain([1])] * 4)))
        assert wave.leads == ("I", "I#2", "channel 3", "lead 200")
        assert {"lead_repeated", "lead_unnamed"} <= set(wave.warnings)

    def test_a_lead_longer_than_its_length_field(self) -> None:
        """A real device stores 75,710 bytes and writes 65,534: what is there is read, with a warning."""
        body = scp.samples([bytes(65534)])
        wave = read_scp(scp.simple(s3=scp.leads((1, 40000, 1)), s6=body))
        assert wave.n_samples == 32767
        assert wave.warnings == ("samples_missing",)


class TestHuffman:
    def test_every_range_of_the_standard_table(self) -> None:
        """Oracle: bits written one by one in tests.ecg.scp_files."""
        values = [*range(-300, 300), 32767, -32768, 0, 0, 127, 128, -128, -129]
        assert decode(scp.huffman(values), len(values), DEFAULT_TABLES).tolist() == values
        assert encode(np.array(values)) == scp.huffman(values)

    def test_own_tables_with_switching(self) -> None:
        """By hand: table 1 has 0, 10 and a switch to table 2, which has 4 bits more and a way back."""
        body = struct.pack("<H", 2)
        body += scp.table(("0", 1, 1, 7), ("10", 2, 1, -3), ("11", 2, 0, 2))
        body += scp.table(("0", 5, 1, 100), ("1", 1, 0, 1))
        bits = "0" + "10" + "11" + "0" + "0011" + "0" + "1111" + "1" + "10"
        assert decode(scp.packed(bits), 5, read_tables(body)).tolist() == [7, -3, 103, 99, -3]

    def test_ecgdatakit_reads_the_same_from_own_tables(self, tmp_path: Path) -> None:
        body = struct.pack("<H", 1) + scp.table(("0", 1, 1, 2), ("10", 2, 1, -2), ("11", 10, 1, 0))
        bits = "0" + "10" + "11" + "01111111" + "11" + "10000000"
        chunk = scp.packed(bits)
        data = scp.simple([0] * 4, s2=body, s6=scp.samples([chunk]))
        (tmp_path / "x.scp").write_bytes(data)
        theirs = by_ecgdatakit(tmp_path / "x.scp").leads[0].samples
        assert stored(read_scp(data)) == [[2, -2, 127, -128]]
        np.testing.assert_allclose(read_scp(data).samples_mv[:, 0], np.asarray(theirs))

    def test_bits_that_end_early(self) -> None:
        with pytest.raises(Truncated):
            decode(scp.huffman([500, 500]), 7, DEFAULT_TABLES)

    def test_no_more_samples_than_bits(self) -> None:
        with pytest.raises(Truncated):
            decode(b"\0", 10**9, DEFAULT_TABLES)

    @pytest.mark.parametrize(
        "body",
        [
            struct.pack("<H", 0),
            struct.pack("<H", 9),
            struct.pack("<HH", 1, 5),
            struct.pack("<H", 1) + scp.table(("0", 1, 0, 2)),
            struct.pack("<H", 1) + scp.table(("0" * 17, 17, 1, 0)),
        ],
    )
    def test_tables_that_cannot_be(self, body: bytes) -> None:
        with pytest.raises((Malformed, FormatFeature)):
            read_tables(body)


class TestReferenceBeat:
    def bodies(self, **more: bytes) -> bytes:
        bodies = {
            "s3": scp.leads((1, 12, 1), flags=0x05),
            "s4": scp.beats(8, 2, [(0, 3, 4, 6), (1, 8, 9, 11)], [(3, 6), (8, 11)]),
            "s5": scp.samples([scp.plain([10, 20, 30, 40])], step_nv=2000),
            "s6": scp.samples([scp.plain([1] * 12)]),
        }
        return scp.simple(**(bodies | more))

    def test_is_added_where_it_was_subtracted(self) -> None:
        """By hand: fiducial 2 of the beat lies on sample 4; type 1 is another beat and stays."""
        wave = read_scp(self.bodies())
        assert stored(wave) == [[1, 1, 21, 41, 61, 81, 1, 1, 1, 1, 1, 1]]
        assert wave.median.samples_mv[:, 0].tolist() == pytest.approx([0.02, 0.04, 0.06, 0.08])

    def test_ecgdatakit_adds_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "x.scp").write_bytes(self.bodies())
        theirs = by_ecgdatakit(tmp_path / "x.scp").leads[0]
        np.testing.assert_allclose(read_scp(self.bodies()).samples_mv[:, 0], np.asarray(theirs.samples))

    def test_is_refused_without_the_beat(self) -> None:
        with pytest.raises(Malformed):
            read_scp(self.bodies(s5=b""))

    def test_a_damaged_beat_that_was_not_subtracted_is_left_out(self) -> None:
        data = self.bodies(s3=scp.leads((1, 12, 1)), s5=scp.samples([scp.plain([10])]))
        wave = read_scp(data)
        assert stored(wave) == [[1] * 12]
        assert wave.parts == ()
        assert "parts_unread" in wave.warnings


class TestBimodal:
    """By hand: outside protected stretches one value stands for four samples; no free file has it."""

    def file(self, values: list[int], zones: list[tuple[int, int]], count: int, **more: int) -> bytes:
        return scp.simple(
            s3=scp.leads((1, count, 1)),
            s4=scp.beats(8, 2, [(0, 1, 1, 1)] * len(zones), zones),
            s5=scp.samples([scp.plain([0, 0, 0, 0])]),
            s6=scp.samples([scp.plain(values)], interval_us=more.get("interval_us", 8000), flag=1),
        )

    def test_lines_between_means(self) -> None:
        wave = read_scp(self.file([0, 8, 100, -100, 4], [(9, 10)], 14))
        assert stored(wave) == [[0, 0, 0, 2, 4, 6, 8, 8, 100, -100, 4, 4, 4, 4]]
        assert wave.rate_hz == 500
        assert wave.warnings == ("scp_lossy",)
        assert wave.lsb_mv == (None,)

    def test_what_is_left_of_a_stretch_is_stored_as_it_is(self) -> None:
        wave = read_scp(self.file([8, 1, 2, 50, 3], [(7, 7)], 8))
        assert stored(wave) == [[8, 8, 8, 8, 1, 2, 50, 3]]

    def test_too_few_values(self) -> None:
        with pytest.raises(Truncated):
            read_scp(self.file([8, 1, 2], [(7, 7)], 8))

    def test_a_factor_that_is_none(self) -> None:
        with pytest.raises(FormatFeature):
            read_scp(self.file([0] * 14, [(9, 10)], 14, interval_us=7000))


class TestLongTerm:
    """Section 12 of version 3, whose layout BioSig writes."""

    @pytest.mark.parametrize("width", [1, 2, 3, 4])
    def test_samples_by_turns(self, width: int) -> None:
        most = 2 ** (8 * width - 1) - 1
        rows = [[1, -2], [most, -most - 1], [0, 5]]
        wave = read_scp(scp.version_3(s12=scp.long_term(rows, width=width, steps=(1, 3))))
        np.testing.assert_allclose(wave.samples_mv[:, 0] * 1e6, [1, most, 0])
        np.testing.assert_allclose(wave.samples_mv[:, 1] * 1e6, [-6, -3 * (most + 1), 15])
        assert (wave.leads, wave.rate_hz) == (("I", "II"), 500.0)

    def test_no_multiplier(self) -> None:
        with pytest.raises(UnitsMissing):
            read_scp(scp.version_3(s12=scp.long_term([[1, 2]], steps=(1000, 0))))

    def test_beside_a_rhythm_it_is_a_part(self) -> None:
        twelve = scp.long_term([[1, 2], [3, 4]])
        six = scp.samples([scp.plain([7, 8])])
        wave = read_scp(scp.version_3(s3=scp.leads((1, 2, 1)), s6=six, s12=twelve))
        assert stored(wave) == [[7, 8]]
        assert [(part.kind, part.label) for part in wave.parts] == [("rhythm", "long-term rhythm")]


class TestHeader:
    def test_name_age_zone_and_filters(self) -> None:
        header = scp.header(
            scp.tag(0, b"WANG\0"),
            scp.tag(1, b"XIAO MING\0"),
            scp.tag(2, b"0042\0"),
            scp.tag(4, struct.pack("<HB", 49, 1)),
            scp.tag(8, b"\2"),
            scp.tag(27, struct.pack("<H", 5)),
            scp.tag(28, struct.pack("<H", 150)),
            scp.tag(29, b"\2"),
            scp.tag(34, struct.pack("<hH", 480, 0) + b"\0"),
        )
        wave = read_scp(scp.simple(s1=header))
        assert (wave.patient.name, wave.patient.local_id) == ("WANG^XIAO MING", "0042")
        assert (wave.patient.age, wave.patient.sex) == ("049Y", "F")
        assert wave.started_at == datetime(2024, 3, 9, 8, 30, 5, tzinfo=timezone(timedelta(hours=8)))
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (0.05, 150, 50)
        assert wave.device == "Fukuda X1"

    def test_utc(self) -> None:
        wave = read_scp(scp.simple(s1=scp.header(scp.tag(34, bytes(5)))))
        assert wave.started_at == datetime(2024, 3, 9, 8, 30, 5, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("language", "codec", "declared"),
        [
            (0x27, "gb18030", "GB18030"),
            (0x37, "utf-8", "ISO_IR 192"),
            (0x07, "utf-16-le", "utf-16-le"),
            (0, "gb18030", ""),
            (1, "gb18030", "ISO_IR 100"),
        ],
    )
    def test_chinese_under_every_declaration(self, language: int, codec: str, declared: str) -> None:
        name = scp.tag(0, "王小明".encode(codec) + b"\0\0")
        patient = read_scp(scp.simple(s1=scp.header(name, language=language))).patient
        assert (patient.name, patient.charset) == ("王小明", declared)

    def test_the_device_is_known_to_send_gbk(self) -> None:
        header = scp.header(scp.tag(0, "欧阳".encode("gbk") + b"\0"), language=0x37)
        assert read_scp(scp.simple(s1=header), charset_override="GB18030").patient.name == "欧阳"

    def test_a_wrong_tag_length_is_mended(self) -> None:
        wrong = struct.pack("<BH", 8, 40) + b"\2"
        wave = read_scp(scp.simple(s1=scp.tag(2, b"7\0") + wrong + scp.header(scp.tag(4, b"\x31\0\1"))))
        assert (wave.patient.local_id, wave.patient.sex, wave.patient.age) == ("7", "F", "049Y")
        assert wave.started_at is not None
        assert "scp_structure_mended" in wave.warnings

    def test_no_date_is_made_up(self) -> None:
        assert (
            read_scp(scp.simple(s1=scp.tag(25, bytes(4)) + scp.tag(26, bytes(3)) + b"\xff\0\0")).started_at
            is None
        )


class TestResults:
    def test_unknown_values_are_left_out(self) -> None:
        none = 29999
        body = scp.measured((none, none, 250, 340, none), (none, 999, 10), rr=none, rates=(none, 0, 0, 0))
        found = {m.name: m.value for m in read_scp(scp.simple(s7=body)).device_measurements}
        assert found == {"qrs_ms": 90, "t_axis_deg": 10}

    def test_rates_and_spikes(self) -> None:
        body = scp.measured(spikes=[(120, -1500), (980, 29999)])
        found = [(m.name, m.value) for m in read_scp(scp.simple(s7=body)).device_measurements]
        assert ("pacemaker_spike_ms", 120) in found
        assert ("pacemaker_spike_mv", -1.5) in found
        assert found[-2:] == [("hr_bpm", 75), ("qtc_bazett_ms", 410)]

    def test_measurements_of_each_lead(self) -> None:
        values = [100, 160, 90, 400, 29999, 0, 0, 0, 0, -50, 1200, -300, 0, 0, 15]
        block = struct.pack(f"<{len(values)}h", *values)
        body = struct.pack("<HH", 1, 0) + struct.pack("<HH", 2, len(block)) + block
        found = {m.name: (m.value, m.lead) for m in read_scp(scp.simple(s10=body)).device_measurements}
        assert found["r_mv"] == (1.2, "II")
        assert found["q_mv"] == (-0.05, "II")
        assert found["st_j_uv"] == (15, "II")
        assert "q_ms" not in found

    def test_statements(self) -> None:
        texts = [text.encode("gb18030") + b"\0" for text in ("窦性心律", "正常心电图")]
        body = bytes(8) + bytes([len(texts)])
        body += b"".join(struct.pack("<BH", n, len(text)) + text for n, text in enumerate(texts))
        coded = bytes(8) + b"\1" + struct.pack("<BHB", 1, 8, 1) + b"SR\0NSR\0"
        wave = read_scp(scp.simple(s1=scp.header(language=0x27), s8=body, s11=coded))
        assert wave.device_statements == ("窦性心律", "正常心电图", "SR NSR")

    @pytest.mark.parametrize("number", [7, 8, 10, 11])
    def test_damage_in_them_does_not_hide_the_rhythm(self, number: int) -> None:
        wave = read_scp(scp.simple(**{f"s{number}": b"\xff\xff\xff"}))
        assert stored(wave) == [[1, -2, 300]]
        assert "parts_unread" in wave.warnings


class TestStructure:
    def test_wrong_pointers_are_walked_around(self) -> None:
        data = bytearray(scp.simple())
        struct.pack_into("<I", data, 6 + 16 + 10 * 6 + 6, 99999)
        wave = read_scp(bytes(data))
        assert stored(wave) == [[1, -2, 300]]
        assert {"scp_structure_mended", "checksum_wrong"} <= set(wave.warnings)

    def test_a_section_0_of_the_wrong_length(self) -> None:
        data = bytearray(scp.simple())
        struct.pack_into("<I", data, 10, 0xFFFFFF00)
        assert stored(read_scp(bytes(data))) == [[1, -2, 300]]

    def test_a_changed_sample_is_refused(self) -> None:
        """The device does write checksums, and that of the samples' section is wrong."""
        data = bytearray(scp.simple())
        data[-1] ^= 4
        with pytest.raises(ChecksumWrong) as caught:
            read_scp(bytes(data))
        assert caught.value.facts == {"section": 6}

    def test_a_wrong_record_checksum_only_is_a_warning(self) -> None:
        data = scp.simple()
        assert read_scp(b"\0\0" + data[2:]).warnings == ("checksum_wrong",)

    def test_a_device_without_checksums_is_read(self) -> None:
        data = bytearray(scp.simple())
        for number in (-1, 0, 1, 3, 6):
            at = 0 if number < 0 else struct.unpack_from("<I", data, 6 + 16 + 10 * number + 6)[0] - 1
            data[at : at + 2] = b"\0\0"
        assert read_scp(bytes(data)).warnings == ("checksum_wrong",)

    def test_bytes_behind_the_end(self) -> None:
        assert read_scp(scp.simple() + bytes(100)).warnings == ("data_beyond_length",)

    def test_cut_off(self) -> None:
        with pytest.raises(Truncated):
            read_scp(example()[:17072])

    def test_is_recognised_by_content(self) -> None:
        assert matches(example())
        assert not matches(b"")
        assert not matches(bytes(1000))
        assert not matches(load("mortara_12lead.dcm")["mortara_12lead.dcm"])


class TestRefusals:
    def test_no_multiplier(self) -> None:
        with pytest.raises(UnitsMissing):
            read_scp(scp.simple(s6=scp.samples([scp.plain([1, 2, 3])], step_nv=0)))

    def test_no_interval(self) -> None:
        with pytest.raises(RateMissing):
            read_scp(scp.simple(s6=scp.samples([scp.plain([1, 2, 3])], interval_us=0)))

    def test_no_leads(self) -> None:
        with pytest.raises(NoLeads):
            read_scp(scp.simple(s3=b"\0\0"))

    def test_no_rhythm(self) -> None:
        with pytest.raises(NoLeads):
            read_scp(scp.record({1: scp.header(), 3: scp.leads((1, 3, 1))}))

    def test_too_few_samples(self) -> None:
        with pytest.raises(Truncated):
            read_scp(scp.simple(s3=scp.leads((1, 4, 1))))

    def test_more_huffman_code_than_recordings_have(self) -> None:
        body = scp.samples([bytes(65535)] * 16)
        with pytest.raises(RecordingTooLarge):
            read_block(body, [524_000] * 16, DEFAULT_TABLES, 16)

    def test_more_text_than_anybody_writes(self) -> None:
        text = struct.pack("<BH", 0, 4096) + "心".encode("gbk") * 2048
        wave = read_scp(scp.simple(s8=bytes(8) + b"\x0a" + text * 10))
        assert "parts_unread" in wave.warnings

    def test_third_differences(self) -> None:
        with pytest.raises(FormatFeature):
            read_scp(scp.simple(s6=scp.samples([scp.plain([1, 2, 3])], difference=3)))


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
class TestRealDevices:
    def file(self, name: str) -> bytes:
        return (Path(os.environ["HUB_TEST_DATA"]) / "ecg" / name).read_bytes()

    def test_contec_equals_its_edf(self) -> None:
        """Oracle: the EDF file of the same recording, unpacked here: 12 signals, one sample a record."""
        wave = read_scp(self.file("scp/contec_0000050.ECG.scp"))
        values = np.frombuffer(self.file("edf/contec_0000050.ECG.edf")[3328:], "<i2").reshape(-1, 12)
        assert len(values) == 37855
        assert wave.warnings == ("samples_missing",)
        assert wave.rate_hz == 800
        np.testing.assert_array_equal(np.array(stored(wave, 5000)).T, values[:32767])

    def test_heal_force_is_refused_by_name(self) -> None:
        with pytest.raises(FormatFeature):
            read_scp(self.file("scp/healforce_62.SCP"))
