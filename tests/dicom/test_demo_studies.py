from datetime import datetime

import pytest

from hub.demo_data.dicom.studies import FOLDER, STUDIES, DemoPatient, DemoStudy, prepare
from hub.dicom.header import read_header
from hub.dicom.part10 import split
from hub.dicom.pixels import decode_frame
from hub.dicom.render import render_frame

PATIENT = DemoPatient("D0001", "李^演示", "F", "19620304")


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.code)
def test_every_file_is_one_study_of_the_patient_and_can_be_shown(study: DemoStudy) -> None:
    files = prepare(study, PATIENT, datetime(2026, 1, 2, 8, 30), "ACC1")  # noqa: DTZ001 - a device's local clock
    headers = []
    for raw in files:
        meta, offset = split(raw)
        headers.append(read_header(raw[offset:], meta.transfer_syntax))
        assert decode_frame(raw, 0).pixels.size
        assert render_frame(raw, 0, size=(128, 128))
    assert len({header.sop_uid for header in headers}) == len(files)
    assert len({header.study_uid for header in headers}) == 1
    assert {header.patient.name.display for header in headers} == {"李演示"}
    assert {header.study_description.text for header in headers} == {study.description}
    assert {(header.accession, header.study_date, header.study_time) for header in headers} == {
        ("ACC1", "20260102", "083000")
    }


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.dcm")) < 6_000_000
