"""Names corrected by people: any sequence of doing and undoing leaves exactly what it should."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue import corrections
from hub.catalogue.corrections_repository import CorrectionRepository
from hub.catalogue.models import NameCorrection, Series, Study
from hub.errors import HubError
from tests.fixtures.world import World

GARBLED = "ÍõÐãÓ¢"
RAW = "王秀英".encode("gbk")


def study_of(world: World, uid: str) -> Study:
    with world.context.db.reading() as session:
        return session.scalars(select(Study).where(Study.study_uid == uid)).one()


def doubtful(world: World, **facts: Any) -> Study:
    """A study whose name was read in the character set that it declares, wrongly."""
    base = {"patient_name": GARBLED, "name_charset": "ISO_IR 100", "name_confidence": 0.3, "name_raw": RAW}
    return study_of(
        world, world.register(**{**base, "declared_charset": "ISO_IR 100", "local_id": "P7", **facts})
    )


def correct(world: World, study: Study, login: str = "tech_dp", **given: str) -> NameCorrection:
    with world.context.db.transaction() as session:
        return corrections.correct(
            session,
            world.actor(login),
            study.id,
            **{"charset": "", "name": "", "reason": "核对身份证", **given},
            now=world.clock.advance(seconds=1),
        )


def undo(world: World, study: Study) -> NameCorrection:
    with world.context.db.transaction() as session:
        return corrections.undo(session, world.actor("tech_dp"), study.id, now=world.clock.advance(seconds=1))


def name_of(world: World, study: Study) -> tuple[str, str, float, str, str]:
    now = study_of(world, study.study_uid)
    return now.patient_name, now.name_charset, now.name_confidence, now.name_key, now.name_alias


class TestCorrect:
    def test_a_reading_is_chosen(self, world: World) -> None:
        study = doubtful(world)
        made = correct(world, study, charset="GB18030")
        assert name_of(world, study) == ("王秀英", "GB18030", 1.0, "王秀英", "")
        assert (made.before, made.before_charset, made.before_confidence) == (GARBLED, "ISO_IR 100", 0.3)
        assert made.reason == "核对身份证"
        assert study_of(world, study.study_uid).name_raw == RAW

    def test_a_name_is_typed(self, sqlite_world: World) -> None:
        study = doubtful(sqlite_world, name_raw=b"")
        correct(sqlite_world, study, name=" 王秀\n英 ")
        assert name_of(sqlite_world, study)[:3] == ("王秀英", corrections.TYPED, 1.0)

    def test_the_alphabetic_form_stays_searchable(self, sqlite_world: World) -> None:
        raw = "Wang^XiuYing=王^秀英".encode("gbk")
        study = doubtful(sqlite_world, name_raw=raw, patient_name="Íõ ÐãÓ¢")
        correct(sqlite_world, study, charset="GB18030")
        assert name_of(sqlite_world, study)[3:] == ("王秀英", "wang xiuying")

    @pytest.mark.parametrize(
        "given",
        [
            {"charset": "GB18030", "reason": " "},
            {"charset": "ISO_IR 192"},
            {"charset": "KLINGON"},
            {"charset": "GB18030", "name": "王秀瑛"},
            {"name": "  "},
            {"name": "\n\t"},
        ],
    )
    def test_what_is_refused_changes_nothing(self, sqlite_world: World, given: dict[str, str]) -> None:
        study = doubtful(sqlite_world)
        before = name_of(sqlite_world, study)
        with pytest.raises(HubError):
            correct(sqlite_world, study, **given)
        assert name_of(sqlite_world, study) == before

    def test_the_trail_names_no_patient(self, sqlite_world: World) -> None:
        study = doubtful(sqlite_world)
        correct(sqlite_world, study, charset="GB18030")
        undo(sqlite_world, study)
        with sqlite_world.context.db.reading() as session:
            tags = (Tag.NAME_CORRECT, Tag.NAME_UNDO)
            rows = list(session.scalars(select(AuditEvent).where(AuditEvent.tag.in_(tags))))
        assert [(row.tag, row.actor_id, row.subject_id) for row in rows] == [
            (tag, sqlite_world.user_ids["tech_dp"], study.id) for tag in tags
        ]
        assert not any(name in str(row.facts) for row in rows for name in ("王秀英", GARBLED, "身份证"))


class TestUndo:
    def test_nothing_to_undo(self, sqlite_world: World) -> None:
        with pytest.raises(corrections.NothingToUndo):
            undo(sqlite_world, doubtful(sqlite_world))

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        steps=st.lists(
            st.sampled_from([{"charset": "GB18030"}, {"charset": "ISO_IR 100"}, {"charset": "Big5"}])
            | st.builds(lambda name: {"name": name}, st.sampled_from(["王秀英", "王秀瑛", "Wang Xiuying"]))
            | st.none(),
            max_size=8,
        )
    )
    def test_any_sequence_is_a_stack(self, sqlite_world: World, steps: list[dict[str, str] | None]) -> None:
        """Oracle: a list of states; undoing takes the last one off."""
        study = doubtful(sqlite_world)
        states = [name_of(sqlite_world, study)]
        for step in steps:
            if step is not None:
                correct(sqlite_world, study, **step)
                states.append(name_of(sqlite_world, study))
            elif len(states) > 1:
                undo(sqlite_world, study)
                states.pop()
            assert name_of(sqlite_world, study) == states[-1]
        for _ in states[1:]:
            undo(sqlite_world, study)
        assert name_of(sqlite_world, study) == states[0]
        with sqlite_world.context.db.reading() as session:
            rows = CorrectionRepository(session).corrections(study.id)
        assert len(rows) == sum(step is not None for step in steps)
        assert all(row.undone_at for row in rows)


class TestFind:
    def test_by_number_or_part_of_the_name_within_the_own_sites(self, world: World) -> None:
        study = doubtful(world, accession="A1")
        world.register("LP", patient_name="李四", local_id="P7", accession="A1")
        own = frozenset({world.site_ids["DP"]})
        with world.context.db.reading() as session:
            repository = CorrectionRepository(session)
            for text in ("A1", "P7", study.study_uid, "ÍõÐã"):
                assert [one.id for one in repository.find(own, text)] == [study.id], text
            assert len(repository.find(None, "P7")) == 2
            assert repository.find(own, "%") == []


class TestCharsetOfADevice:
    def test_stored_descriptions_are_made_anew(self, world: World) -> None:
        """They hold text that was read in the former character set."""
        from hub.catalogue.models import Instance
        from hub.sites import service as sites
        from hub.sites.repository import SiteRepository
        from tests.fixtures.world import SETUP

        study, other = doubtful(world), doubtful(world)
        with world.context.db.transaction() as session:
            site = SiteRepository(session).site(world.site_ids["DP"])
            assert site is not None
            device = sites.add_device(session, site, "DR1", now=world.clock(), actor=SETUP)
            for series in session.scalars(select(Series)):
                series.metadata_key, series.metadata_tag = f"metadata/{series.id}", "x"
                for instance in session.scalars(select(Instance).where(Instance.series_id == series.id)):
                    instance.device_id = device.id if series.study_id == study.id else None
        with world.context.db.transaction() as session:
            sites.change_device(session, device.id, actor=SETUP, charset="GBK")
        world.run_jobs()
        with world.context.db.reading() as session:
            keys = dict(session.execute(select(Series.study_id, Series.metadata_key)).all())
        assert keys[study.id] == ""
        assert keys[other.id] != ""
