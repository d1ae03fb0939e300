"""Orders: who, what, for whom; numbers; likely duplicates. On both databases.

Oracles: GB 11643-1999's own example number 11010519491231002X; rules of the requirements.
"""

from typing import Any

import pytest
from sqlalchemy import select

from hub.errors import Forbidden, HubError, NotFound
from hub.patients import service as patients
from hub.patients.models import Patient
from hub.patients.service import Person
from hub.worklist import service
from hub.worklist.models import Exam, Order
from hub.worklist.service import ModalityMissing, NewOrder, PatientNumberTaken
from tests.fixtures.world import World

EXAMPLE_ID = "11010519491231002X"


def enter(world: World, person: Person, login: str = "doctor_dp", site: str = "DP", **fields: Any) -> Exam:
    new = NewOrder(world.site_ids[site], person, **{"modality": "DX", **fields})
    with world.context.db.transaction() as session:
        return service.create_order(
            session, world.actor(login), new, settings=world.context.settings, now=world.clock()
        )


def alike(world: World, person: Person, modality: str = "DX", site: str = "DP") -> list[str]:
    new = NewOrder(world.site_ids[site], person, modality)
    login = "doctor_dp" if site == "DP" else "doctor_lp"
    with world.context.db.reading() as session:
        return [
            exam.number for exam in service.duplicates(session, world.actor(login), new, now=world.clock())
        ]


def patient_of(world: World, exam: Exam) -> Patient:
    with world.context.db.reading() as session:
        return session.scalars(select(Patient).where(Patient.id == exam.patient_id)).one()


class TestCreate:
    def test_an_identity_number_fills_sex_and_birth_date(self, world: World) -> None:
        patient = patient_of(world, enter(world, Person("", "王秀英", id_number=EXAMPLE_ID.lower())))
        assert (patient.sex, patient.birth_date, patient.id_number) == ("F", "19491231", EXAMPLE_ID)

    @pytest.mark.parametrize(
        ("person", "error"),
        [
            (Person("", " "), patients.NameMissing),
            (Person("", "王秀英", sex="X"), patients.BadSex),
            (Person("", "王秀英", birth_date="1949-13-01"), patients.BadBirthDate),
            (Person("", "王秀英", birth_date="19490231"), patients.BadBirthDate),
            (Person("", "王秀英", id_number="110105194912310021"), patients.BadIdNumber),
            (Person("", "王秀英", sex="M", id_number=EXAMPLE_ID), patients.IdNumberSex),
            (Person("", "王秀英", birth_date="19500101", id_number=EXAMPLE_ID), patients.IdNumberBirthDate),
        ],
    )
    def test_each_wrong_field_has_its_own_refusal(
        self, sqlite_world: World, person: Person, error: type[HubError]
    ) -> None:
        with pytest.raises(error):
            enter(sqlite_world, person)

    def test_the_modality_is_needed(self, sqlite_world: World) -> None:
        with pytest.raises(ModalityMissing):
            enter(sqlite_world, Person("", "王秀英"), modality="")

    def test_a_number_that_belongs_to_somebody_else_is_refused(self, world: World) -> None:
        enter(world, Person("P1", "王秀英", "F"))
        with pytest.raises(PatientNumberTaken):
            enter(world, Person("P1", "李建国", "M"))

    def test_the_same_number_at_another_site_is_another_person(self, world: World) -> None:
        first = enter(world, Person("P1", "王秀英", "F"))
        second = enter(world, Person("P1", "李建国", "M"), login="doctor_lp", site="LP")
        assert first.patient_id != second.patient_id

    def test_the_holder_of_a_document_keeps_the_site_number(self, world: World) -> None:
        first = enter(world, Person("P77", "王秀英", id_number=EXAMPLE_ID))
        second = enter(world, Person("", "王秀英", id_number=EXAMPLE_ID))
        assert second.patient_id == first.patient_id

    def test_a_borrowed_document_makes_no_identity_of_another_name(self, world: World) -> None:
        first = enter(world, Person("P77", "王秀英", id_number=EXAMPLE_ID))
        second = enter(world, Person("", "李桂兰", id_number=EXAMPLE_ID))
        assert second.patient_id != first.patient_id

    def test_numbers_count_up_within_a_site_and_day_and_fit_an_accession(self, world: World) -> None:
        numbers = [enter(world, Person("", "王秀英")).number for _ in range(3)]
        assert [int(number[-4:]) for number in numbers] == [1, 2, 3]
        assert all(len(number) <= 16 and number.isascii() for number in numbers)
        with world.context.db.reading() as session:
            orders = session.scalars(select(Order)).all()
        assert sorted(order.accession for order in orders) == numbers
        assert len({order.study_uid for order in orders}) == 3

    def test_only_at_an_own_site(self, world: World) -> None:
        for login in ("doctor_lp", "writer1", "admin1"):
            with pytest.raises(Forbidden):
                enter(world, Person("", "王秀英"), login=login)


class TestDuplicates:
    def test_same_number_and_modality_within_a_week(self, world: World) -> None:
        person = Person("P1", "王秀英", "F", "19580412")
        first = enter(world, person)
        assert alike(world, person) == [first.number]
        assert alike(world, person, "CT") == []
        world.clock.advance(days=6.9)
        assert alike(world, person) == [first.number]
        world.clock.advance(days=0.2)
        assert alike(world, person) == []

    def test_same_document_or_same_name_and_birth_date(self, world: World) -> None:
        first = enter(world, Person("P1", "王秀英", id_number=EXAMPLE_ID))
        assert alike(world, Person("", "王秀英", birth_date="19491231")) == [first.number]
        assert alike(world, Person("", "王 秀英", id_number=EXAMPLE_ID)) == [first.number]
        assert alike(world, Person("", "王秀英", birth_date="19491230")) == []

    def test_not_across_sites(self, world: World) -> None:
        person = Person("P1", "王秀英", "F", "19580412")
        enter(world, person)
        assert alike(world, person, site="LP") == []

    def test_cancelled_ones_do_not_count(self, world: World) -> None:
        person = Person("P1", "王秀英", "F", "19580412")
        first = enter(world, person)
        with world.context.db.transaction() as session:
            service.cancel(session, world.actor("doctor_dp"), first.id, reason="开错", now=world.clock())
        assert alike(world, person) == []


class TestInterface:
    BODY = {  # noqa: RUF012 - never changed
        "patient": {"name": "王秀英", "local_id": "P1", "sex": "F", "birth_date": "1958-04-12"},
        "modality": "DX",
        "body_part": "CHEST",
        "clinical_question": "咳嗽",
        "urgency": "urgent",
    }

    def test_an_order_comes_back_with_what_the_device_needs(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        answer = client.post("/api/v1/orders", json=self.BODY)
        assert answer.status_code == 201, answer.text
        said = answer.json()
        assert said["accession"] == said["number"]
        assert said["study_uid"].startswith("2.25.")
        assert (said["site"], said["state"], said["urgency"]) == ("DP", "ordered", "urgent")
        assert said["patient"]["birth_date"] == "19580412"
        assert client.get("/api/v1/exams", params={"text": said["number"]}).json()["total"] == 1
        detail = client.get(f"/api/v1/exams/{said['number']}").json()
        assert [step["to_state"] for step in detail["timeline"]] == ["ordered"]

    def test_a_likely_duplicate_wants_to_be_meant(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        assert client.post("/api/v1/orders", json=self.BODY).status_code == 201
        again = client.post("/api/v1/orders", json=self.BODY)
        assert (again.status_code, again.json()["code"]) == (409, "PossibleDuplicate")
        assert client.post("/api/v1/orders", json=self.BODY | {"repeat": True}).status_code == 201

    def test_who_may_not(self, sqlite_world: World) -> None:
        assert sqlite_world.client().post("/api/v1/orders", json=self.BODY).status_code == 401
        assert sqlite_world.client("writer1").post("/api/v1/orders", json=self.BODY).status_code == 403
        other = sqlite_world.client("doctor_lp").post("/api/v1/orders", json=self.BODY | {"site": "DP"})
        assert other.status_code == 404
        forged = sqlite_world.client("doctor_dp")
        del forged.headers["X-CSRF-Token"]
        assert forged.post("/api/v1/orders", json=self.BODY).status_code == 403

    def test_a_list_holds_only_what_one_may_see(self, sqlite_world: World) -> None:
        mine, other = sqlite_world.order("DP"), sqlite_world.order("LP", login="doctor_lp")
        seen = sqlite_world.client("doctor_dp").get("/api/v1/exams").json()
        assert [item["number"] for item in seen["items"]] == [mine.number]
        assert sqlite_world.client("writer1").get("/api/v1/exams").json()["total"] == 2
        assert sqlite_world.client("doctor_dp").get(f"/api/v1/exams/{other.id}").status_code == 404
        by_state = sqlite_world.client("writer1").get("/api/v1/exams", params={"state": "complete"}).json()
        assert by_state["total"] == 0
        assert sqlite_world.client("admin1").get("/api/v1/exams").status_code == 403


def test_a_closed_site_takes_no_orders(sqlite_world: World) -> None:
    from hub.sites.models import Site

    with sqlite_world.context.db.transaction() as session:
        site = session.get(Site, sqlite_world.site_ids["DP"])
        assert site is not None
        site.active = False
    with pytest.raises(NotFound):
        enter(sqlite_world, Person("", "王秀英"))
