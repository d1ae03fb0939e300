"""Is a signed report still what was signed? Each truth for itself, each fault by name."""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from hub.auth import signing_keys
from hub.auth.repository import AuthRepository
from hub.catalogue.places import Place, place_of, sha256_at
from hub.catalogue.repository import CatalogueRepository
from hub.reports.content import bound_hash, digest
from hub.reports.models import SignedReport
from hub.reports.repository import ReportRepository
from hub.reports.sign import SignatureStatus, verify_pdf
from hub.worklist.repository import WorklistRepository
from storage.base import ObjectStore
from storage.errors import ObjectNotFound, StorageError


@dataclass(frozen=True)
class Verdict:
    """What was found about one signed report.

    Attributes
    ----------
    problems : tuple of str
        Empty when all is well. ``document_missing``, ``document_altered``,
        ``content_altered``, ``content_not_signed`` (the rows agree with each other, but not
        with the hash that the document's signature covers), ``version_altered``,
        ``signer_differs``, ``object_missing:UID``, ``object_altered:UID``,
        ``object_unreadable:UID``, ``objects_differ:UID``, ``objects_differ``, or a code of
        `hub.reports.sign.PROBLEMS`.
    signature : SignatureStatus or None
        What the document's own signature says; None when there is no document.
    """

    problems: tuple[str, ...]
    signature: SignatureStatus | None

    @property
    def ok(self) -> bool:
        """Whether everything is as it was signed."""
        return not self.problems


def verify(session: Session, store: ObjectStore, signed: SignedReport, *, deep: bool = True) -> Verdict:
    """Hold a signed report against its document, its rows and the objects it was made from.

    Parameters
    ----------
    deep
        Also read the objects' bytes again; without it only the rows are compared.
    """
    problems: list[str] = []
    status, document_hash = _document(session, store, signed, problems)
    content = _content(session, signed, document_hash, problems)
    if content is not None:
        problems += _objects(session, store, signed, content["objects"], deep=deep)
    return Verdict(tuple(problems), status)


def _document(
    session: Session, store: ObjectStore, signed: SignedReport, problems: list[str]
) -> tuple[SignatureStatus | None, str | None]:
    """Look at the document; return its signature and the content's hash that the signature states."""
    try:
        pdf = store.get(signed.pdf_key)
    except ObjectNotFound:
        problems.append("document_missing")
        return None, None
    if hashlib.sha256(pdf).hexdigest() != signed.pdf_sha256:
        problems.append("document_altered")
    status = verify_pdf(pdf, signing_keys.trust_roots(session))
    problems += status.problems
    key = AuthRepository(session).signing_key_by_serial(signed.signer_serial)
    if status.present and (
        status.signer_serial != signed.signer_serial or key is None or key.user_id != signed.signer_id
    ):
        problems.append("signer_differs")
    return status, _stated_hash(pdf) if status.intact and status.valid else None


def _stated_hash(pdf: bytes) -> str:
    from pyhanko.pdf_utils.reader import PdfFileReader

    signature = PdfFileReader(io.BytesIO(pdf)).embedded_regular_signatures[-1]
    return bound_hash(str(signature.sig_object.get("/Reason", "")))


def _content(
    session: Session, signed: SignedReport, document_hash: str | None, problems: list[str]
) -> dict[str, Any] | None:
    """Compare the canonical content with its hashes and with the rows."""
    found = digest(signed.content)
    if found != signed.content_sha256:
        problems.append("content_altered")
    elif document_hash is not None and document_hash != found:
        problems.append("content_not_signed")
    try:
        content: dict[str, Any] = json.loads(signed.content)
        stated = content["report"]
        text = (stated["findings"], stated["impression"], stated["positive"], stated["version"])
        signer_at = datetime.fromisoformat(stated["signer"][2])
        people = (*stated["signer"][:2], stated["signer_serial"], stated["writer"][0])
        _ = content["objects"]
    except (ValueError, KeyError, TypeError, IndexError):
        if "content_altered" not in problems:
            problems.append("content_altered")
        return None
    version = ReportRepository(session).version(signed.report_id, signed.version)
    if version is None or (version.findings, version.impression, version.positive, version.number) != text:
        problems.append("version_altered")
    recorded = (signed.signer_id, signed.signer_name, signed.signer_serial, signed.writer_id)
    if people != recorded and "signer_differs" not in problems:
        problems.append("signer_differs")
    if signer_at != signed.signed_at.astimezone(UTC).replace(microsecond=0):
        problems.append("content_altered")
    return content


def _objects(
    session: Session, store: ObjectStore, signed: SignedReport, stated: list[dict[str, Any]], *, deep: bool
) -> Iterable[str]:
    exam = WorklistRepository(session).exam(signed.exam_id)
    if exam is None or exam.study_id is None:
        return ["objects_differ"] if stated else []
    catalogue = CatalogueRepository(session)
    instances = {row.sop_uid: row for _, row in catalogue.instances_of_study(exam.study_id)}
    recordings = {row.digest: row for row in catalogue.recordings(exam.study_id)}
    problems = []
    for item in stated:
        if "sop_uid" in item:
            row = instances.get(item["sop_uid"])
            if row is None or row.sha256 != item["sha256"]:
                problems.append(f"objects_differ:{item['sop_uid']}")
            elif deep:
                problems += _bytes(store, place_of(row), item["sop_uid"])
        else:
            recording = recordings.get(item["recording"])
            if recording is None or sorted(file["sha256"] for file in recording.files) != item["files"]:
                problems.append(f"objects_differ:{item['recording']}")
            elif deep:
                for file in recording.files:
                    place = Place(file["key"], 0, file["size"], file["sha256"])
                    problems += _bytes(store, place, item["recording"])
    return problems


def _bytes(store: ObjectStore, place: Place, name: str) -> list[str]:
    try:
        return [] if sha256_at(store, place) == place.sha256 else [f"object_altered:{name}"]
    except ObjectNotFound:
        return [f"object_missing:{name}"]
    except StorageError:
        return [f"object_unreadable:{name}"]
