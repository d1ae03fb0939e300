"""Recordings written as FHIR, held against R4B's own rules and the samples."""

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from hub.ecg.analysis.model import Atrial, Measurement, Value
from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import DeviceMeasurement, Part, PatientText, Waveform
from hub.ecg.writers.fhir import write_fhir
from tests.ecg.records import load, ludb

TIME = re.compile(
    r"^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00)))?)?)?$"
)
STATUSES = {
    "registered",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "cancelled",
    "entered-in-error",
    "unknown",
}
KNOWN = {
    "resourceType", "id", "contained", "status", "category", "code", "subject", "effectiveDateTime",
    "note", "method", "device", "hasMember", "component",
}  # fmt: skip


def faults(resource: dict[str, Any], *, contained: bool = False) -> list[str]:
    """Return what breaks R4B's Observation and SampledData: cardinalities, types and invariants by hand."""
    found = [f"unknown {name}" for name in resource.keys() - KNOWN]
    found += ["status"] * (resource.get("status") not in STATUSES)
    found += ["time"] * ("effectiveDateTime" in resource and not TIME.match(resource["effectiveDateTime"]))
    found += ["empty"] * any(value in ("", [], {}, None) for value in resource.values())
    found += concept_faults(resource["code"])
    ids = {each["id"] for each in resource.get("contained", [])}
    used = {each["reference"].removeprefix("#") for each in resource.get("hasMember", [])}
    found += ["dom-3"] * (ids != used) + ["dom-2"] * (contained and "contained" in resource)
    for each in resource.get("contained", []):
        found += faults(each, contained=True)
    for each in resource.get("component", []):
        values = [name for name in each if name.startswith("value")]
        found += ["one value each"] * (len(values) != 1) + concept_faults(each["code"])
        found += sampled_faults(each["valueSampledData"]) if "valueSampledData" in each else []
        found += quantity_faults(each["valueQuantity"]) if "valueQuantity" in each else []
    return found


def concept_faults(concept: dict[str, Any]) -> list[str]:
    codings = concept.get("coding", [])
    bad = [
        c
        for c in codings
        if not c["system"].startswith(("urn:", "http://")) or not re.match(r"^\S+( \S+)*$", c["code"])
    ]
    return ["coding"] * bool(bad) + ["empty concept"] * (not codings and not concept.get("text"))


def quantity_faults(quantity: dict[str, Any]) -> list[str]:
    return ["qty-3"] * ("code" in quantity and "system" not in quantity) + ["number"] * isinstance(
        quantity["value"], str
    )


def sampled_faults(sampled: dict[str, Any]) -> list[str]:
    found = [f"missing {n}" for n in ("origin", "period", "dimensions") if n not in sampled]
    found += ["comparator"] * ("comparator" in sampled["origin"]) + quantity_faults(sampled["origin"])
    found += ["dimensions"] * (not isinstance(sampled["dimensions"], int) or sampled["dimensions"] < 1)
    found += ["period"] * (not sampled["period"] > 0)
    found += ["data"] * (not re.fullmatch(r"(?:(?:-?\d+(?:\.\d+)?|E|U|L)(?: |$))+", sampled["data"]))
    return found + ["length"] * (len(sampled["data"]) > 1024 * 1024)


def samples_mv(resource: dict[str, Any]) -> np.ndarray:
    """Decode the leads as FHIR says: origin + factor * data, E for what is missing."""
    columns = []
    for each in resource["component"]:
        if "valueSampledData" in each:
            sampled = each["valueSampledData"]
            data = np.array([np.nan if w == "E" else float(w) for w in sampled["data"].split(" ")])
            columns.append((sampled["origin"]["value"] + sampled["factor"] * data) / 1000)
    return np.column_stack(columns)


def written(waveform: Waveform, **options: Any) -> dict[str, Any]:
    resource = json.loads(write_fhir(waveform, **options))
    assert faults(resource) == []
    return resource


def wave(samples: np.ndarray, leads: tuple[str, ...], **more: Any) -> Waveform:
    return Waveform(samples, 500.0, leads, "test", lsb_mv=(0.005,) * len(leads), **more)


def test_the_checker_finds_planted_faults() -> None:
    resource = written(wave(np.zeros((3, 1)), ("I",)))
    for change in (
        {"status": "done"},
        {"effectiveDateTime": "2024-01-02T03:04:05"},
        {"hasMember": [{"reference": "#x"}]},
        {"invented": 1},
        {"note": []},
        {"component": [{"code": {"text": "x"}}]},
    ):
        assert faults(resource | change) != [], change
    sampled = resource["component"][0]["valueSampledData"]
    for change in ({"data": "1;2"}, {"period": 0}, {"dimensions": 0}, {"data": "1 N"}):
        assert sampled_faults(sampled | change) != [], change


@pytest.mark.parametrize(
    "given",
    [lambda: read_ecg(ludb(88)), lambda: read_ecg(load("mortara_12lead.dcm"))],
    ids=["wfdb", "dicom"],
)
def test_all_samples_come_back(given: Any) -> None:
    wave = given()
    resource = written(wave)
    np.testing.assert_allclose(samples_mv(resource), wave.samples_mv, atol=1e-12)
    assert resource["component"][0]["valueSampledData"]["period"] == 1000 / wave.rate_hz
    for part, contained in zip(wave.parts, resource.get("contained", []), strict=True):
        np.testing.assert_allclose(samples_mv(contained), part.samples_mv, atol=1e-12)


def test_codes_of_the_leads() -> None:
    """Oracle: HL7's own ECG example, 131328 with 131329 (I), 131330 (II); for the rest 11073-10101."""
    names = ("I", "II", "V1", "V6", "III", "aVR", "aVL", "aVF", "odd")
    resource = written(wave(np.zeros((2, len(names))), names))
    assert resource["code"]["coding"][0]["code"] == "131328"
    codes = [each["code"].get("coding", [{}])[0].get("code") for each in resource["component"]]
    assert codes == ["131329", "131330", "131331", "131336", "131389", "131390", "131391", "131392", None]
    assert resource["component"][8]["code"] == {"text": "odd"}


def test_gaps_are_errors() -> None:
    resource = written(wave(np.array([[0.005], [np.nan], [-0.01]]), ("I",)))
    assert resource["component"][0]["valueSampledData"]["data"] == "1 E -2"


def test_who_when_and_with_what() -> None:
    zone = timezone(timedelta(hours=8))
    given = wave(
        np.zeros((2, 1)),
        ("I",),
        started_at=datetime(2024, 1, 2, 3, 4, 5, tzinfo=zone),
        patient=PatientText("7", "王芳"),
        device="某厂 X1",
        device_statements=("窦性心律",),
    )
    resource = written(given, patient={"local_id": "8"})
    assert resource["effectiveDateTime"] == "2024-01-02T03:04:05+08:00"
    assert resource["subject"] == {"identifier": {"value": "8"}, "display": "王芳"}
    assert resource["device"] == {"display": "某厂 X1"}
    assert resource["note"] == [{"text": "窦性心律"}]


def test_a_clock_without_a_zone_is_a_day() -> None:
    resource = written(wave(np.zeros((2, 1)), ("I",), started_at=datetime(2024, 1, 2, 3, 4, 5)))  # noqa: DTZ001
    assert resource["effectiveDateTime"] == "2024-01-02"
    assert "2024-01-02T03:04:05" in resource["note"][0]["text"]


def test_measured_values() -> None:
    """Oracle: context-free codes are the partition times 65536 plus the term, 2:16156 is 147228."""
    values = {
        "qrs_ms": Value(92.0, "ms"),
        "hr_bpm": Value(61.5, "bpm"),
        "pr_ms": Value(None, "ms", reason="no_p_wave"),
        "qtc_hodges_ms": Value(401.0, "ms"),
    }
    given = wave(np.zeros((2, 1)), ("I",), device_measurements=(DeviceMeasurement("qrs_ms", 1.0, "ms"),))
    resource = written(given, measurement=Measurement((), (), values, {}, None, Atrial()))
    measured = {c["code"]["text"]: c for c in resource["component"] if "valueQuantity" in c}
    assert measured["QRS duration global"]["code"]["coding"][0]["code"] == str(2 * 65536 + 16156)
    assert measured["QRS duration global"]["valueQuantity"]["value"] == 92
    assert measured["Heart rate"]["valueQuantity"]["code"] == "/min"
    assert measured["QTc (Hodges)"]["valueQuantity"]["value"] == 401
    assert len(measured) == 3
    device = [c for c in written(given)["component"] if "valueQuantity" in c]
    assert [c["valueQuantity"]["value"] for c in device] == [1]


def test_a_median_beat_is_a_member() -> None:
    beat = Part("median", "MEDIAN", np.zeros((3, 1)), 500.0, ("I",))
    resource = written(wave(np.zeros((2, 1)), ("I",), parts=(beat,)))
    assert resource["hasMember"] == [{"reference": "#part1"}]
    assert resource["contained"][0]["code"]["text"] == "MEDIAN"


def test_a_day_is_too_long_for_a_string() -> None:
    raw = np.full((300_000, 1), -100.0)
    with pytest.raises(CannotHold) as caught:
        write_fhir(wave(raw, ("I",)))
    assert caught.value.facts["reason"] == "length"
