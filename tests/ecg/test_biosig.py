"""Samples held against BioSig 2.5 (Debian's biosig-tools): its reading of our files, ours of its files.

Where the two part, the test says which file, what the format says, and pins what BioSig makes of it
as far as that is the same at every run: it breaks down over some valid files by reading past its memory.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.read import read_ecg
from hub.ecg.waveform import PatientText, Waveform
from hub.ecg.writers.aecg import write_aecg
from hub.ecg.writers.dicom import write_dicom
from hub.ecg.writers.edf import write_edf
from hub.ecg.writers.scp import write_scp
from hub.ecg.writers.wfdb import write_wfdb
from tests.ecg.biosig import Gdf, Refused, by_biosig, from_biosig, header_by_biosig
from tests.ecg.edf_files import Channel, EdfFile, ramp
from tests.ecg.mfer_files import mfer, tlv
from tests.ecg.records import DATA, load, ludb
from tests.ecg.test_ishne import ishne

FINE_MV = 1e-9
SOMEONE = PatientText(local_id="7", name="Doe^J", sex="M", birth_date="19500101")
"""BioSig reads through a null pointer where a DICOM or aECG file gives no name, which both allow
(PS3.3 C.7.1.1: Patient's Name is of type 2)."""


def same(theirs: Gdf, wave: Waveform, atol_mv: float = FINE_MV) -> None:
    assert theirs.labels == wave.leads
    assert theirs.rate_hz == pytest.approx(wave.rate_hz, rel=1e-9)
    np.testing.assert_allclose(theirs.samples_mv, wave.samples_mv, rtol=1e-12, atol=atol_mv)


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def read(data: bytes) -> Waveform:
    return read_ecg({"x": data})


class TestFilesOfOthers:
    @pytest.mark.parametrize("name", ["ecgtoolkit_Example.scp", "hl7_aecg.xml", "ludb_88_12lead_gb18030.dcm"])
    def test_recordings(self, name: str, tmp_path: Path) -> None:
        same(by_biosig(DATA / name, tmp_path), read_ecg(load(name)))

    def test_one_unit_in_one_sample_would_be_seen(self, tmp_path: Path) -> None:
        wave = read_ecg(load("ecgtoolkit_Example.scp"))
        wrong = wave.samples_mv.copy()
        wrong[-1, -1] += wave.lsb_mv[-1]
        theirs = by_biosig(DATA / "ecgtoolkit_Example.scp", tmp_path)
        with pytest.raises(AssertionError):
            same(theirs, replace(wave, samples_mv=wrong))

    @pytest.mark.parametrize("line", [1, 2, 3, 4, 5, 8, 9])
    def test_wfdb_formats(self, line: int, tmp_path: Path) -> None:
        """Formats 16, 61, 80, 160, 212, 24 and 32 with one signal; BioSig refuses 8, 310 and 311."""
        signal = load("binformats.hea")["binformats.hea"].decode().splitlines()[line + 1]
        name = signal.split()[0]
        files = {"one.hea": f"one 1 200 499\n{signal}\n".encode(), **load(name)}
        for each, data in files.items():
            put(tmp_path, each, data)
        theirs, wave = by_biosig(tmp_path / "one.hea", tmp_path), read_ecg(files)
        np.testing.assert_allclose(theirs.samples_mv, wave.samples_mv, rtol=1e-12)
        assert wave.rate_hz == theirs.rate_hz

    @pytest.mark.parametrize("bdf", [False, True])
    def test_edf_and_bdf(self, bdf: bool, tmp_path: Path) -> None:
        """Written by the tests' own small writer; two records of the extremes and of noise."""
        digital = ("-8388608", "8388607") if bdf else ("-32768", "32767")
        channels = [Channel(n, ramp(4, 500, seed), digital=digital) for seed, n in ((1, "I"), (2, "V1"))]
        data = EdfFile(channels, bdf=bdf).build()
        same(by_biosig(put(tmp_path, "x", data), tmp_path), read(data))

    def test_ishne(self, tmp_path: Path) -> None:
        """BioSig starts at byte 4096 whatever the header's offset of the samples says: they lie there."""
        data = ishne(remark=b"x" * (4096 - 522))
        same(by_biosig(put(tmp_path, "x", data), tmp_path), read(data))

    def test_header_of_mfer(self, tmp_path: Path) -> None:
        """BioSig 2.5 leaves the first channel's type unset and so reads no samples of MFER.

        What it says of the other three (count, rate, volts of a unit) agrees.
        """
        stored = np.random.default_rng(5).integers(-2000, 2000, (500, 4))
        plain = mfer(stored)
        start = tlv(0x40, b"MFR test")
        data = tlv(0x40, b"MFR ".ljust(32)) + plain.removeprefix(start)
        wave = read(data)
        path = put(tmp_path, "x.mwf", data)
        with pytest.raises(Refused, match="datatype not supported"):
            by_biosig(path, tmp_path)
        theirs = header_by_biosig(path)
        assert re.search(r'"NumberOfSamples"\s*: 500,', theirs)
        rates = re.findall(r'"Samplingrate"\s*: ([0-9.]+),', theirs)[-3:]
        volts = re.findall(r'"scaling"\s*: (\S+),', theirs)[-3:]
        assert [float(rate) for rate in rates] == [wave.rate_hz] * 3
        assert [float(each) for each in volts] == pytest.approx([each / 1000 for each in wave.lsb_mv[1:]])


class TestOurFiles:
    @pytest.mark.parametrize("difference", [0, 1, 2])
    @pytest.mark.parametrize("huffman", [False, True])
    def test_scp(self, difference: int, huffman: bool, tmp_path: Path) -> None:
        wave = replace(read_ecg(load("ecgtoolkit_Example.scp")), parts=())
        data = write_scp(wave, difference=difference, huffman=huffman)
        same(by_biosig(put(tmp_path, "x.scp", data), tmp_path), wave)

    @pytest.mark.parametrize("name", ["ecgtoolkit_12lead.dcm", "hl7_aecg.xml", "philips_1_03.xml"])
    def test_scp_with_a_reference_beat(self, name: str, tmp_path: Path) -> None:
        """Huffman-coded: BioSig steps twice over the leads of a reference beat in plain samples."""
        wave = read_ecg(load(name))
        same(by_biosig(put(tmp_path, "x.scp", write_scp(wave)), tmp_path), wave)

    def test_scp_of_1000_hz(self, tmp_path: Path) -> None:
        """Without measurements: BioSig takes the count of section 7 (EN 1064, 5.10) for one less than the
        blocks that are there, runs past the section, and breaks down where the file is long."""
        wave = replace(read_ecg(load("mortara_12lead.dcm")), parts=(), device_measurements=())
        same(by_biosig(put(tmp_path, "x.scp", write_scp(wave)), tmp_path), wave)

    @pytest.mark.parametrize("name", ["ecgtoolkit_Example.scp", "mortara_12lead.dcm", "philips_1_03.xml"])
    def test_edf(self, name: str, tmp_path: Path) -> None:
        wave = read_ecg(load(name))
        theirs = by_biosig(put(tmp_path, "x.edf", write_edf(wave)), tmp_path)
        same(theirs, replace(wave, leads=tuple(f"ECG {lead}" for lead in wave.leads)))

    def test_edf_of_odd_gains(self, tmp_path: Path) -> None:
        """LUDB: every lead has a gain of its own, of many digits."""
        wave = read_ecg(ludb(88))
        theirs = by_biosig(put(tmp_path, "x.edf", write_edf(wave)), tmp_path)
        np.testing.assert_allclose(theirs.samples_mv, wave.samples_mv, atol=FINE_MV)

    @pytest.mark.parametrize("name", ["ecgtoolkit_Example.scp", "philips_1_03.xml", "mortara_12lead.dcm"])
    def test_dicom(self, name: str, tmp_path: Path) -> None:
        wave = replace(read_ecg(load(name)), parts=(), patient=SOMEONE)
        data = write_dicom(wave)
        same(by_biosig(put(tmp_path, "x.dcm", data), tmp_path), wave)

    def test_dicom_of_32_bits(self, tmp_path: Path) -> None:
        stored = np.random.default_rng(1).integers(-(2**30), 2**30, (500, 2))
        wave = Waveform(stored * 1e-6, 500.0, ("I", "II"), "x", lsb_mv=(1e-6, 1e-6), patient=SOMEONE)
        same(by_biosig(put(tmp_path, "x.dcm", write_dicom(wave)), tmp_path), wave)

    def test_dicom_with_a_median_beat(self, tmp_path: Path) -> None:
        """Of several groups (PS3.3 C.10.9: each is a waveform of its own) BioSig gives the last."""
        wave = replace(read_ecg(load("ecgtoolkit_Example.scp")), patient=SOMEONE)
        median = wave.median
        assert median is not None
        theirs = by_biosig(put(tmp_path, "x.dcm", write_dicom(wave)), tmp_path)
        assert (theirs.labels, theirs.rate_hz) == (median.leads, median.rate_hz)
        np.testing.assert_allclose(theirs.samples_mv, median.samples_mv, atol=FINE_MV)

    @pytest.mark.parametrize("name", ["ecgtoolkit_Example.scp", "mortara_12lead.dcm", "philips_1_03.xml"])
    def test_aecg(self, name: str, tmp_path: Path) -> None:
        wave = replace(read_ecg(load(name)), patient=SOMEONE)
        same(by_biosig(put(tmp_path, "x.xml", write_aecg(wave)), tmp_path), wave)

    def test_wfdb_of_one_lead(self, tmp_path: Path) -> None:
        """Of several leads BioSig finds only format 212: it adds the widths of the leads before up twice."""
        wave = read_ecg(load("ecgtoolkit_Example.scp"))
        lead = replace(
            wave, samples_mv=wave.samples_mv[:, :1], leads=("I",), lsb_mv=wave.lsb_mv[:1], parts=()
        )
        for name, data in write_wfdb(lead, "one").items():
            put(tmp_path, name, data)
        same(by_biosig(tmp_path / "one.hea", tmp_path), lead)


class TestFilesThatBiosigWrote:
    """Independent files of formats of which there are no, or few, of real devices."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("ecgtoolkit_Example.scp", "BDF"),
            ("ecgtoolkit_Example.scp", "EDF"),
            ("hl7_aecg.xml", "BDF"),
            ("hl7_aecg.xml", "EDF"),
            ("hl7_aecg.xml", "HL7aECG"),
            ("ludb_88_12lead_gb18030.dcm", "BDF"),
            ("ludb_88_12lead_gb18030.dcm", "EDF"),
            ("ludb_88_12lead_gb18030.dcm", "HL7aECG"),
        ],
    )
    def test_they_hold_what_was_put_in(self, name: str, kind: str, tmp_path: Path) -> None:
        """Read as BioSig reads them back, and within a unit of the source.

        Its aECG from the SCP file is left out: it puts a control character into the device's name,
        which no XML may hold (XML 1.0, 2.2).
        """
        source = read_ecg(load(name))
        path = from_biosig(DATA / name, kind, tmp_path)
        wave = read(path.read_bytes())
        assert wave.format == ("aecg" if kind == "HL7aECG" else "edf")
        same(by_biosig(path, tmp_path), wave)
        assert (wave.leads, wave.samples_mv.shape) == (source.leads, source.samples_mv.shape)
        units = np.array(wave.lsb_mv, dtype=float)
        assert (np.abs(wave.samples_mv - source.samples_mv) <= 1.01 * units).all()

    @pytest.mark.parametrize("name", ["ecgtoolkit_Example.scp", "ludb_88_12lead_gb18030.dcm"])
    def test_scp_version_3(self, name: str, tmp_path: Path) -> None:
        """Section 12. The stored numbers are those of the source; BioSig makes the unit a nanovolt larger.

        It does not read its own file back.
        """
        source = read_ecg(load(name))
        wave = read(from_biosig(DATA / name, "SCP3", tmp_path).read_bytes())
        assert (wave.format, wave.leads, wave.rate_hz) == ("scp", source.leads, source.rate_hz)
        np.testing.assert_allclose(
            wave.samples_mv / wave.lsb_mv, source.samples_mv / source.lsb_mv, rtol=0, atol=1e-6
        )


NOT_BY_BIOSIG = {
    "aecg/fda_subject1_0.xml": "not recognised",
    "aecg/minimum_aecg.xml": "not recognised",
    "aecg/minimum_aecg_effectiveTime_low.xml": "not recognised",
    "aecg/minimum_aecg_nouuid.xml": "not recognised",
    "cardiosoft_xml/ecgprocess_example-XML1.xml": "breaks down",
    "contec/contec_0000050.ECG": "not supported",
    "dicom/ecgtoolkit_Example.dcm": "breaks down",
    "dicom/waveform_ecg_scrubbed.dcm": "breaks down",
    "muse_xml/braveheart_example1.xml": "taken for aECG, no samples found",
    "muse_xml/braveheart_example3.xml": "taken for aECG, no samples found",
    "philips_xml/129DYPRG_1_03.xml": "breaks down",
    "philips_xml/3191723_ZZDEMOPTONLY_1-04.xml": "no samples found",
    "philips_xml/repbeats_example_1_03.xml": "breaks down",
    "scp/healforce_62.SCP": "not recognised; refused here as well",
}
"""Single files of the wide test data that BioSig gives no samples of."""

BY_BIOSIG = (
    "aecg/derived_ludb_stemi_utf8.xml",
    "aecg/hl7_Example.xml",
    "dicom/derived_ludb_af_12lead.dcm",
    "dicom/derived_ludb_lbbb_general.dcm",
    "edf/contec_0000050.ECG.edf",
    "scp/contec_0000050.ECG.scp",
    "scp/ecgtoolkit_Example.scp",
    "wfdb_qtdb/sel30.hea",
    "wfdb_qtdb/sele0104.hea",
)
"""Of WFDB records it reads those of one file in format 212 without a counter frequency; the other 136
headers are in format 16 of several leads, where it breaks down, in several files or with a counter."""


def record_of(path: Path) -> dict[str, bytes]:
    beside = [path.with_suffix(".dat")] if path.suffix == ".hea" else []
    return {each.name: each.read_bytes() for each in (path, *beside)}


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
class TestWideTestData:
    @pytest.fixture
    def data(self) -> Path:
        return Path(os.environ["HUB_TEST_DATA"]) / "ecg"

    def test_every_single_file_is_on_one_of_the_lists(self, data: Path) -> None:
        kinds = {".dcm", ".edf", ".scp", ".xml", ".ecg"}
        there = {str(f.relative_to(data)) for f in data.rglob("*") if f.suffix.lower() in kinds}
        assert there == {name for name in (*BY_BIOSIG, *NOT_BY_BIOSIG) if not name.startswith("wfdb")}

    @pytest.mark.parametrize("name", BY_BIOSIG)
    def test_the_samples_are_the_same(self, name: str, data: Path, tmp_path: Path) -> None:
        theirs, wave = by_biosig(data / name, tmp_path), read_ecg(record_of(data / name))
        if name == "scp/contec_0000050.ECG.scp":
            # Its leads are cut at 65535 bytes (EN 1064, 5.9: the length of a lead is a 16-bit number).
            # BioSig reads on to the length that section 3 states, over the samples of the next lead.
            assert (len(theirs.samples_mv), len(wave.samples_mv)) == (37855, 32767)
            assert "samples_missing" in wave.warnings
            theirs = replace(theirs, samples_mv=theirs.samples_mv[:32767])
        same(theirs, wave)

    def test_of_mit_bih_100(self, data: Path, tmp_path: Path) -> None:
        """Without the comment that its header begins with: BioSig never gets past one there (header(5)
        allows it before the record line)."""
        header = (data / "wfdb_mitdb/100.hea").read_text().partition("\n")[2]
        files = {"100.hea": header.encode(), "100.dat": (data / "wfdb_mitdb/100.dat").read_bytes()}
        for each, content in files.items():
            put(tmp_path, each, content)
        same(by_biosig(tmp_path / "100.hea", tmp_path), read_ecg(files))

    @pytest.mark.parametrize("name", sorted(NOT_BY_BIOSIG))
    def test_nothing_is_read(self, name: str, data: Path, tmp_path: Path) -> None:
        """A file that BioSig begins to read goes on the other list."""
        with pytest.raises(Refused):
            by_biosig(data / name, tmp_path)
