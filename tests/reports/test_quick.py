"""The quick list of routine ECGs. Oracles: what was made pressing by hand, and the signed documents."""

import pytest
from sqlalchemy import update

from hub.ecg import ingest
from hub.ecg.ingest import EcgDetails
from hub.reports import quick
from hub.reports.repository import ReportRepository
from hub.worklist import campaign
from hub.worklist.models import Exam
from hub.worklist.reading import NothingToRead
from hub.worklist.states import State
from tests.ecg.records import ludb
from tests.fixtures.world import PASSWORD, World

RECORDS = (45, 64, 88)
READER = "cardio1"


def routine(world: World, record: int, **changes: object) -> str:
    """An ECG that waits and that nobody calls pressing, whatever the engine says; then changed."""
    details = EcgDetails(patient_name="王秀英", local_id=f"P{record}", sex="F", birth_date="19580412")
    with world.context.db.reading():
        receipt = ingest.receive(world.context, ludb(record), world.origin(), "DP", details=details)
    world.run_jobs()
    exam = world.exam_of(receipt.study_uid)
    calm = {"hint_level": "", "ecg_verdict": "good", "priority": 2, "urgency": "routine"} | changes
    with world.context.db.transaction() as session:
        session.execute(update(Exam).where(Exam.id == exam.id).values(**calm))
    return exam.id


def take(world: World, *skipped: str) -> str:
    with world.context.db.transaction() as session:
        actor, context = world.actor(READER), world.context
        return campaign.claim_next(session, actor, skipped, settings=context.settings, now=world.clock()).id


def call_normal(world: World, exam_id: str) -> None:
    with world.context.db.transaction() as session:
        actor = world.actor(READER)
        quick.call_normal(session, actor, exam_id, settings=world.context.settings, now=world.clock())


@pytest.mark.parametrize(
    "pressing",
    [
        {"urgency": "urgent", "priority": 1},
        {"chest_pain": True},
        {"hint_level": "critical"},
        {"hint_level": "urgent"},
        {"ecg_verdict": "repeat"},
        {"ecg_verdict": "failed"},
        {"late_objects": 1},
        {"conflicts": ["name"]},
    ],
    ids=lambda change: next(iter(change)) + " " + str(next(iter(change.values()))),
)
def test_a_pressing_ecg_is_never_in_the_list(sqlite_world: World, pressing: dict[str, object]) -> None:
    routine(sqlite_world, 45, **pressing)
    with pytest.raises(NothingToRead):
        take(sqlite_world)


def test_what_was_put_back_is_passed_over_and_not_lost(world: World) -> None:
    first, second = (routine(world, record) for record in RECORDS[:2])
    assert take(world) == first
    client = world.client(READER)
    answer = client.post(f"/ecg/quick/{first}/skip", data={"skipped": ""})
    assert answer.headers["location"] == f"/ecg/quick/{second}?skipped={first}"
    assert world.exam(first).state == State.COMPLETE


def test_normal_writes_the_fixed_words_and_opens_the_next(sqlite_world: World) -> None:
    first, second = (routine(sqlite_world, record) for record in RECORDS[:2])
    take(sqlite_world)
    answer = sqlite_world.client(READER).post(f"/ecg/quick/{first}/normal")
    assert answer.headers["location"].startswith(f"/ecg/quick/{second}")
    with sqlite_world.context.db.reading() as session:
        report = ReportRepository(session).peek(first)
    assert report is not None
    assert (report.impression, report.positive) == ("正常心电图", False)


def test_one_password_signs_each_by_itself(sqlite_world: World) -> None:
    world = sqlite_world
    world.give_key(READER)
    exams = [routine(world, record) for record in RECORDS[:2]]
    client = world.client(READER)
    for exam in exams:
        take(world)
        assert client.get(f"/ecg/quick/{exam}").status_code == 200  # opened, as signing asks
        call_normal(world, exam)
    wrong = client.post("/ecg/quick/sign", data={"password": "not-the-password"})
    assert wrong.status_code == 422
    assert {world.exam(exam).state for exam in exams} == {State.DRAFT}
    assert client.post("/ecg/quick/sign", data={"password": PASSWORD}).status_code == 200
    assert {world.exam(exam).state for exam in exams} <= {State.SIGNED, State.DELIVERED}
    with world.context.db.reading() as session:
        documents = {ReportRepository(session).signed(exam).pdf_sha256 for exam in exams}
    assert len(documents) == 2


def test_one_that_became_pressing_is_not_signed_and_the_other_is(sqlite_world: World) -> None:
    world = sqlite_world
    world.give_key(READER)
    exams = [routine(world, record) for record in RECORDS[:2]]
    client = world.client(READER)
    for exam in exams:
        take(world)
        client.get(f"/ecg/quick/{exam}")
        call_normal(world, exam)
    with world.context.db.transaction() as session:
        session.execute(update(Exam).where(Exam.id == exams[0]).values(chest_pain=True))
    page = client.post("/ecg/quick/sign", data={"password": PASSWORD})
    assert world.exam(exams[0]).state == State.DRAFT
    assert world.exam(exams[1]).state in {State.SIGNED, State.DELIVERED}
    assert "这份心电图不在快速阅读之列" in page.text


def test_a_page_left_open_leads_to_the_full_page_when_the_ecg_becomes_pressing(sqlite_world: World) -> None:
    exam = routine(sqlite_world, 45)
    take(sqlite_world)
    with sqlite_world.context.db.transaction() as session:
        session.execute(update(Exam).where(Exam.id == exam).values(hint_level="critical"))
    client = sqlite_world.client(READER)
    assert client.get(f"/ecg/quick/{exam}").headers["location"] == f"/exams/{exam}"
    assert client.post(f"/ecg/quick/{exam}/normal").status_code == 409


def test_pressing_ecgs_are_announced(sqlite_world: World) -> None:
    client = sqlite_world.client(READER)
    routine(sqlite_world, 45)
    assert "alert" not in client.get("/ecg/quick/pressing").text
    routine(sqlite_world, 64, priority=0, chest_pain=True)
    assert "有 1 份急的心电图" in client.get("/ecg/quick/pressing").text


def test_so_many_may_wait_and_no_more(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "MOST_UNSIGNED", 1)
    first, second = (routine(sqlite_world, record) for record in RECORDS[:2])
    take(sqlite_world)
    call_normal(sqlite_world, first)
    take(sqlite_world)
    with pytest.raises(quick.SignFirst):
        call_normal(sqlite_world, second)
