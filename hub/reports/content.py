"""What a report says and answers for: gathered once, hashed, printed, verified against."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy.orm import Session

from hub.catalogue.repository import CatalogueRepository
from hub.config import Settings
from hub.kit.people import mask_number
from hub.reports.document import LABEL_KEYS, Figure, ReportContent
from hub.reports.models import Report
from hub.web import i18n
from hub.worklist.repository import ExamRow

DATE_LENGTH, TIME_LENGTH = 8, 4
HASH_MARK = "SHA-256:"


@dataclass(frozen=True)
class Signature:
    """Who signs and when."""

    signer_id: str
    signer_name: str
    signer_serial: str
    signed_at: datetime
    reviewed: bool
    """Signed by somebody other than the writer; a single signature otherwise."""


def canonical(session: Session, row: ExamRow, report: Report, version: int, signature: Signature) -> str:
    """Return everything the signature answers for as canonical JSON.

    Sorted keys, no spaces, UTF-8, times in UTC: the same content gives the same bytes
    on every machine. The objects stand for themselves by the SHA-256 of their bytes.
    """
    repository = CatalogueRepository(session)
    study = row.study
    objects: list[dict[str, Any]] = []
    if study is not None:
        objects += [
            {"sop_uid": instance.sop_uid, "sha256": instance.sha256}
            for _, instance in repository.instances_of_study(study.id)
        ]
        objects += [
            {"recording": recording.digest, "files": sorted(file["sha256"] for file in recording.files)}
            for recording in repository.recordings(study.id)
        ]
    content = {
        "exam": {
            "number": row.exam.number,
            "modality": row.exam.modality,
            "body_part": row.exam.body_part,
            "site": row.site.code,
            "study_uid": study.study_uid if study else "",
            "clinical_question": row.clinical_question,
        },
        "patient": {
            "local_id": row.local_id,
            "name": row.patient_name,
            "sex": row.sex,
            "birth_date": row.birth_date,
        },
        "report": {
            "version": version,
            "findings": report.findings,
            "impression": report.impression,
            "positive": report.positive,
            "writer": [report.writer_id, report.writer_name, _utc(report.written_at)],
            "signer": [signature.signer_id, signature.signer_name, _utc(signature.signed_at)],
            "signer_serial": signature.signer_serial,
        },
        "objects": sorted(objects, key=lambda item: json.dumps(item, sort_keys=True)),
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(content: str) -> str:
    """Return the SHA-256 of canonical content."""
    return hashlib.sha256(content.encode()).hexdigest()


def bound(reason: str, content: str) -> str:
    """Return the reason stated in the signature with the content's hash: the signature covers both."""
    return f"{reason} {HASH_MARK}{digest(content)}"


def bound_hash(reason: str) -> str:
    """Return the hash that `bound` put into a reason, empty when there is none."""
    return reason.rpartition(HASH_MARK)[2] if HASH_MARK in reason else ""


def _utc(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""


def printed(  # noqa: PLR0917 - the parts of one sheet of paper
    row: ExamRow,
    report: Report,
    signature: Signature,
    figures: tuple[Figure, ...],
    content_sha256: str,
    settings: Settings,
) -> ReportContent:
    """Put a report into the words of the hub's language, ready to be set."""
    t = i18n.translator(settings.language)
    ecg = row.exam.modality == "ECG"
    notes = [t("document.note.content", sha256=content_sha256)]
    if not signature.reviewed:
        notes.insert(0, t("document.note.single_signature"))
    return ReportContent(
        centre_name=settings.centre_name,
        site_name=row.site.name,
        title=t("document.title.ecg" if ecg else "document.title.imaging", modality=row.exam.modality),
        exam_number=row.exam.number,
        accession=row.order.accession if row.order else row.study.accession if row.study else "",
        patient_name=row.patient_name,
        sex=t(f"common.sex.{row.sex or 'unknown'}"),
        age=age_text(row.birth_date, row.exam.received_at or row.exam.created_at, settings),
        birth_date=date_text(row.birth_date),
        patient_number=_patient_number(row),
        modality=row.exam.modality,
        body_part=row.exam.body_part,
        clinical_question=row.clinical_question,
        exam_time=exam_time(row, settings),
        findings=report.findings,
        impression=report.impression,
        writer_name=report.writer_name or signature.signer_name,
        written_at=time_text(report.written_at or signature.signed_at, settings),
        reviewer_name=signature.signer_name if signature.reviewed else None,
        signed_at=time_text(signature.signed_at, settings),
        figures=figures,
        address=f"{settings.base_url}/reports/{row.exam.number}",
        notes=tuple(notes),
        labels={key: t(f"document.label.{key}") for key in LABEL_KEYS},
        language=settings.language,
    )


def _patient_number(row: ExamRow) -> str:
    number = row.patient.id_number if row.patient else ""
    return f"{row.local_id} / {mask_number(number)}" if number else row.local_id


def time_text(moment: datetime, settings: Settings) -> str:
    """Return a moment to the minute with the zone's offset named."""
    local = moment.astimezone(settings.zone)
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:]})"


def date_text(dicom: str) -> str:
    """Return YYYYMMDD as 2026-11-21, anything shorter as it stands."""
    return f"{dicom[:4]}-{dicom[4:6]}-{dicom[6:8]}" if len(dicom) == DATE_LENGTH else dicom


def exam_time(row: ExamRow, settings: Settings) -> str:
    """Return when the device says the exam was, else when its first object came."""
    study = row.study
    if study is not None and len(study.study_date) == DATE_LENGTH:
        time = study.study_time
        clock = f" {time[:2]}:{time[2:4]}" if len(time) >= TIME_LENGTH else ""
        return date_text(study.study_date) + clock
    return time_text(row.exam.received_at or row.exam.created_at, settings)


def age_text(birth_date: str, at: datetime, settings: Settings) -> str:
    """Return the age at the exam in words, empty when the birth date is not fully known."""
    if len(birth_date) != DATE_LENGTH:
        return ""
    try:
        born = date(int(birth_date[:4]), int(birth_date[4:6]), int(birth_date[6:]))
    except ValueError:
        return ""
    return i18n.format_age(born, at.astimezone(settings.zone).date(), i18n.translator(settings.language))
