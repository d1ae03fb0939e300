"""Identities: checked on entry, compared without being merged."""

import pytest
from sqlalchemy import select

from hub.errors import Rejected
from hub.patients import service
from hub.patients.models import Patient
from hub.patients.repository import PatientRepository
from hub.patients.service import Person, disagreements
from tests.fixtures.world import World

VALID = "11010519491231002X"
"""The worked example of GB 11643-1999: born 31 December 1949, female."""


class TestChecked:
    def test_a_document_number_fills_sex_and_birth_date(self) -> None:
        person = service.checked(Person(" P1 ", " 王秀英 ", id_number=VALID.lower()))
        assert (person.local_id, person.name) == ("P1", "王秀英")
        assert (person.sex, person.birth_date, person.id_number) == ("F", "19491231", VALID)

    @pytest.mark.parametrize(
        ("fields", "refusal"),
        [
            ({"name": " "}, service.NameMissing),
            ({"sex": "X"}, service.BadSex),
            ({"birth_date": "12.4.58"}, service.BadBirthDate),
            ({"birth_date": "20260230"}, service.BadBirthDate),
            ({"id_number": VALID[:-1] + "1"}, service.BadIdNumber),
            ({"id_number": VALID, "sex": "M"}, service.IdNumberSex),
            ({"id_number": VALID, "birth_date": "19500101"}, service.IdNumberBirthDate),
        ],
    )
    def test_what_cannot_be(self, fields: dict[str, str], refusal: type[Rejected]) -> None:
        with pytest.raises(refusal):
            service.checked(Person(**{"local_id": "P1", "name": "王秀英", **fields}))

    @pytest.mark.parametrize("known", ["", "1958", "195804", "1958-04-12"])
    def test_a_birth_date_as_far_as_known(self, known: str) -> None:
        assert service.checked(Person("P1", "王秀英", birth_date=known)).birth_date == known.replace("-", "")


class TestDisagreements:
    @pytest.mark.parametrize(
        ("known", "seen", "found"),
        [
            (Person("P1", "王秀英", "F"), Person("P1", "王 秀英", "F"), []),
            (Person("P1", "WANG XIUYING"), Person("P1", "Wang^Xiuying"), []),
            (Person("P1", "王秀英"), Person("P1", "WANG XIUYING"), ["name_script"]),
            (Person("P1", "王秀英"), Person("P1", "王秀兰"), ["name"]),
            (Person("P1", "王秀英"), Person("P2", "王秀英"), ["id"]),
            (Person("P1", "王秀英", "F"), Person("P1", "王秀英", "M"), ["sex"]),
            (Person("P1", "王秀英", "F"), Person("P1", "王秀英", ""), []),
            (Person("P1", "王秀英", "F"), Person("", "", ""), []),
            (Person("P1", "王秀英", "F"), Person("P2", "李四", "M"), ["name", "id", "sex"]),
        ],
    )
    def test_names_the_fields(self, known: Person, seen: Person, found: list[str]) -> None:
        assert disagreements(known, seen) == found


class TestIdentities:
    def test_an_existing_identity_is_never_overwritten(self, world: World) -> None:
        now, site = world.clock(), world.site_ids["DP"]
        with world.context.db.transaction() as session:
            first = service.get_or_create(session, site, Person("P1", "王秀英", "F"), now)
        with world.context.db.transaction() as session:
            again = service.get_or_create(session, site, Person("P1", "李四", "M"), now)
        assert again.id == first.id
        assert (again.name, again.sex) == ("王秀英", "F")

    def test_one_number_at_two_sites_is_two_people(self, world: World) -> None:
        with world.context.db.transaction() as session:
            for code in ("DP", "LP"):
                service.get_or_create(
                    session, world.site_ids[code], Person("P1", "王秀英", "F"), world.clock()
                )
        with world.context.db.reading() as session:
            assert len(session.scalars(select(Patient)).all()) == 2

    def test_a_search_stays_within_the_own_sites(self, world: World) -> None:
        with world.context.db.transaction() as session:
            for code in ("DP", "LP"):
                service.get_or_create(
                    session, world.site_ids[code], Person("P1", "王秀英", "F"), world.clock()
                )
        with world.context.db.reading() as session:
            found = PatientRepository(session).search(world.actor("doctor_lp"), "王秀英")
            nothing = PatientRepository(session).search(world.actor("auditor1"), "王秀英")
        assert [row.site_id for row in found] == [world.site_ids["LP"]]
        assert list(nothing) == []
