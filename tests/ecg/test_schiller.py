"""Schiller SEMA XML: files made here by what its public readers agree on; values by hand."""

import numpy as np
import pytest

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.schiller import matches, read_schiller
from hub.ecg.read import read_ecg
from hub.errors import Malformed

STORED = np.random.default_rng(9).integers(-2000, 2000, (100, 3))
ROOT = "com.xiriuz.sema.xml.schillerEDI.SchillerEDI"
STEP = "<yres><unitperbit>5</unitperbit><units>UV</units></yres>"
RATE = "<samplerate><value>500</value><exponent>1</exponent></samplerate>"


def channel(name: str, stored: np.ndarray, *, kind: str = "COMMASEPARATE", count: str = "") -> str:
    data = "".join(f"{value}," for value in stored.tolist())
    return (
        f"<channel><name>{name}</name><datastype>{kind}</datastype>"
        f"<samplecount>{count or len(stored)}</samplecount><data>{data}</data></channel>"
    )


def wave(
    kind: str = "ECG_RHYTHMS",
    stored: np.ndarray = STORED,
    names: tuple[str, ...] = ("I", "AVL", "V1"),
    *,
    rate: str = RATE,
    step: str = STEP,
    **other: str,
) -> str:
    channels = "".join(channel(name, stored[:, n], **other) for n, name in enumerate(names))
    return f"<wavedata><type>{kind}</type><resolution>{rate}{step}</resolution>{channels}</wavedata>"


def sema(*waves: str, more: str = "", event: str = "") -> bytes:
    events = f"<eventdata><event>{event}{''.join(waves)}</event></eventdata>"
    return f'<?xml version="1.0" encoding="UTF-8"?><{ROOT}>{more}{events}</{ROOT}>'.encode()


def test_samples() -> None:
    read = read_schiller(sema(wave("ECG_AVERAGES", STORED[:60]), wave()))
    assert read.leads == ("I", "aVL", "V1")
    assert read.samples_mv == pytest.approx(STORED * 0.005)
    assert (read.rate_hz, read.lsb_mv) == (500, (0.005,) * 3)
    assert read.median.samples_mv == pytest.approx(STORED[:60] * 0.005)
    millivolts = "<yres><unitperbit>0.005</unitperbit><units>mV</units></yres>"
    assert read_schiller(sema(wave(step=millivolts))).samples_mv == pytest.approx(STORED * 0.005)


def test_several_strips() -> None:
    read = read_schiller(
        sema(wave(), wave("ECG_RHYTHM", STORED[:10, :1], ("V2",)), wave("ECG_AVERAGES", step=""))
    )
    assert [(part.kind, part.leads) for part in read.parts] == [("rhythm", ("V2",))]
    assert "leads_in_other_groups" in read.warnings


def test_what_it_says() -> None:
    more = (
        "<patdata><id>P1</id><lastname>王</lastname><firstname>小明</firstname><birthdate>19530508</birthdate>"
        "<gender>MALE</gender></patdata><examdescript><startdatetime><date>20200102</date><time>030405</time>"
        "</startdatetime><aquiringdevice><hardware><vendor>SCHILLER</vendor><model>AT-102</model></hardware>"
        "<software><version>1.2</version></software></aquiringdevice></examdescript>"
    )
    pairs = "<name>P</name><value>9</value><name>HR</name><value>61</value>"
    event = f"<annotation_global>{pairs}</annotation_global>"
    read = read_schiller(sema(wave(), more=more, event=event))
    assert (read.patient.name, read.patient.local_id, read.patient.sex) == ("王^小明", "P1", "MALE")
    assert read.patient.birth_date == "19530508"
    assert read.device == "SCHILLER AT-102 1.2"
    assert str(read.started_at) == "2020-01-02 03:04:05"
    assert read.started_at_source == "startdatetime"
    assert [(m.name, m.value, m.unit) for m in read.device_measurements] == [("hr_bpm", 61, "bpm")]
    assert read_schiller(sema(wave())).device_measurements == ()


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("", NoLeads),
        (wave("ECG_AVERAGES"), NoLeads),
        (wave(names=()), NoLeads),
        (wave(step=""), UnitsMissing),
        (wave(step=STEP.replace("UV", "mm")), UnitsMissing),
        (wave(rate=""), RateMissing),
        (wave(rate=RATE.replace("500", "fast")), RateMissing),
        (wave(rate=RATE.replace(">1<", ">2<")), FormatFeature),
        (wave(kind="ECG_RHYTHMS").replace("COMMASEPARATE", "BASE64"), FormatFeature),
        (wave().replace("<samplecount>100", "<samplecount>101"), Truncated),
        (wave().replace(",", ",,", 1), Malformed),
        (wave(stored=np.zeros((2, 65), int), names=("I",) * 65), RecordingTooLarge),
    ],
)
def test_refusals(part: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_schiller(sema(part))


def test_is_recognised_by_content() -> None:
    assert matches(sema())
    assert matches(b"<SchillerEDI>")
    assert not matches(b"<EDI>")
    assert read_ecg({"x": sema(wave())}).format == "schiller"
