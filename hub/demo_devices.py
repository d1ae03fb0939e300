"""The demo's township devices: they send real files over real DICOM and HTTP."""

import io
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hub.auth.actor import Actor
from hub.context import Context
from hub.demo_data import county
from hub.demo_data.dicom.studies import STUDIES, DemoPatient, DemoStudy, prepare
from hub.errors import HubError
from hub.kit.uids import new_uid
from hub.patients.service import Person
from hub.worklist import service as worklist
from hub.worklist.service import NewOrder

log = structlog.get_logger()
ECG_FOLDER = Path(__file__).parent / "demo_data" / "ecg"
SUCCESS = 0x0000


class DeviceFailed(Exception):
    """A demo device was not answered as it expected."""


@dataclass(frozen=True)
class Wire:
    """Where the devices send to."""

    dicom_host: str
    dicom_port: int
    called_ae: str
    web_url: str
    tokens: dict[str, str]
    """Site code to the token of its uploading program."""


@dataclass(frozen=True)
class Sending:
    """One thing a device will send."""

    site: str
    label: str
    send: Callable[[], None]


class Township:
    """All devices of the demo county."""

    def __init__(
        self, context: Context, wire: Wire, doctors: dict[str, Actor], site_ids: dict[str, str]
    ) -> None:
        self.context, self.wire, self.doctors, self.site_ids = context, wire, doctors, site_ids
        self.dice = random.Random(2026)  # noqa: S311 - chooses what to show
        self.studies = {study.code: study for study in STUDIES}

    def first_day(self) -> list[Sending]:
        """Return what a first visitor should find."""
        patients = county.PATIENTS
        return [
            self.imaging("DP", "DP_DR", "chest", patients[0], county.QUESTIONS["chest"], "urgent"),
            self.imaging("LP", "LP_CT", "ct_head", patients[1], county.QUESTIONS["head"], "critical"),
            self.imaging("XJ", "XJ_US", "ultrasound", patients[3], None, "routine"),
            self.imaging("LZ", "LZ_DR", "lower_leg", patients[6], county.QUESTIONS["leg"], "routine"),
            self.ecg_file("VP", ("normal_142.hea", "142.dat"), patients[5], county.QUESTIONS["check"]),
            self.ecg_file(
                "VP",
                ("anterior_stemi_86.hea", "86.dat"),
                patients[7],
                county.QUESTIONS["pain"],
                pain_for=timedelta(hours=2),
            ),
            self.ecg_dicom("DP", "DP_ECG", "af_12lead.dcm", patients[4]),
            self.ecg_dicom("DP", "DP_ECG", "sinus_12lead.dcm", patients[2]),
        ]

    def now_and_again(self) -> Sending:
        """Return one more thing, by chance."""
        return self.dice.choice(self.first_day())

    def imaging(  # noqa: PLR0917 - what a request form holds
        self, site: str, ae: str, code: str, patient: DemoPatient, question: str | None, urgency: str
    ) -> Sending:
        """Return an imaging study; with a question it has an order first."""
        study = self.studies[code]

        def send() -> None:
            accession = self._order(site, study, patient, question, urgency) if question else ""
            taken = datetime.now(self.context.settings.zone)
            self._store(ae, prepare(study, patient, taken, accession))

        return Sending(site, f"{study.modality} {study.description}", send)

    def ecg_dicom(self, site: str, ae: str, name: str, patient: DemoPatient) -> Sending:
        """Return an ECG that a cart sends over DICOM."""

        def send() -> None:
            from pydicom import dcmread

            dataset: Any = dcmread(ECG_FOLDER / name)
            dataset.SpecificCharacterSet = "GB18030"
            dataset.PatientID, dataset.PatientName = patient.local_id, patient.name
            dataset.PatientSex, dataset.PatientBirthDate = patient.sex, patient.birth_date
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
            taken = datetime.now(self.context.settings.zone)
            dataset.StudyDate, dataset.StudyTime = f"{taken:%Y%m%d}", f"{taken:%H%M%S}"
            dataset.AccessionNumber = ""
            file = io.BytesIO()
            dataset.save_as(file)
            self._store(ae, [file.getvalue()])

        return Sending(site, "ECG DICOM", send)

    def ecg_file(
        self,
        site: str,
        names: tuple[str, ...],
        patient: DemoPatient,
        question: str,
        *,
        pain_for: timedelta | None = None,
    ) -> Sending:
        """Return an ECG that a village post uploads over HTTP, marked when the chest hurts."""

        def send() -> None:
            fields = {
                "patient_name": patient.name,
                "local_id": patient.local_id,
                "sex": patient.sex,
                "birth_date": patient.birth_date,
                "urgency": "routine",
                "clinical_question": question,
            }
            if pain_for is not None:
                onset = self.context.clock().astimezone(self.context.settings.zone) - pain_for
                fields |= {"chest_pain": "1", "chest_pain_onset": f"{onset:%Y-%m-%dT%H:%M}"}
            files = {name: (ECG_FOLDER / name).read_bytes() for name in names}
            if names[0].endswith(".hea"):
                # A comment makes each recording a new one; the same bytes twice would be a re-send.
                files[names[0]] = files[names[0]].rstrip() + f"\n# demo {uuid4()}\n".encode()
            self._upload(site, fields, files)

        return Sending(site, "ECG WFDB", send)

    def _order(
        self, site: str, study: DemoStudy, patient: DemoPatient, question: str | None, urgency: str
    ) -> str:
        new = NewOrder(
            site_id=self.site_ids[site],
            person=Person(patient.local_id, patient.name, patient.sex, patient.birth_date),
            modality=study.modality,
            body_part=study.description,
            clinical_question=question or "",
            urgency=urgency,
        )
        with self.context.db.transaction() as session:
            exam = worklist.create_order(
                session, self.doctors[site], new, settings=self.context.settings, now=self.context.clock()
            )
            return exam.number

    def _store(self, ae_title: str, files: list[bytes]) -> None:
        """Send files with C-STORE and insist on Success for each."""
        from hub.dicom.part10 import split
        from hub.dicom.wire.requestor import Target, connect

        metas = [split(file) for file in files]
        kinds = sorted({(meta.sop_class, meta.transfer_syntax) for meta, _ in metas})
        target = Target(self.wire.dicom_host, self.wire.dicom_port, self.wire.called_ae, ae_title)
        association = connect(target, [(sop_class, [syntax]) for sop_class, syntax in kinds])
        try:
            for file, (meta, offset) in zip(files, metas, strict=True):
                context = association.context_for(meta.sop_class, meta.transfer_syntax)
                if context is None:
                    raise DeviceFailed("not accepted")
                status = association.store(
                    context, sop_class=meta.sop_class, sop_instance=meta.sop_instance, pieces=[file[offset:]]
                )
                if status != SUCCESS:
                    raise DeviceFailed("not stored")
        finally:
            association.release()

    def _upload(self, site: str, fields: dict[str, str], files: dict[str, bytes]) -> None:
        body, boundary = _multipart(fields, files)
        request = Request(  # noqa: S310 - our own address
            f"{self.wire.web_url}/api/v1/ecg",
            data=body,
            headers={
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Authorization": f"Bearer {self.wire.tokens[site]}",
            },
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - our own address
            answer.read()


def _multipart(fields: dict[str, str], files: dict[str, bytes]) -> tuple[bytes, str]:
    """Return a multipart/form-data body (RFC 7578) and its boundary."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, content in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), boundary


def send_now_and_again(township: Township, stop: threading.Event, told: Callable[[Sending], None]) -> None:
    """Send one thing every 40 to 90 seconds until told to stop; a failure waits for the next turn."""
    while not stop.wait(township.dice.uniform(40, 90)):
        sending = township.now_and_again()
        try:
            sending.send()
            told(sending)
        except (DeviceFailed, HubError, SQLAlchemyError, OSError) as error:
            log.warning("demo_device_failed", site=sending.site, cause=type(error).__name__)
