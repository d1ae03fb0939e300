"""Philips ECG XML: held against ecgdatakit, against Goldberger's equations, and an encoder written here."""

import base64
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.philips import calibration_begins, matches, read_philips
from hub.ecg.formats.philips_xli import with_limb_leads, xli_leads
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA

REAL = (DATA / "philips_1_03.xml", DATA / "philips_1_04_utf16.xml")
RNG = np.random.default_rng(104)


def wander(n: int) -> np.ndarray:
    """Integers that move like an ECG does: small steps, now and then a tall wave."""
    tall = np.where(RNG.random(n) < 0.01, RNG.integers(-300, 300, n), 0)
    return np.cumsum(RNG.integers(-2, 3, n)) + tall


def half(values: np.ndarray) -> np.ndarray:
    return np.array([int(v / 2) for v in values.tolist()])


def twelve(n: int) -> np.ndarray:
    """Twelve leads, shape (n, 12), whose augmented leads are off their equations by a unit here and there."""
    one, two = wander(n), wander(n)
    noise = RNG.integers(-1, 2, (4, n))
    three = two - one + noise[0]
    limb = [three, -half(one + two) + noise[1], half(one - three) + noise[2], half(two + three) + noise[3]]
    return np.column_stack([one, two, *limb, *[wander(n) for _ in range(6)]])


def residuals(leads: np.ndarray) -> np.ndarray:
    one, two, three, right, left, foot = leads.T[:6]
    stored = leads.copy()
    stored[:, 2] = two - one - three
    stored[:, 3] = -right - half(one + two)
    stored[:, 4] = half(one - three) - left
    stored[:, 5] = half(two + three) - foot
    return stored


def lzw(data: bytes) -> bytes:
    """Compress with codes of 10 bits, most significant bit first, ended by 1023."""
    table = {bytes((n,)): n for n in range(256)}
    codes, known = [], b""
    for value in data:
        longer = known + bytes((value,))
        if longer in table:
            known = longer
            continue
        codes.append(table[known])
        if len(table) < 1023:
            table[longer] = len(table)
        known = bytes((value,))
    bits = "".join(f"{code:010b}" for code in (*codes, table[known], 1023))
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def xli(stored: np.ndarray) -> bytes:
    """Compress leads of shape (n, leads) one after another."""
    result = b""
    for lead in stored.T.tolist():
        bends = [-(lead[n] - 2 * lead[n - 1] + lead[n - 2]) for n in range(2, len(lead))]
        words = [lead[0], lead[1], *[bend + 64 for bend in bends[1:]], 64]
        raw = b"".join(struct.pack(">h", word) for word in words)
        chunk = lzw(raw[::2] + raw[1::2])
        result += struct.pack("<iHh", len(chunk), 1, bends[0]) + chunk
    return result


def document(
    text: str,
    attributes: str,
    *,
    version: str = "1.04",
    kind: str = "PhilipsECG",
    signal: str = "<samplingrate>500</samplingrate><resolution>5</resolution>",
    more: str = "",
    patient: str = "",
) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><restingecgdata xmlns="http://www3.medical.philips.com">'
        f"<documentinfo><documenttype>{kind}</documenttype><documentversion>{version}</documentversion></documentinfo>"
        f'<dataacquisition date="2020-02-03" time="04:05:06"><machine>Cart</machine>'
        f"<signalcharacteristics>{signal}</signalcharacteristics></dataacquisition>"
        f"<patient><generalpatientdata>{patient}</generalpatientdata></patient>{more}"
        f"<waveforms><parsedwaveforms {attributes}>{text}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode()


LABELS = f'leadlabels="{" ".join(STANDARD_LEADS)}" numberofleads="12" durationperchannel="2000"'


def compressed(leads: np.ndarray, **facts: str) -> bytes:
    text = base64.b64encode(xli(residuals(leads))).decode()
    return document(text, f'dataencoding="Base64" compression="XLI" {LABELS}', **facts)


def plain(leads: np.ndarray, attributes: str = "", **facts: str) -> bytes:
    text = " ".join(map(str, leads.T.reshape(-1).tolist()))
    return document(text, attributes or f'dataencoding="Plain" {LABELS}', **facts)


def with_pulse(leads: np.ndarray, *, high: int = 200, zeros: int = 50, width: int = 100) -> np.ndarray:
    shape = np.concatenate((np.zeros(zeros), np.full(width, high), np.zeros(zeros))).astype(int)
    return np.concatenate((leads, np.repeat(shape[:, None], leads.shape[1], axis=1)))


class TestRealFiles:
    @pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
    def test_agrees_with_ecgdatakit(self, path: Path) -> None:
        """In the augmented leads ecgdatakit rounds halves down where the encoder cuts towards zero."""
        ours, theirs = read_philips(path.read_bytes()), by_ecgdatakit(path)
        assert ours.leads == tuple(each.label for each in theirs.leads) == STANDARD_LEADS
        stored = {lead.label: np.rint(lead.samples / 0.005) for lead in theirs.leads}
        sums = {
            "aVR": (stored["I"] + stored["II"], -1),
            "aVL": (stored["I"] - stored["III"], 1),
            "aVF": (stored["II"] + stored["III"], 1),
        }
        n = ours.n_samples
        for name in STANDARD_LEADS:
            difference = np.rint(ours.lead(name) / 0.005) - stored[name][:n]
            total, step = sums.get(name, (np.zeros(n), 0))
            odd_negative = (total[:n] % 2 == 1) & (total[:n] < 0)
            assert np.array_equal(difference, step * odd_negative)
        for each in theirs.median_beats:
            assert np.array_equal(
                ours.median.samples_mv[:, ours.median.leads.index(each.label)], each.samples
            )

    def test_augmented_leads_keep_to_goldberger(self) -> None:
        """A lossless file of leads that were computed before rounding: never more than half a unit off."""
        wave = read_philips(REAL[1].read_bytes())
        one, two, three = (wave.lead(name) for name in ("I", "II", "III"))
        for name, exact in (
            ("aVR", -(one + two) / 2),
            ("aVL", (one - three) / 2),
            ("aVF", (two + three) / 2),
        ):
            assert np.abs(wave.lead(name) - exact).max() <= 0.0025 + 1e-9

    def test_what_1_03_says(self) -> None:
        wave = read_philips(REAL[0].read_bytes())
        assert wave.samples_mv.shape == (5264, 12)
        assert wave.warnings == ("calibration_pulse_cut",)
        assert str(wave.started_at) == "2011-12-01 07:27:34"
        assert wave.started_at_source == "dataacquisition"
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (
            0.05,
            150,
            None,
        )
        assert (wave.patient.local_id, wave.patient.sex, wave.patient.age) == (
            "1112010721168bdc",
            "Male",
            "50Y",
        )
        assert wave.device == "HeartstartMRx"
        assert {m.name: m.value for m in wave.device_measurements} == {
            "hr_bpm": 41, "pr_ms": 151, "qrs_ms": 135, "qt_ms": 476, "qtc_ms": 393,
            "p_axis_deg": 66, "qrs_axis_deg": -21, "t_axis_deg": 59,
        }  # fmt: skip
        assert wave.device_statements[0] == "Sinus bradycardia (rate< 50)"
        assert wave.device_statements[-1] == "ABNORMAL ECG"
        assert str(wave.median) == "repbeats: 12 x 1200 @ 1000 Hz"

    def test_what_1_04_says(self) -> None:
        wave = read_philips(REAL[1].read_bytes())
        assert wave.samples_mv.shape == (5300, 12)
        assert wave.patient.charset == "UTF-16"
        assert (wave.patient.name, wave.patient.birth_date) == ("ZZDEMOPTONLY^ADULT", "19500101")
        assert wave.device == "Philips Medical Products PageWriter Touch A.01.01.01"
        values = {m.name: m.value for m in wave.device_measurements}
        assert (values["hr_bpm"], values["p_ms"], values["qtc_bazett_ms"], values["qtc_ms"]) == (
            84,
            148,
            417,
            416,
        )
        assert str(wave.median) == "repbeats: 12 x 1200 @ 500 Hz"

    @pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
    def test_of_every_file_at_hand_only_the_pulse_is_cut(self) -> None:
        paths = sorted((Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "philips_xml").glob("*.xml"))
        assert paths
        for path in paths:
            ours, theirs = read_philips(path.read_bytes()), by_ecgdatakit(path)
            for lead in theirs.leads:
                cut = lead.samples[ours.n_samples :]
                assert set(np.round(cut, 9)) == {0.0, 1.0}
                assert (cut == 1).sum() == 100


class TestEncodings:
    def test_xli_of_an_encoder_written_for_the_test(self) -> None:
        leads = twelve(1000)
        wave = read_philips(compressed(leads))
        assert np.array_equal(np.rint(wave.samples_mv / 0.005), leads)
        assert wave.warnings == ()

    def test_sums_beyond_16_bits_do_not_wrap(self) -> None:
        leads = np.clip(np.cumsum(np.ones((1000, 12), int) * 40, axis=0), None, 30_000)
        leads[:, 2:6] = 0
        stored = xli_leads(xli(leads), 12, 1000)
        assert stored[0].max() == 30_000
        assert with_limb_leads(stored)[3].min() == -30_000

    @pytest.mark.parametrize("version", ["1.03", "1.04", "1.04.01", "1.04.02"])
    @pytest.mark.parametrize("kind", ["SierraECG", "PhilipsECG"])
    def test_plain_text(self, version: str, kind: str) -> None:
        leads = twelve(1000)
        wave = read_philips(plain(leads, version=version, kind=kind))
        assert np.array_equal(np.rint(wave.samples_mv / 0.005), leads)

    def test_base64(self) -> None:
        leads = twelve(1000)
        text = base64.b64encode(leads.T.astype("<i2").tobytes()).decode()
        wave = read_philips(document(text, f'dataencoding="Base64" compression="Uncompressed" {LABELS}'))
        assert np.array_equal(np.rint(wave.samples_mv / 0.005), leads)

    def test_only_valid_leads_by_the_lead_set(self) -> None:
        signal = (
            "<samplingrate>500</samplingrate><signalresolution>2.5</signalresolution><leadset>STD-12</leadset>"
            "<numberchannelsallocated>12</numberchannelsallocated><numberchannelsvalid>8</numberchannelsvalid>"
        )
        leads = twelve(1000)
        data = plain(leads, 'dataencoding="Plain" durationperchannel="2000"', signal=signal, version="1.03")
        wave = read_philips(data)
        assert wave.leads == STANDARD_LEADS[:8]
        assert np.array_equal(np.rint(wave.samples_mv / 0.0025), leads[:, :8])

    def test_unknown_leads_are_not_guessed(self) -> None:
        signal = (
            "<samplingrate>500</samplingrate><resolution>5</resolution><leadset>PEDS-15</leadset>"
            "<numberchannelsallocated>2</numberchannelsallocated>"
        )
        data = plain(twelve(1000)[:, :2], 'dataencoding="Plain" durationperchannel="2000"', signal=signal)
        wave = read_philips(data)
        assert wave.leads == ("channel 1", "channel 2")
        assert "lead_unnamed" in wave.warnings

    def test_filters_of_the_stored_waveform(self) -> None:
        more = 'hipass="0.15" lowpass="40" notchfiltered="True" notchfilterfreqs="50" signaloffset="3"'
        wave = read_philips(plain(twelve(1000), f'dataencoding="Plain" {LABELS} {more}'))
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (0.15, 40, 50)
        assert "offset_not_applied" in wave.warnings


class TestCalibrationPulse:
    def test_cut_by_its_shape_at_whatever_length(self) -> None:
        leads = twelve(800)
        wave = read_philips(plain(with_pulse(leads)))
        assert np.array_equal(np.rint(wave.samples_mv / 0.005), leads)
        assert wave.warnings == ("calibration_pulse_cut",)

    @pytest.mark.parametrize(
        "change",
        [{"high": 190}, {"high": -200}, {"width": 10}, {"width": 300}, {"zeros": 0}],
    )
    def test_another_shape_stays(self, change: dict[str, int]) -> None:
        signal = with_pulse(twelve(500), **change) * 0.005
        assert calibration_begins(signal, 0.005, 500) is None

    def test_nothing_else_is_cut(self) -> None:
        assert calibration_begins(twelve(5000) * 0.005, 0.005, 500) is None
        assert calibration_begins(np.zeros((5000, 12)), 0.005, 500) is None
        assert calibration_begins(np.ones((5000, 12)), 0.005, 500) is None
        one_lead_differs = with_pulse(twelve(500)) * 0.005
        one_lead_differs[-60, 3] = 0.5
        assert calibration_begins(one_lead_differs, 0.005, 500) is None


class TestWords:
    def test_what_a_person_edited_is_not_the_device_s(self) -> None:
        more = (
            "<interpretations><interpretation><globalmeasurements>"
            '<heartrate editedflag="True">99</heartrate><qrsdur>90</qrsdur><qtint>Failed</qtint>'
            "</globalmeasurements>"
            '<statement editedflag="True"><leftstatement>Edited</leftstatement></statement>'
            "<statement><leftstatement>窦性心律</leftstatement><rightstatement/></statement>"
            "</interpretation></interpretations>"
        )
        wave = read_philips(plain(twelve(1000), more=more))
        assert [(m.name, m.value) for m in wave.device_measurements] == [("qrs_ms", 90)]
        assert wave.device_statements == ("窦性心律",)

    def test_a_name_in_gbk_under_utf_8(self) -> None:
        patient = "<name><lastname>王</lastname><firstname>小明</firstname></name><age><years>7</years></age>"
        data = plain(twelve(1000), patient=patient).decode().encode("gbk")
        wave = read_philips(data)
        assert wave.patient.name == "王^小明"
        assert wave.patient.age == "7Y"


class TestRefusals:
    def test_another_type_or_version(self) -> None:
        for facts in ({"kind": "MortaraECG"}, {"version": "1.02"}, {"version": ""}):
            with pytest.raises(FormatFeature):
                read_philips(plain(twelve(1000), **facts))

    @pytest.mark.parametrize(
        ("signal", "error"),
        [
            ("<resolution>5</resolution>", RateMissing),
            ("<samplingrate>0</samplingrate><resolution>5</resolution>", RateMissing),
            ("<samplingrate>500</samplingrate>", UnitsMissing),
            ("<samplingrate>500</samplingrate><resolution>none</resolution>", UnitsMissing),
        ],
    )
    def test_no_number_is_guessed(self, signal: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            read_philips(plain(twelve(1000), signal=signal))

    @pytest.mark.parametrize(
        "attributes",
        [
            f"{LABELS}",
            f'dataencoding="Hex" {LABELS}',
            f'dataencoding="Base64" compression="Huffman" {LABELS}',
            f'dataencoding="Plain" compression="XLI" {LABELS}',
            f'dataencoding="Plain" signalsigned="False" {LABELS}',
            f'dataencoding="Plain" bitspersample="24" {LABELS}',
        ],
    )
    def test_encodings_that_are_not_read(self, attributes: str) -> None:
        with pytest.raises(FormatFeature):
            read_philips(plain(twelve(1000), attributes))

    def test_too_little(self) -> None:
        for text in (plain(twelve(999)), compressed(twelve(999))):
            with pytest.raises(Truncated):
                read_philips(text)
        with pytest.raises(Truncated):
            read_philips(plain(twelve(1000), 'dataencoding="Plain" leadlabels="I"'))

    def test_too_much(self) -> None:
        for duration in ("1e300", "1e12"):
            with pytest.raises(RecordingTooLarge):
                read_philips(
                    document("", f'dataencoding="Plain" leadlabels="I" durationperchannel="{duration}"')
                )
        with pytest.raises(RecordingTooLarge):
            read_philips(document("", 'dataencoding="Plain" numberofleads="1e9" durationperchannel="10"'))

    def test_without_waveforms(self) -> None:
        data = plain(twelve(1000)).replace(b"parsedwaveforms", b"unparsedwaveforms")
        with pytest.raises(NoLeads):
            read_philips(data)

    @pytest.mark.parametrize(
        "chunk",
        [
            struct.pack("<iHh", -1, 1, 0) + b"1234",
            struct.pack("<iHh", 2**31 - 1, 1, 0) + b"1234",
            struct.pack("<iHh", 4, 1, 0) + b"\xff\xef\x00\x00",
            struct.pack("<iHh", 4, 1, 0) + b"\x00\x7f\xff\xff",
        ],
    )
    def test_damaged_chunks(self, chunk: bytes) -> None:
        with pytest.raises(Malformed):
            xli_leads(chunk, 1, 1000)

    def test_a_bomb_of_codes(self) -> None:
        """Zeros without end: the table's longest entry is 768 bytes for ten bits."""
        bomb = lzw(bytes(20_000))
        with pytest.raises(Malformed):
            xli_leads(struct.pack("<iHh", len(bomb), 1, 0) + bomb, 1, 1000)


def test_is_recognised_by_content() -> None:
    assert matches(REAL[1].read_bytes())
    assert read_ecg({"x": REAL[1].read_bytes()}).format == "philips"
    assert not matches(b"<RestingECG>")
