"""Mortara ELI XML: files made here by what its public readers agree on; ecgdatakit reads them too."""

import base64
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.mortara import matches, read_mortara
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_ecgdatakit

STORED = np.random.default_rng(8).integers(-2000, 2000, (1000, 12)).astype("<i2")
FORMAT = {
    "UNITS_PER_MV": "800",
    "SAMPLE_FREQ": "1000",
    "BITS": "16",
    "FORMAT": "SIGNED",
    "ENCODING": "BASE64",
}


def attributes(values: dict[str, str]) -> str:
    return " ".join(f'{key}="{value}"' for key, value in values.items() if value is not None)


def channel(name: str, stored: np.ndarray, **other: str) -> str:
    facts = {"NAME": name, "OFFSET": "0", "DURATION": str(len(stored)), **FORMAT}
    facts["DATA"] = base64.b64encode(stored.astype("<i2").tobytes()).decode()
    return f"<CHANNEL {attributes(facts | other)}/>"


def rhythm(**other: str) -> str:
    return "".join(channel(name, STORED[:, n], **other) for n, name in enumerate(STANDARD_LEADS))


def cycle(**other: str) -> str:
    channels = "".join(
        f'<TYPICAL_CYCLE_CHANNEL NAME="{name}" DATA="'
        f'{base64.b64encode(STORED[:300, n].tobytes()).decode()}"/>'
        for n, name in enumerate(STANDARD_LEADS)
    )
    return f"<TYPICAL_CYCLE {attributes(FORMAT | other)}>{channels}</TYPICAL_CYCLE>"


def eli(*parts: str, **root: str) -> bytes:
    facts = attributes({"ACQUISITION_TIME": "20200102030405", **root})
    return f'<?xml version="1.0" encoding="UTF-8"?><ECG {facts}>{"".join(parts)}</ECG>'.encode()


class TestSamples:
    def test_agrees_with_ecgdatakit(self, tmp_path: Path) -> None:
        path = tmp_path / "eli.xml"
        path.write_bytes(eli(rhythm(), cycle()))
        ours, theirs = read_mortara(path.read_bytes()), by_ecgdatakit(path)
        assert ours.leads == tuple(each.label for each in theirs.leads) == STANDARD_LEADS
        for each in theirs.leads:
            assert ours.lead(each.label) == pytest.approx(each.samples, abs=1e-12)
        for each in theirs.median_beats:
            column = ours.median.leads.index(each.label)
            assert ours.median.samples_mv[:, column] == pytest.approx(each.samples, abs=1e-12)

    def test_by_hand(self) -> None:
        wave = read_mortara(eli(rhythm()))
        assert wave.samples_mv == pytest.approx(STORED / 800)
        assert (wave.rate_hz, wave.lsb_mv) == (1000, (0.00125,) * 12)
        assert wave.warnings == ()

    def test_a_length_in_milliseconds(self) -> None:
        assert read_mortara(eli(rhythm(SAMPLE_FREQ="500", DURATION="2000"))).n_samples == 1000

    def test_an_offset_is_said(self) -> None:
        assert read_mortara(eli(rhythm(OFFSET="3"))).warnings == ("offset_not_applied",)

    def test_a_cycle_without_units_is_left_out(self) -> None:
        assert read_mortara(eli(rhythm(), cycle(UNITS_PER_MV=None))).parts == ()


def test_what_it_says() -> None:
    wave = read_mortara(eli(
        '<SUBJECT LAST_NAME="王" FIRST_NAME="小明" ID="P1" GENDER="Male" DOB="19530508"/>',
        '<SOURCE MANUFACTURER="Mortara" MODEL="ELI 280" LOW_PASS_FILTER="150"/>',
        '<AUTOMATIC_INTERPRETATION><STATEMENT TEXT="SINUS RHYTHM" REASON="60-99"/><STATEMENT/>'
        "</AUTOMATIC_INTERPRETATION>",
        rhythm(),
        cycle(PR_DURATION="148", QRS_DURATION="120", QT="420", QTC="443", QTB="", P_AXIS="44"),
        VENT_RATE="61", AGE="46", AGE_UNITS="YEARS",
    ))  # fmt: skip
    assert (wave.patient.name, wave.patient.local_id, wave.patient.sex) == ("王^小明", "P1", "Male")
    assert (wave.patient.birth_date, wave.patient.age) == ("19530508", "46Y")
    assert wave.device == "Mortara ELI 280"
    assert wave.filters.low_pass_hz == 150
    assert wave.device_statements == ("SINUS RHYTHM (60-99)",)
    assert str(wave.started_at) == "2020-01-02 03:04:05"
    assert wave.started_at_source == "ACQUISITION_TIME"
    assert [(m.name, m.value, m.unit) for m in wave.device_measurements] == [
        ("hr_bpm", 61, "bpm"),
        ("pr_ms", 148, "ms"),
        ("qrs_ms", 120, "ms"),
        ("qt_ms", 420, "ms"),
        ("qtc_ms", 443, "ms"),
        ("p_axis_deg", 44, "deg"),
    ]


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("", NoLeads),
        (rhythm(UNITS_PER_MV=None), UnitsMissing),
        (rhythm(UNITS_PER_MV="0"), UnitsMissing),
        (rhythm(SAMPLE_FREQ="-1"), RateMissing),
        (rhythm(BITS="12"), FormatFeature),
        (rhythm(FORMAT="UNSIGNED"), FormatFeature),
        (rhythm(ENCODING=None), FormatFeature),
        (rhythm(DURATION="1001"), Truncated),
        (rhythm(DATA="rubbish!"), Malformed),
        (rhythm(DATA="AAA="), Truncated),
        (rhythm() + channel("V7", STORED[:, 0], SAMPLE_FREQ="500"), FormatFeature),
        (channel("I", STORED[:2, 0]) * 65, RecordingTooLarge),
    ],
)
def test_refusals(part: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_mortara(eli(part))


def test_is_recognised_by_content() -> None:
    assert matches(eli())
    assert not matches(b"<ECG>")
    assert read_ecg({"x": eli(rhythm())}).format == "mortara"
