"""Accounts, posts, sessions, lock-out, tokens and signing keys, on a clock that the test moves."""

from datetime import date, timedelta

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.auth import accounts, certificates, service, signing_keys
from hub.auth.actor import Actor, PostHeld
from hub.auth.certificates import SignerCredential
from hub.auth.models import SigningKey
from hub.auth.repository import AuthRepository
from hub.auth.roles import Permission, Role
from hub.auth.service import OpenedSession, Resolved
from hub.errors import HubError
from tests.fixtures.world import PASSWORD, SETUP, World


def log_in(world: World, password: str = PASSWORD, login: str = "writer1") -> OpenedSession | HubError:
    with world.context.db.transaction() as session:
        return service.log_in(
            session,
            login,
            password,
            settings=world.context.settings,
            now=world.clock(),
            address="10.0.0.9",
        )


def opened(world: World) -> OpenedSession:
    result = log_in(world)
    assert isinstance(result, OpenedSession)
    return result


def resolved(world: World, secret: str) -> Resolved | None:
    day = world.clock().astimezone(world.context.settings.zone).date()
    return service.resolve_session(
        world.context.db,
        secret,
        settings=world.context.settings,
        now=world.clock(),
        day=day,
        address="10.0.0.9",
    )


def tags(world: World) -> list[str]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(AuditEvent.tag).order_by(AuditEvent.seq)))


def new_account(world: World, **fields: object) -> str:
    given: dict = {
        "login": "newcomer",
        "name": "新医师",
        "password": PASSWORD,
        "role": Role.WRITER,
        "site_id": None,
    }
    with world.context.db.transaction() as session:
        return accounts.create_account(
            session,
            **(given | fields),
            settings=world.context.settings,
            now=world.clock(),
            actor=SETUP,
        ).id


class TestAccounts:
    def test_person_post_and_key_come_together(self, world: World) -> None:
        user_id = new_account(world)
        with world.context.db.reading() as session:
            (post,) = AuthRepository(session).posts(user_id)
            assert signing_keys.credential_of(session, user_id).serial
        assert (post.role, post.valid_from, post.valid_to) == (Role.WRITER, date(2026, 3, 2), None)

    @pytest.mark.parametrize(
        ("fields", "refusal"),
        [
            ({"login": "has space"}, service.LoginInvalid),
            ({"login": "WRITER1"}, service.LoginTaken),
            ({"name": "  "}, service.PersonNameMissing),
            ({"password": "short"}, service.PasswordTooShort),
            ({"role": Role.SENDER}, service.MachineRole),
            ({"role": Role.DOCTOR}, service.SiteNeeded),
            (
                {"valid_from": date(2026, 3, 2), "valid_to": date(2026, 3, 1)},
                service.PostDatesReversed,
            ),
        ],
    )
    def test_what_does_not_meet_the_rules(
        self, sqlite_world: World, fields: dict, refusal: type[Exception]
    ) -> None:
        with pytest.raises(refusal):
            new_account(sqlite_world, **fields)
        with sqlite_world.context.db.reading() as session:
            assert AuthRepository(session).user_by_login("newcomer") is None

    @pytest.mark.usefixtures("real_costs")
    def test_the_password_is_kept_as_argon2id(self, sqlite_world: World) -> None:
        """With the parameters of RFC 9106, section 4, for where memory is short: 64 MiB, three passes."""
        user_id = new_account(sqlite_world)
        with sqlite_world.context.db.reading() as session:
            user = AuthRepository(session).user(user_id)
        assert user is not None
        assert user.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


class TestPosts:
    def test_both_ends_count(self) -> None:
        post = PostHeld(Role.WRITER, None, date(2026, 3, 1), date(2026, 3, 31))
        days = [date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 31), date(2026, 4, 1)]
        assert [post.in_force(day) for day in days] == [False, True, True, False]

    def test_an_expired_post_opens_nothing(self, world: World) -> None:
        user_id = new_account(
            world, role=Role.REVIEWER, valid_from=date(2026, 3, 1), valid_to=date(2026, 3, 3)
        )
        with world.context.db.reading() as session:
            repository = AuthRepository(session)
            held = [
                len(service.in_force(repository.posts(user_id), date(2026, 3, day))) for day in (1, 2, 3, 4)
            ]
        assert held == [1, 1, 1, 0]

    def test_the_day_is_the_hubs_not_utcs(self, sqlite_world: World) -> None:
        """A post from 3 March is in force at 16:00 UTC on 2 March: midnight in Shanghai, by hand."""
        world = sqlite_world
        new_account(world, valid_from=date(2026, 3, 3))
        world.clock.now = world.clock.now.replace(hour=15, minute=59)
        result = log_in(world, login="newcomer")
        assert isinstance(result, OpenedSession)
        before = resolved(world, result.secret)
        world.clock.advance(minutes=1)
        after = resolved(world, result.secret)
        assert before is not None
        assert after is not None
        assert (before.actor.posts, after.actor.roles) == ((), {Role.WRITER})

    def test_a_post_at_a_site_reaches_no_other(self) -> None:
        actor = Actor("person", "u", "n", posts=(PostHeld(Role.TECHNICIAN, "A", date(2020, 1, 1)),))
        assert actor.may(Permission.DESK_MATCH, "A")
        assert not actor.may(Permission.DESK_MATCH, "B")
        assert actor.sites_for(Permission.DESK_MATCH) == {"A"}
        assert actor.sites_for(Permission.AUDIT_VIEW) == frozenset()

    def test_ending_a_post_twice_or_later_is_refused(self, sqlite_world: World) -> None:
        world = sqlite_world
        user_id = new_account(world, valid_to=date(2026, 3, 10))
        with world.context.db.reading() as session:
            (post,) = AuthRepository(session).posts(user_id)
        with pytest.raises(service.PostEnded), world.context.db.transaction() as session:
            service.end_post(session, post.id, day=date(2026, 3, 20), actor=SETUP)


class TestLockout:
    def test_locks_after_the_fifth_failure_and_opens_after_the_time(self, world: World) -> None:
        answers = [type(log_in(world, "wrong")).__name__ for _ in range(5)]
        assert answers == ["LoginFailed"] * 4 + ["AccountLocked"]
        assert isinstance(log_in(world), service.AccountLocked)
        world.clock.advance(minutes=14, seconds=59)
        assert isinstance(log_in(world), service.AccountLocked)
        world.clock.advance(seconds=1)
        assert isinstance(log_in(world), OpenedSession)
        assert tags(world).count("auth:session:login_failed") == 4
        assert tags(world).count("auth:account:locked") == 1

    def test_a_good_login_forgets_failures(self, sqlite_world: World) -> None:
        for _ in range(3):
            for _ in range(4):
                assert isinstance(log_in(sqlite_world, "wrong"), service.LoginFailed)
            assert isinstance(log_in(sqlite_world), OpenedSession)

    def test_unknown_and_wrong_are_answered_alike(self, sqlite_world: World) -> None:
        unknown, wrong = log_in(sqlite_world, login="nobody"), log_in(sqlite_world, "wrong")
        assert (type(unknown), str(unknown)) == (type(wrong), str(wrong))


class TestSessions:
    def test_ends_when_idle(self, world: World) -> None:
        secret = opened(world).secret
        world.clock.advance(minutes=60)
        assert resolved(world, secret) is not None
        world.clock.advance(seconds=1)
        assert resolved(world, secret) is None

    def test_ends_after_its_longest_time_however_busy(self, sqlite_world: World) -> None:
        world = sqlite_world
        secret = opened(world).secret
        for _ in range(24):
            world.clock.advance(minutes=30)
            assert resolved(world, secret) is not None
            with world.context.db.transaction() as session:
                service.touch_session(session, secret, world.clock())
        world.clock.advance(seconds=1)
        assert resolved(world, secret) is None

    def test_ends_by_logging_out(self, sqlite_world: World) -> None:
        secret = opened(sqlite_world).secret
        with sqlite_world.context.db.transaction() as session:
            service.log_out(session, secret, now=sqlite_world.clock())
        assert resolved(sqlite_world, secret) is None

    def test_the_cookie_itself_is_not_stored(self, sqlite_world: World) -> None:
        secret = opened(sqlite_world).secret
        with sqlite_world.context.db.reading() as session:
            assert AuthRepository(session).web_session(secret) is None
            row = AuthRepository(session).web_session(service.digest(secret))
        assert row is not None
        assert secret not in repr(vars(row))


class TestTokens:
    def test_opens_until_revoked(self, world: World) -> None:
        secret = world.token(Role.SENDER, "DP")
        actor = service.resolve_token(world.context.db, secret, address="")
        assert actor is not None
        assert actor.may(Permission.UPLOAD, world.site_ids["DP"])
        assert not actor.may(Permission.UPLOAD, world.site_ids["LP"])
        with world.context.db.transaction() as session:
            service.revoke_token(session, actor.id, now=world.clock(), actor=SETUP)
        assert service.resolve_token(world.context.db, secret, address="") is None

    def test_a_machine_is_no_person(self, sqlite_world: World) -> None:
        secret = sqlite_world.token(Role.SITE_SYSTEM, "DP")
        actor = service.resolve_token(sqlite_world.context.db, secret, address="")
        assert actor is not None
        assert not actor.may(Permission.SELF)
        with pytest.raises(service.Forbidden):
            service.require_person(actor)


def keys_of(world: World, user_id: str) -> list[SigningKey]:
    with world.context.db.reading() as session:
        return list(
            session.scalars(
                select(SigningKey).where(SigningKey.user_id == user_id).order_by(SigningKey.not_before)
            )
        )


def unlocks(row: SigningKey, password: str) -> bool:
    credential = SignerCredential(
        row.certificate_pem.encode(),
        row.encrypted_key_pem.encode(),
        row.serial,
        row.not_before,
        row.not_after,
    )
    try:
        certificates.unlock_key(credential, password)
    except certificates.WrongPassword:
        return False
    return True


class TestPasswords:
    def test_changing_keeps_the_key_under_the_new_password(self, sqlite_world: World) -> None:
        world = sqlite_world
        user_id = new_account(world)
        (before,) = keys_of(world, user_id)
        with world.context.db.transaction() as session:
            signing_keys.change_password(
                session, user_id, PASSWORD, "Entirely-new-1", settings=world.context.settings
            )
        (after,) = keys_of(world, user_id)
        assert after.certificate_pem == before.certificate_pem
        assert (unlocks(after, "Entirely-new-1"), unlocks(after, PASSWORD)) == (True, False)
        assert isinstance(log_in(world, "Entirely-new-1", "newcomer"), OpenedSession)
        assert isinstance(log_in(world, PASSWORD, "newcomer"), service.LoginFailed)

    def test_changing_needs_the_old_password(self, sqlite_world: World) -> None:
        with (
            pytest.raises(signing_keys.WrongOldPassword),
            sqlite_world.context.db.transaction() as session,
        ):
            signing_keys.change_password(
                session,
                sqlite_world.user_ids["writer1"],
                "guess",
                "Entirely-new-1",
                settings=sqlite_world.context.settings,
            )

    def test_a_reset_retires_the_key_and_ends_sessions(self, sqlite_world: World) -> None:
        """The administrator who sets the password gets no key that the person has ever signed with."""
        world = sqlite_world
        user_id = new_account(world)
        session_secret = log_in(world, PASSWORD, "newcomer")
        assert isinstance(session_secret, OpenedSession)
        world.clock.advance(minutes=5)
        with world.context.db.transaction() as session:
            signing_keys.reset_password(
                session,
                user_id,
                "Set-by-admin-1",
                settings=world.context.settings,
                now=world.clock(),
                actor=SETUP,
            )
        old, new = keys_of(world, user_id)
        assert (old.retired_at, new.retired_at) == (world.clock(), None)
        assert unlocks(old, PASSWORD)
        assert not unlocks(old, "Set-by-admin-1")
        assert unlocks(new, "Set-by-admin-1")
        assert old.serial != new.serial
        assert resolved(world, session_secret.secret) is None

    def test_a_reset_opens_a_locked_account(self, sqlite_world: World) -> None:
        world = sqlite_world
        for _ in range(5):
            log_in(world, "wrong")
        with world.context.db.transaction() as session:
            signing_keys.reset_password(
                session,
                world.user_ids["writer1"],
                "Set-by-admin-1",
                settings=world.context.settings,
                now=world.clock() + timedelta(0),
                actor=SETUP,
            )
        assert isinstance(log_in(world, "Set-by-admin-1"), OpenedSession)
