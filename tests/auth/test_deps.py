"""The guard: who is let in, and whether a change was really that person's own click."""

import pytest
from sqlalchemy import select

from hub.auth.deps import CSRF_HEADER, SESSION_COOKIE
from hub.auth.models import WebSession
from hub.auth.roles import Role
from tests.fixtures.world import PASSWORD, World

CHANGE = {"old": PASSWORD, "new": "Entirely-new-1", "again": "Entirely-new-1"}


class TestOwnClick:
    def test_with_the_token_the_change_is_made(self, sqlite_world: World) -> None:
        assert sqlite_world.client("writer1").post("/account/password", data=CHANGE).status_code == 200

    @pytest.mark.parametrize("token", [None, "", "guess"])
    def test_without_it_nothing_is(self, sqlite_world: World, token: str | None) -> None:
        client = sqlite_world.client("writer1")
        del client.headers[CSRF_HEADER]
        headers = {} if token is None else {CSRF_HEADER: token}
        assert client.post("/account/password", data=CHANGE, headers=headers).status_code == 403
        log_in = {"login": "writer1", "password": PASSWORD}
        assert sqlite_world.client().post("/login", data=log_in).status_code == 303

    def test_another_persons_token_does_not_count(self, sqlite_world: World) -> None:
        other = sqlite_world.client("writer2").headers[CSRF_HEADER]
        client = sqlite_world.client("writer1")
        answer = client.post("/account/password", data=CHANGE, headers={CSRF_HEADER: other})
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://testserver", 200),
            ("http://evil.example", 403),
            ("http://testserver.evil.example", 403),
            ("null", 403),
        ],
    )
    def test_other_sites_pages_are_refused(self, sqlite_world: World, origin: str, status: int) -> None:
        client = sqlite_world.client("writer1")
        answer = client.post("/account/password", data=CHANGE, headers={"Origin": origin})
        assert answer.status_code == status

    def test_another_sites_page_cannot_log_anybody_in(self, sqlite_world: World) -> None:
        form = {"login": "writer1", "password": PASSWORD}
        answer = sqlite_world.client().post("/login", data=form, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
        assert SESSION_COOKIE not in answer.cookies


class TestWhoCalls:
    def test_nobody_is_led_to_the_login(self, sqlite_world: World) -> None:
        answer = sqlite_world.client().get("/admin/users")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=/admin/users"

    def test_a_machine_is_told_to_authenticate(self, sqlite_world: World) -> None:
        answer = sqlite_world.client().get("/metrics")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        wrong = sqlite_world.client().get("/metrics", headers={"Authorization": "Bearer hub_guess"})
        assert wrong.status_code == 401

    def test_a_bad_token_is_not_saved_by_a_good_cookie(self, sqlite_world: World) -> None:
        client = sqlite_world.client("admin1")
        assert client.get("/metrics").status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer hub_guess"}).status_code == 401

    def test_a_token_needs_no_csrf_token(self, sqlite_world: World) -> None:
        header = {"Authorization": f"Bearer {sqlite_world.token(Role.SENDER, 'DP')}"}
        answer = sqlite_world.client().post("/admin/sites", headers=header)
        assert answer.status_code == 403
        assert "无权" in answer.text

    def test_the_wrong_role_is_refused(self, sqlite_world: World) -> None:
        assert sqlite_world.client("doctor_dp").get("/admin/users").status_code == 403

    def test_the_cookie_is_out_of_reach_of_scripts(self, sqlite_world: World) -> None:
        answer = sqlite_world.client().post("/login", data={"login": "writer1", "password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie

    @pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
    def test_the_login_leads_nowhere_else(self, sqlite_world: World, target: str) -> None:
        form = {"login": "writer1", "password": PASSWORD, "next": target}
        assert sqlite_world.client().post("/login", data=form).headers["location"] == "/"

    def test_a_sign_of_life_is_written_once_a_minute(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("writer1")

        def seen() -> object:
            with world.context.db.reading() as session:
                return session.scalars(select(WebSession.seen_at)).one()

        start = seen()
        world.clock.advance(seconds=59)
        client.get("/account")
        assert seen() == start
        world.clock.advance(seconds=2)
        client.get("/account")
        assert seen() == world.clock()
