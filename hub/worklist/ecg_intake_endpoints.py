"""ECG files sent over HTTP: the one door for every format, whichever room files it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import IO, Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.service import Origin
from hub.context import Context
from hub.dicom.upload_endpoints import NothingSent
from hub.ecg import ingest
from hub.ecg.errors import RecordingTooLarge
from hub.ecg.grouping import Group, Refusal, group_files
from hub.ecg.ingest import EcgDetails
from hub.ecg.limits import MAX_FILE_BYTES
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.errors import HubError, Malformed, Rejected, Retriable
from hub.sites import service as sites
from hub.web import i18n
from hub.web.deps import ContextDep
from hub.web.errors import message_of
from hub.web.templating import language_of
from hub.worklist.ecg_admission import Admission
from hub.worklist.ecg_intake import Kept, keep
from hub.worklist.ecg_look import pressure
from hub.worklist.triage import URGENCIES

router = APIRouter(prefix="/api/v1", tags=["upload"])

FILES_AT_ONCE = 400
FIELD_CHARS = 2000
LARGE_BYTES = 8 << 20
"""Requests beyond this are decoded one at a time: samples take several times their size."""

LOOKED_AT_BYTES = 1 << 20
"""Larger requests get no first look: it must cost next to nothing."""

URGENT = {"critical", "urgent"}
WAIT_SECONDS = 60.0
ONSET_AHEAD = timedelta(minutes=10)
ACCEPTED, NOTHING = 201, 422
SHOWN_FACTS = ("seen", "feature", "column", "limit")

_large = threading.Lock()

Sender = Annotated[Actor, guard(Permission.UPLOAD)]


class BadUrgency(Rejected):
    """Urgency is routine, urgent or critical."""


class BadOnset(Rejected):
    """The onset of the pain is a time that has passed, YYYY-MM-DDTHH:MM."""


class UploadBusy(Retriable):
    """Too many large files at once; send again in a moment."""


class FieldTooLong(Rejected):
    """A field of the form is too long."""


@dataclass(frozen=True)
class Sent:
    """What a request carries."""

    files: tuple[tuple[str, IO[bytes]], ...]
    fields: dict[str, str]
    looked: "Looked | None" = None
    """What a first look has found; None when there was none."""
    leave: Callable[[], None] = lambda: None
    """Lets the next one in."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.seek(0, 2) for _, file in self.files)

    def recordings(self) -> tuple[Sequence[Group], Sequence[Refusal]]:
        """Return which files belong together, and which to nothing."""
        return group_files([(name, _content(file)) for name, file in self.files])


@dataclass(frozen=True)
class Looked:
    """What a first look at a request has found, for whoever takes it in."""

    groups: Sequence[Group]
    refusals: Sequence[Refusal]
    read: tuple[Waveform | None, ...]
    """One for each group; None where it cannot be read: it is refused when its turn comes."""
    pressing: float
    """How far the one stands out that may be least able to wait; 0 when none does."""


async def received(request: Request, actor: Sender) -> AsyncIterator[Sent]:
    """Take the form in, after the guard has let the sender in; temporary files end with the request."""
    del actor
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Malformed("send the files as multipart/form-data")
    async with request.form(max_files=FILES_AT_ONCE, max_fields=40) as form:
        parts = form.multi_items()
        files = tuple(
            (part.filename or "", cast("IO[bytes]", part.file))
            for _, part in parts
            if isinstance(part, UploadFile)
        )
        sent = Sent(files, {name: value for name, value in parts if isinstance(value, str)})
        async with AsyncExitStack() as admitted:
            if not _marked(sent.fields):
                admission = _admission(request)
                async with admission.look():
                    sent = replace(sent, looked=await run_in_threadpool(_first_look, sent))
                if not (sent.looked and sent.looked.pressing):
                    await admitted.enter_async_context(admission.routine())
            yield replace(sent, leave=_from_thread(admitted))


def _marked(fields: dict[str, str]) -> bool:
    return fields.get("urgency", "").strip() in URGENT or _in_pain(fields)


def _admission(request: Request) -> Admission:
    """Return the door through which ECGs come that nobody has marked; those that stand out pass it."""
    state = request.app.state
    if not hasattr(state, "ecg_admission"):
        state.ecg_admission = Admission()
    found: Admission = state.ecg_admission
    return found


def _from_thread(admitted: AsyncExitStack) -> Callable[[], None]:
    """Return what ends an admission early, from the thread that has taken the ECG in."""
    loop = asyncio.get_running_loop()

    def leave() -> None:
        asyncio.run_coroutine_threadsafe(admitted.aclose(), loop)

    return leave


def _first_look(sent: Sent) -> Looked | None:
    """Read the ECGs sent and tell whether one of them stands out; None when they are too large for that."""
    if sent.size > LOOKED_AT_BYTES:
        return None
    groups, refusals = sent.recordings()
    read = tuple(_read(group) for group in groups)
    pressing = max((pressure(each) for each in read if each is not None), default=0.0)
    return Looked(groups, refusals, read, pressing)


def _read(group: Group) -> Waveform | None:
    try:
        return read_ecg(group.files)
    except HubError:
        return None


def _nothing() -> None:
    """Let nobody in yet."""


def _in_pain(fields: dict[str, str]) -> bool:
    marked = fields.get("chest_pain", "0").strip() not in {"", "0", "false"}
    return marked or bool(fields.get("chest_pain_onset", "").strip())


@router.post("/ecg", status_code=ACCEPTED)
def upload_ecg(
    request: Request, actor: Sender, sent: Annotated[Sent, Depends(received)], context: ContextDep
) -> JSONResponse:
    """Keep ECG recordings under a site: every format that is read, DICOM objects among them.

    Several recordings may come in one request; each is answered for itself. 201 when at least
    one was taken, 422 when none was. What is listed under ``accepted`` is durable; sending it
    again does no harm and makes no second exam. ``repeat`` tells that a recording was taken so
    badly that it should be taken again before the patient leaves; ``quality`` says why, with
    the words of each finding, and ``hints`` which rules it meets: no diagnosis. A second
    recording for one order joins the first. 503 means that the same request may succeed
    later. Fields, all optional: ``site``, ``patient_name``, ``local_id``, ``sex`` (M, F, O),
    ``birth_date`` (YYYYMMDD), ``accession``, ``clinical_question``, ``urgency`` (routine,
    urgent, critical), ``chest_pain`` (any text but 0), ``chest_pain_onset``
    (YYYY-MM-DDTHH:MM in the hub's zone).
    """
    with context.db.reading() as session:
        site = sites.acting_site(session, actor, Permission.UPLOAD, sent.fields.get("site", ""))
    if not sent.files:
        raise NothingSent
    if sent.size > MAX_FILE_BYTES:
        raise RecordingTooLarge(limit="bytes", declared=sent.size)
    details = details_of(sent.fields, context)
    origin = Origin(site.id, actor.ref, actor.address)
    lang = language_of(request)
    accepted: list[dict[str, Any]] = []
    with _room(sent.size):
        looked = sent.looked or _unlooked(sent)
        refused = [_refused(refusal.name, refusal.error, lang) for refusal in looked.refusals]
        # Of several recordings the others still have to be taken in.
        taken_in = sent.leave if len(looked.groups) == 1 else _nothing
        for group, waveform in zip(looked.groups, looked.read, strict=True):
            try:
                kept = keep(
                    context,
                    group,
                    origin,
                    site,
                    details,
                    pressing=looked.pressing,
                    waveform=waveform,
                    taken_in=taken_in,
                )
            except Retriable:
                raise
            except HubError as error:
                refused.append(_refused(group.name, error, lang))
            else:
                accepted.append(_accepted(group.name, kept, lang))
    repeat = any(item["repeat"] for item in accepted)
    body: dict[str, Any] = {"accepted": accepted, "refused": refused, "repeat": repeat}
    if accepted:
        body["message"] = "; ".join(item["message"] for item in accepted)
    else:
        body |= {"code": refused[0]["code"], "message": refused[0]["message"]}
    return JSONResponse(body, ACCEPTED if accepted else NOTHING)


def _unlooked(sent: Sent) -> Looked:
    groups, refusals = sent.recordings()
    return Looked(groups, refusals, (None,) * len(groups), pressing=0.0)


def details_of(fields: dict[str, str], context: Context) -> EcgDetails:
    """Return what the form says; chest pain becomes part of the question and makes the case critical.

    Raises
    ------
    Rejected
        A field cannot be what it claims to be.
    """
    if any(len(value) > FIELD_CHARS for value in fields.values()):
        raise FieldTooLong
    urgency = fields.get("urgency", "").strip()
    if urgency and urgency not in URGENCIES:
        raise BadUrgency
    question = fields.get("clinical_question", "")
    onset = _onset(fields.get("chest_pain_onset", "").strip(), context)
    pains = _in_pain(fields)
    if pains:
        # The words are stored, so they are in the hub's language and not in the sender's.
        t = i18n.translator(context.settings.language)
        since = i18n.format_datetime(onset, context.settings.zone) if onset else ""
        pain = t("ecg.chest_pain_since", at=since) if since else t("ecg.chest_pain")
        question = "\n".join(part for part in (pain, question.strip()) if part)
        urgency = URGENCIES[0]
    names = ("patient_name", "local_id", "sex", "birth_date", "accession")
    said = {name: fields.get(name, "") for name in names}
    details = EcgDetails(
        **said, clinical_question=question, urgency=urgency, chest_pain=pains, onset_at=onset
    )
    return ingest.checked(details)


def _onset(text: str, context: Context) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadOnset from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=context.settings.zone)
    if moment > context.clock() + ONSET_AHEAD:
        raise BadOnset
    return moment.astimezone(UTC)


@contextmanager
def _room(size: int) -> Iterator[None]:
    if size <= LARGE_BYTES:
        yield
        return
    if not _large.acquire(timeout=WAIT_SECONDS):
        raise UploadBusy
    try:
        yield
    finally:
        _large.release()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _accepted(name: str, kept: Kept, lang: str) -> dict[str, Any]:
    receipt, waveform, t = kept.receipt, kept.receipt.waveform, i18n.translator(lang)
    words = [t(f"ecg.warning.{code}") for code in receipt.warnings]
    opinion = opinion_of(kept, lang)
    rate = kept.document.get("measurement", {}).get("hr_bpm")
    return {
        "name": name,
        "study_uid": receipt.study_uid,
        "source": receipt.source_id,
        "outcome": str(receipt.outcome),
        "format": waveform.format,
        "leads": waveform.leads,
        "rate_hz": waveform.rate_hz,
        "n_samples": waveform.n_samples,
        "heart_rate_bpm": rate,
        "warnings": receipt.warnings,
        "exam_hint": kept.number,
        "warning_texts": words,
        **opinion,
        "message": "; ".join(
            [t(f"ecg.receipt.{receipt.outcome}", number=kept.number), *_advice(opinion, rate, t), *words]
        ),
    }


def opinion_of(kept: Kept, lang: str) -> dict[str, Any]:
    """Return what the machine says of an ECG, with words: how it was taken, and what it hints at.

    ``quality`` is null and ``not_analysed`` says why when there is no analysis yet.
    """
    t, document = i18n.translator(lang), kept.document
    quality = document.get("quality")
    if quality is None:
        code = kept.analysis.error if kept.analysis else "later"
        return {"quality": None, "not_analysed": code, "repeat": False, "hints": []}
    findings = [each | {"text": finding_text(each, t)} for each in quality["findings"]]
    return {
        "quality": {"verdict": quality["verdict"], "findings": findings},
        "not_analysed": "",
        "repeat": quality["verdict"] == "repeat",
        "hints": [each | {"text": t(f"ecg.hint.{each['rule']}")} for each in document["hints"]],
    }


def finding_text(finding: dict[str, Any], t: i18n.Translate) -> str:
    """Return one finding as a sentence with the leads that it concerns."""
    words = t(f"ecg.quality.{finding['code']}")
    leads = ", ".join(finding["leads"])
    return t("worklist.ecg.finding_in", finding=words, leads=leads) if leads else words


def _advice(opinion: dict[str, Any], rate: float | None, t: i18n.Translate) -> list[str]:
    """Return what the sender should read first: whether to repeat the recording, and why."""
    said = [t("ecg.rate", bpm=round(rate))] if rate is not None else []
    if opinion["quality"] is None:
        later = opinion["not_analysed"] == "later"
        return [*said, t("worklist.ecg.analysed_later") if later else t("worklist.ecg.not_analysed")]
    findings = opinion["quality"]["findings"]
    if opinion["repeat"]:
        return [t("worklist.ecg.repeat"), *(each["text"] for each in findings if each["repeat"]), *said]
    return [t(f"worklist.ecg.verdict.{opinion['quality']['verdict']}"), *said]


def _refused(name: str, error: HubError, lang: str) -> dict[str, Any]:
    return {"name": name, "code": error.code, "message": reason_of(error, lang)}


def reason_of(error: HubError, lang: str) -> str:
    """Return why an ECG is refused, with the facts that help to mend it, in the reader's language."""
    texts = i18n.catalogue(lang)
    t = i18n.translator(lang)
    sentence = message_of(lang, error.code, str(error))
    for fact in SHOWN_FACTS:
        value = error.facts.get(fact)
        if value in (None, ""):
            continue
        shown = value + 1 if isinstance(value, int) and fact == "column" else value
        slug = f"ecg.{fact}.{str(value).lower().replace(' ', '_')}"
        shown = t(slug) if texts.get(slug) else shown
        sentence += t(f"ecg.fact.{fact}", value=shown)
    return sentence
