"""Matching of worklist queries, without a wire.

Oracles: the remarks of PS3.4 Table K.6-1 on dates and times, and of section C.2.2.2 on
matching, turned into cases by hand; the set of attributes of the table itself.
"""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from hub.dicom.wire.association import Peer
from hub.errors import Malformed, Rejected
from hub.sites.service import DeviceKnown
from hub.worklist import mwl
from hub.worklist.mwl import BadKey, Found, Query, Window, find, read_query, window_of
from hub.worklist.mwl_keys import KEYS, PRIORITIES, STATUSES, STEP_KEYS, Key, answer
from hub.worklist.service import Plan
from hub.worklist.states import State
from hub.worklist.triage import URGENCIES
from tests.fixtures.world import World

EXPLICIT = "1.2.840.10008.1.2.1"
SHANGHAI = ZoneInfo("Asia/Shanghai")


def asked(**keys: object) -> bytes:
    """A query as pydicom writes it; keys of the step have ``step_`` in front."""
    step, question = Dataset(), Dataset()
    for keyword, value in keys.items():
        target, name = (step, keyword[5:]) if keyword.startswith("step_") else (question, keyword)
        setattr(target, name, value)
    question.ScheduledProcedureStepSequence = [step]
    buffer = io.BytesIO()
    dcmwrite(buffer, question, implicit_vr=False, little_endian=True, force_encoding=True)
    return buffer.getvalue()


def query(**keys: object) -> Query:
    return read_query(asked(**keys), EXPLICIT, None)


def found(world: World, site: str = "DP", **keys: object) -> Found:
    device = DeviceKnown("device", world.site_ids[site], site, None, "DR1")
    with world.context.db.reading() as session:
        return find(session, device, query(**keys), settings=world.context.settings, now=world.clock())


def patients_of(result: Found) -> list[str]:
    return [entry.row.patient.local_id for entry in result.entries]


class TestWindow:
    @pytest.mark.parametrize(
        ("date_key", "time_key", "window"),
        [
            ("", "", Window()),
            ("20260302", "", Window("20260302000000", "20260302235959")),
            ("20260302-20260304", "", Window("20260302000000", "20260304235959")),
            ("20260302-", "", Window("20260302000000", "")),
            ("-20260302", "", Window("", "20260302235959")),
            ("2026.03.02", "", Window("20260302000000", "20260302235959")),
            # the example of the standard: one period, not the same hours of each day
            ("20260705-20260707", "10-18", Window("20260705100000", "20260707185959")),
            ("20260302", "1000-1230", Window("20260302100000", "20260302123059")),
            ("20260302-20260304", "1030", Window("20260302000000", "20260304235959", "103000", "103059")),
            ("", "08-", Window("", "", "080000", "")),
            ("", "10:30:15.5", Window("", "", "103015", "103015")),
        ],
    )
    def test_dates_and_times(self, date_key: str, time_key: str, window: Window) -> None:
        assert window_of(date_key, time_key) == window

    @pytest.mark.parametrize(
        ("date_key", "time_key"),
        [("20260231", ""), ("today", ""), ("-", ""), ("20260302--", ""), ("", "2500"), ("", "1061")],
    )
    def test_what_is_no_date_is_refused(self, date_key: str, time_key: str) -> None:
        with pytest.raises(BadKey) as refused:
            window_of(date_key, time_key)
        assert refused.value.dimse_status == 0xA900


class TestWhoIsListed:
    def test_an_order_waits_until_its_images_come(self, world: World) -> None:
        exam = world.order()
        assert patients_of(found(world, PatientID="")) == ["P1001"]
        world.register(accession=exam.number)
        world.run_jobs()
        assert patients_of(found(world, PatientID="")) == []

    def test_one_that_goes_back_is_listed_again(self, sqlite_world: World) -> None:
        from hub.worklist import service

        world = sqlite_world
        exam = world.order()
        world.complete_exam(accession=exam.number)
        with world.context.db.transaction() as session:
            service.reject(
                session, world.actor("writer1"), exam.id, code="cut_off", text="重拍", now=world.clock()
            )
        (entry,) = found(world, PatientID="").entries
        assert (entry.row.exam.id, entry.status) == (exam.id, "SCHEDULED")

    def test_an_unplanned_order_is_for_today_for_a_week(self, sqlite_world: World) -> None:
        world = sqlite_world
        world.order()  # 2026-03-02 16:00 in Shanghai
        world.clock.advance(days=3, hours=1)
        (entry,) = found(world, step_ScheduledProcedureStepStartDate="20260305").entries
        assert entry.start == datetime(2026, 3, 5, 17, 0, tzinfo=SHANGHAI)
        morning = {
            "step_ScheduledProcedureStepStartDate": "20260305",
            "step_ScheduledProcedureStepStartTime": "0800-1200",
        }
        (entry,) = found(world, **morning).entries
        assert entry.start == datetime(2026, 3, 5, 8, 0, tzinfo=SHANGHAI)
        (entry,) = found(world, step_ScheduledProcedureStepStartDate="20260302").entries
        assert entry.start == datetime(2026, 3, 2, 16, 0, tzinfo=SHANGHAI)
        assert not found(world, step_ScheduledProcedureStepStartDate="20260303").entries
        assert not found(world, step_ScheduledProcedureStepStartDate="20260306-").entries
        world.clock.advance(days=5)
        assert not found(world, step_ScheduledProcedureStepStartDate="20260310").entries
        assert found(world, PatientID="").entries

    def test_a_planned_order_is_for_its_own_time(self, world: World) -> None:
        world.order(plan=Plan(world.clock() + timedelta(days=1)))
        assert not found(world, step_ScheduledProcedureStepStartDate="20260302").entries
        (entry,) = found(world, step_ScheduledProcedureStepStartDate="20260303").entries
        assert entry.start == datetime(2026, 3, 3, 16, 0, tzinfo=SHANGHAI)

    def test_soonest_first_and_the_oldest_fall_off(
        self, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = sqlite_world
        for day, patient in ((3, "C"), (1, "A"), (2, "B")):
            world.order(local_id=patient, plan=Plan(world.clock() + timedelta(days=day)))
        assert patients_of(found(world, PatientID="")) == ["A", "B", "C"]
        monkeypatch.setattr(mwl, "MOST_ANSWERS", 2)
        cut = found(world, PatientID="")
        assert (patients_of(cut), cut.more) == (["B", "C"], True)

    def test_keys_that_name_one_order(self, world: World) -> None:
        first, second = world.order(local_id="A"), world.order(local_id="B")
        order_uid = found(world, AccessionNumber=second.number).entries[0].row.order.study_uid
        for keys in (
            {"AccessionNumber": second.number},
            {"RequestedProcedureID": second.number},
            {"step_ScheduledProcedureStepID": second.number},
            {"StudyInstanceUID": order_uid},
            {"PatientID": "B"},
            {"PatientID": "?", "AccessionNumber": f"*{second.number[-4:]}"},
        ):
            assert patients_of(found(world, **keys)) == ["B"], keys
        assert patients_of(found(world, PatientID="b")) == []
        assert first.number != second.number

    def test_nobody_is_named_as_performing(self, sqlite_world: World) -> None:
        sqlite_world.order()
        assert not found(sqlite_world, step_ScheduledPerformingPhysicianName="HE*").entries
        assert found(sqlite_world, step_ScheduledPerformingPhysicianName="*").entries

    def test_another_site_has_a_list_of_its_own(self, world: World) -> None:
        exam = world.order(local_id="A")
        world.order("LP", "doctor_lp", local_id="L")
        assert patients_of(found(world, "LP", PatientID="")) == ["L"]
        assert patients_of(found(world, "LP", AccessionNumber=exam.number)) == []


class TestAnswer:
    def test_only_what_is_asked_for_and_what_must_be_there(self, sqlite_world: World) -> None:
        sqlite_world.order(urgency="urgent")
        keys = {"PatientBirthDate": "", "RequestedProcedurePriority": "", "step_Modality": ""}
        question = query(**keys)
        (entry,) = found(sqlite_world, **keys).entries
        attributes = {tag: value for tag, _, value in answer(entry, question.asked, question.step_asked)}
        names = {keyword_for_tag(tag) for tag in attributes}
        assert names == {
            *("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"),
            *("RequestedProcedureDescription", "RequestedProcedureID", "RequestedProcedurePriority"),
            "ScheduledProcedureStepSequence",
        }
        assert attributes[0x00100030] == "19580412"
        assert attributes[0x00401003] == "HIGH"
        (step,) = attributes[0x00400100]
        assert {element.keyword for element in step} == {
            *("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate"),
            *("ScheduledProcedureStepStartTime", "ScheduledProcedureStepDescription"),
            "ScheduledProcedureStepID",
        }
        assert step.ScheduledStationAETitle == "DR1"

    def test_an_empty_sequence_asks_for_all_of_it(self, sqlite_world: World) -> None:
        sqlite_world.order()
        question = query(PatientName="")
        (entry,) = found(sqlite_world, PatientName="").entries
        (step,) = answer(entry, question.asked, question.step_asked)[-1][2]
        assert [element.tag for element in step] == [key.tag for key in STEP_KEYS]

    def test_unknown_keys_are_ignored_and_said_so(self) -> None:
        assert not query(PatientName="").more_asked
        assert query(PatientName="", PatientComments="").more_asked
        assert query(PatientName="", step_ScheduledProcedureStepLocation="ROOM1").more_asked
        assert query(PatientSex="F").more_asked

    def test_a_question_without_keys_is_none(self) -> None:
        with pytest.raises(BadKey):
            read_query(b"", EXPLICIT, None)

    @pytest.mark.parametrize("key", [*KEYS, *STEP_KEYS], ids=lambda key: key.keyword)
    def test_the_tables_agree_with_the_dictionary(self, key: Key) -> None:
        assert keyword_for_tag(key.tag) == key.keyword
        assert dictionary_VR(key.tag) == key.vr

    def test_every_type_1_and_2_key_is_there(self) -> None:
        # Table K.6-1, return key types 1, 1C, 2 and 2C, copied by tag
        step = {0x00400001, 0x00400002, 0x00400003, 0x00080060, 0x00400006, 0x00400007, 0x00400008}
        step |= {0x00400009, 0x00400010, 0x00400011, 0x00400012, 0x00321070}
        top = {0x00401001, 0x00321060, 0x00321064, 0x0020000D, 0x00081110, 0x00401003, 0x00401004}
        top |= {0x00080050, 0x00321032, 0x00080090, 0x00380010, 0x00380300, 0x00081120}
        top |= {0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00101030, 0x00403001, 0x00380500}
        top |= {0x001021C0, 0x00102000, 0x00102110, 0x00380050}
        assert step <= {key.tag for key in STEP_KEYS}
        assert top <= {key.tag for key in KEYS}

    def test_every_urgency_and_listed_state_has_its_word(self) -> None:
        assert set(PRIORITIES) == set(URGENCIES)
        assert set(STATUSES) == mwl.WAITING | {State.PERFORMED}


class Asking:
    """A request whose peer cancels after so many answers."""

    def __init__(self, world: World, patience: int) -> None:
        device = DeviceKnown("device", world.site_ids["DP"], "DP", None, "DR1")
        self.peer = Peer("DR1", "HUB", "127.0.0.1", "1", "", device)
        self.context = SimpleNamespace(transfer_syntax=EXPLICIT)
        self.command = SimpleNamespace(field=0x0020)
        self.dataset = asked(PatientName="")
        self.patience = patience
        self.statuses: list[int] = []

    def cancelled(self) -> bool:
        return len(self.statuses) >= self.patience

    def respond(self, status: int, _dataset: bytes | None = None) -> None:
        self.statuses.append(status)


@pytest.mark.parametrize(
    ("patience", "statuses"), [(9, [0xFF00, 0xFF00, 0xFF00, 0]), (1, [0xFF00, 0xFE00]), (0, [0xFE00])]
)
def test_a_cancelled_question_ends_between_answers(
    sqlite_world: World, patience: int, statuses: list[int]
) -> None:
    for number in range(3):
        sqlite_world.order(local_id=f"P{number}")
    request = Asking(sqlite_world, patience)
    mwl.mwl_service(sqlite_world.context).handle(request)  # type: ignore[arg-type]
    assert request.statuses == statuses


def mutations(data: bytes) -> Iterator[bytes]:
    yield from (data[:cut] for cut in range(0, len(data), 7))


VALID = asked(
    PatientName="Wang*",
    step_Modality="DX",
    step_ScheduledProcedureStepStartDate="20260302",
    StudyInstanceUID="",
)


def test_a_query_cut_short_is_refused_or_read() -> None:
    for data in mutations(VALID):
        try:
            read_query(data, EXPLICIT, None)
        except (Malformed, Rejected):
            continue


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_query_with_wrong_bytes_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for at, byte in changes:
        data[at] = byte
    try:
        read_query(bytes(data), EXPLICIT, "GB18030")
    except (Malformed, Rejected):
        return


def test_the_clock_of_the_hub_is_meant(sqlite_world: World) -> None:
    # 23:30 UTC on the 2nd is the morning of the 3rd in Shanghai
    sqlite_world.order(plan=Plan(datetime(2026, 3, 2, 23, 30, tzinfo=UTC)))
    (entry,) = found(sqlite_world, step_ScheduledProcedureStepStartDate="20260303").entries
    assert f"{entry.start:%Y%m%d%H%M}" == "202603030730"
