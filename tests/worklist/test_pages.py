"""The worklist's pages through the real application."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from hub.auth.deps import CSRF_HEADER
from hub.reports import service as reports
from hub.reports.service import Draft
from hub.worklist import service
from hub.worklist.pages import GROUPS
from hub.worklist.states import State
from tests.fixtures.ports import free_port
from tests.fixtures.world import World


def listed(html: str) -> list[str]:
    return re.findall(r'<tr id="exam-([0-9a-z]+)"', html)


class TestList:
    def test_most_urgent_first_then_least_time_left(self, world: World):
        late, soon, urgent = (
            world.order(local_id=f"P{number}", name=f"甲{number}", urgency=urgency)
            for number, urgency in enumerate(["routine", "routine", "urgent"])
        )
        for number, order in ((1, soon), (0, late), (2, urgent)):
            world.register(accession=order.number, local_id=f"P{number}", patient_name=f"甲{number}")
            world.settle()
        page = world.client("writer1").get("/worklist").text
        assert listed(page) == [urgent.id, soon.id, late.id]

    def test_a_reader_begins_with_what_the_licence_covers(self, world: World):
        image, ecg = world.complete_exam(local_id="A"), world.complete_ecg(local_id="B")
        assert listed(world.client("writer1").get("/worklist").text) == [image.id]
        assert listed(world.client("cardio1").get("/worklist").text) == [ecg.id]
        assert set(listed(world.client("writer1").get("/worklist?modality=all").text)) == {image.id, ecg.id}
        assert set(listed(world.client("director1").get("/worklist").text)) == {image.id, ecg.id}

    def test_filters(self, world: World):
        here = world.complete_exam("DP", local_id="A", patient_name="王秀英")
        there = world.complete_exam("LP", local_id="B", patient_name="李建国", modality="CT")
        client = world.client("writer1")
        for query, expected in (
            (f"site={world.site_ids['LP']}", [there.id]),
            ("modality=CT", [there.id]),
            ("text=李建", [there.id]),
            ("text=A", [here.id]),
            (f"text={here.number}", [here.id]),
            ("text=%25", []),
            ("group=done", []),
            ("mine=1", []),
        ):
            assert listed(client.get(f"/worklist?{query}").text) == expected, query

    def test_mine_are_those_i_hold(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        assert listed(sqlite_world.client("writer1").get("/worklist?mine=1").text) == [exam.id]
        assert listed(sqlite_world.client("writer2").get("/worklist?mine=1").text) == []

    def test_a_report_returned_to_me_is_mine(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        writer, now = world.actor("writer1"), world.clock()
        with world.context.db.transaction() as session:
            reports.save(session, writer, exam.id, Draft("所见", "意见"), revision=None, now=now)
            reports.submit(session, writer, exam.id, now=now)
        assert listed(world.client("writer1").get("/worklist?mine=1").text) == []
        with world.context.db.transaction() as session:
            reports.send_back(session, world.actor("reviewer1"), exam.id, comment="再看", now=now)
        assert listed(world.client("writer1").get("/worklist?mine=1").text) == [exam.id]
        assert listed(world.client("writer2").get("/worklist?mine=1").text) == []

    def test_counts_stand_beside_every_group(self, sqlite_world: World):
        sqlite_world.claimed("writer1", local_id="A")
        sqlite_world.complete_exam(local_id="B")
        page = sqlite_world.client("writer1").get("/worklist").text
        counts = [int(number) for number in re.findall(r'<span class="count">(\d+)</span></a>', page)]
        assert dict(zip(GROUPS, counts, strict=True)) == {
            "open": 2,
            "waiting": 1,
            "reading": 1,
            "review": 0,
            "arriving": 0,
            "rejected": 0,
            "done": 0,
        }

    def test_marks_say_what_is_doubtful(self, sqlite_world: World):
        sqlite_world.complete_exam(name_confidence=0.3)
        page = sqlite_world.client("writer1").get("/worklist").text
        assert "无申请单" in page
        assert "姓名待核" in page

    def test_no_identity_number_is_shown(self, sqlite_world: World):
        number = "110101199003074477"
        order = sqlite_world.order(local_id="A")
        with sqlite_world.context.db.transaction() as session:
            from hub.patients.models import Patient

            session.get(Patient, order.patient_id).id_number = number
        sqlite_world.register(accession=order.number, local_id="A")
        sqlite_world.settle()
        client = sqlite_world.client("writer1")
        assert number not in client.get("/worklist").text
        assert number not in client.get(f"/exams/{order.id}").text

    def test_an_empty_list_says_so_in_both_languages(self, sqlite_world: World):
        client = sqlite_world.client("writer1")
        assert "没有符合条件的检查" in client.get("/worklist").text
        client.cookies.set("hub_language", "en")
        assert "No exam fits the filter" in client.get("/worklist").text

    def test_every_state_is_in_exactly_one_group_beside_open(self):
        grouped = [state for name, states in GROUPS.items() if name != "open" for state in states]
        assert len(grouped) == len(set(grouped))
        shown_elsewhere = {State.ORDERED, State.ARRIVED, State.PERFORMED, State.CANCELLED}
        not_built = {State.CONSULTING, State.PRELIM}
        assert set(State) - set(grouped) == shown_elsewhere | not_built


class TestClaiming:
    def test_next_opens_the_first_that_waits(self, world: World):
        exam = world.complete_exam()
        answer = world.client("writer1").post("/worklist/next")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/exams/{exam.id}")
        assert world.exam(exam.id).owner_name == "林书一"

    def test_next_with_nothing_left_is_a_conflict_not_an_error(self, sqlite_world: World):
        answer = sqlite_world.client("writer1").post("/worklist/next", headers={"HX-Request": "true"})
        assert (answer.status_code, answer.json()["code"]) == (409, "NothingToRead")

    def test_htmx_is_led_on_by_its_own_header(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        answer = sqlite_world.client("writer1").post(
            f"/exams/{exam.id}/claim", headers={"HX-Request": "true"}
        )
        assert answer.headers["hx-redirect"] == f"/exams/{exam.id}"

    def test_the_second_reader_is_told_who_was_first(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        answer = sqlite_world.client("writer2").post(
            f"/exams/{exam.id}/claim", headers={"HX-Request": "true"}
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "AlreadyClaimed")
        assert "林书一" in sqlite_world.client("writer2").get(f"/exams/{exam.id}").text

    def test_lease_is_prolonged_for_the_holder_only(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        assert sqlite_world.client("writer1").post(f"/exams/{exam.id}/lease", json={}).status_code == 200
        lost = sqlite_world.client("writer2").post(
            f"/exams/{exam.id}/lease", json={}, headers={"Accept": "application/json"}
        )
        assert lost.status_code == 409

    def test_reject_from_the_page(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        client = sqlite_world.client("writer1")
        assert client.post(f"/exams/{exam.id}/reject", data={"code": "motion"}).status_code == 422
        done = client.post(f"/exams/{exam.id}/reject", data={"code": "motion", "text": "请屏气后重拍"})
        assert (done.status_code, sqlite_world.exam(exam.id).state) == (303, "rejected")


class TestWhoMay:
    @pytest.mark.parametrize("login", ["tech_dp", "doctor_dp", "admin1", "auditor1"])
    def test_the_worklist_is_for_readers(self, sqlite_world: World, login: str):
        assert sqlite_world.client(login).get("/worklist").status_code == 403

    def test_without_login_there_is_the_login_page(self, sqlite_world: World):
        answer = sqlite_world.client().get("/worklist")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/worklist")

    @pytest.mark.parametrize("login", ["reviewer1", "director1", "doctor_dp", "admin1"])
    def test_only_writing_readers_claim(self, sqlite_world: World, login: str):
        exam = sqlite_world.complete_exam()
        assert sqlite_world.client(login).post(f"/exams/{exam.id}/claim").status_code == 403
        assert sqlite_world.exam(exam.id).state == "complete"

    @pytest.mark.parametrize("act", ["claim", "lease", "release", "reject", "late-objects"])
    def test_a_click_without_the_page_s_token_changes_nothing(self, sqlite_world: World, act: str):
        exam = sqlite_world.complete_exam()
        client = sqlite_world.client("writer1")
        del client.headers[CSRF_HEADER]
        assert client.post(f"/exams/{exam.id}/{act}").status_code == 403
        assert sqlite_world.exam(exam.id).state == "complete"


@pytest.fixture
def served(world: World):
    """The application on a real server: a test client would wait for the stream to end."""
    port = free_port()
    config = uvicorn.Config(
        world.app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(timeout=20)


@contextmanager
def stream(port: int, world: World, login: str) -> Iterator[Iterator[str]]:
    """Open the stream as a browser does; yield its lines."""
    cookie = "; ".join(f"{name}={value}" for name, value in world.client(login).cookies.items())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/worklist/events", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
        yield (line.decode().rstrip() for line in answer)
    finally:
        connection.close()


def news(lines, seconds: float) -> tuple[str, float]:
    """Return the next event's exam ids and how long they took."""
    begun = time.monotonic()
    for line in lines:
        if line.startswith("data:"):
            return line.removeprefix("data:").strip(), time.monotonic() - begun
        if time.monotonic() - begun > seconds:
            break
    raise AssertionError("no news came")


class TestNews:
    def test_a_claim_reaches_an_open_page_within_a_second(self, world: World, served: int):
        exam = world.complete_exam()
        actor = world.actor("writer1")
        with stream(served, world, "writer2") as lines:
            assert news(lines, 5)[0] == ""  # told at once to look at what it missed
            with world.context.db.transaction() as session:
                service.claim(session, actor, exam.id, settings=world.context.settings, now=world.clock())
            ids, seconds = news(lines, 5)
        assert ids == exam.id
        assert seconds < 1.0

    def test_a_site_hears_of_its_own_exams_only(self, world: World, served: int):
        with stream(served, world, "doctor_lp") as lines:
            news(lines, 5)
            world.complete_exam("DP")
            time.sleep(0.8)  # what the other site's exam could have told has had its time
            mine = world.order("LP", "doctor_lp")
            assert news(lines, 5)[0] == mine.id
