"""Administration of accounts, posts and tokens through the pages."""

import re
from datetime import date

from sqlalchemy import select

from hub.auth.models import ApiToken, Post, UserAccount
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from tests.fixtures.world import PASSWORD, World

NEW = {"login": "tech_lp", "name": "梁技师", "password": "Longping-1", "role": "technician"}


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


class TestUsers:
    def test_a_new_person_can_log_in_and_has_a_key(self, world: World) -> None:
        form = NEW | {"site": world.site_ids["LP"]}
        assert world.client("admin1").post("/admin/users", data=form).status_code == 303
        with world.context.db.reading() as session:
            user = AuthRepository(session).user_by_login("tech_lp")
            assert user is not None
            assert AuthRepository(session).signing_key(user.id) is not None
            (post,) = AuthRepository(session).posts(user.id)
        assert (post.role, post.site_id) == ("technician", world.site_ids["LP"])
        answer = world.client().post("/login", data={"login": "tech_lp", "password": "Longping-1"})
        assert answer.status_code == 303

    def test_a_refused_post_leaves_no_account_behind(self, world: World) -> None:
        """A technician without a site: the account that was written before the post was refused is gone."""
        answer = world.client("admin1").post("/admin/users", data=NEW)
        assert answer.status_code == 422
        assert "该角色须指定所属机构" in answer.text
        assert 'value="tech_lp"' in answer.text
        assert "Longping-1" not in answer.text
        assert "tech_lp" not in {user.login for user in rows(world, UserAccount)}

    def test_a_machine_role_is_no_post(self, sqlite_world: World) -> None:
        answer = sqlite_world.client("admin1").post("/admin/users", data=NEW | {"role": "sender"})
        assert answer.status_code == 422

    def test_posts_are_added_and_ended(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("admin1")
        user = world.user_ids["writer1"]
        form = {"role": "reviewer", "valid_from": "2026-03-01", "valid_to": "2026-03-31"}
        assert client.post(f"/admin/users/{user}/posts", data=form).status_code == 303
        assert client.post(f"/admin/users/{user}/posts", data=form).status_code == 409
        assert world.actor("writer1").roles == {Role.WRITER, Role.REVIEWER}
        (post,) = [p for p in rows(world, Post) if p.role == "reviewer" and p.user_id == user]
        assert client.post(f"/admin/posts/{post.id}/end", data={"day": "2026-03-01"}).status_code == 303
        assert world.actor("writer1").roles == {Role.WRITER}

    def test_ending_never_prolongs(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("admin1")
        user = world.user_ids["writer1"]
        form = {"role": "reviewer", "valid_from": "2026-01-01", "valid_to": "2026-01-31"}
        client.post(f"/admin/users/{user}/posts", data=form)
        (post,) = [p for p in rows(world, Post) if p.role == "reviewer" and p.user_id == user]
        assert client.post(f"/admin/posts/{post.id}/end", data={}).status_code == 409
        (post,) = [p for p in rows(world, Post) if p.role == "reviewer" and p.user_id == user]
        assert post.valid_to == date(2026, 1, 31)

    def test_switching_off_ends_the_sessions(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("admin1")
        reader = world.client("writer1")
        assert reader.get("/account").status_code == 200
        path = f"/admin/users/{world.user_ids['writer1']}/active"
        assert client.post(path, data={"active": "0"}).status_code == 303
        assert reader.get("/account").status_code == 303
        assert reader.get("/account").headers["location"].startswith("/login")

    def test_nobody_switches_off_the_own_account(self, sqlite_world: World) -> None:
        path = f"/admin/users/{sqlite_world.user_ids['admin1']}/active"
        answer = sqlite_world.client("admin1").post(path, data={"active": "0"})
        assert answer.status_code == 409
        assert "不能停用自己的账户" in answer.text

    def test_a_reset_password_works_and_the_old_does_not(self, sqlite_world: World) -> None:
        world = sqlite_world
        path = f"/admin/users/{world.user_ids['writer1']}/password"
        client = world.client("admin1")
        assert client.post(path, data={"password": "short"}).status_code == 422
        assert client.post(path, data={"password": "Brand-new-1"}).status_code == 303
        log_in = {"login": "writer1", "password": PASSWORD}
        assert world.client().post("/login", data=log_in).status_code == 422
        assert world.client().post("/login", data=log_in | {"password": "Brand-new-1"}).status_code == 303

    def test_pages_open(self, sqlite_world: World) -> None:
        client = sqlite_world.client("admin1")
        assert "林书一" in client.get("/admin/users").text
        assert client.get(f"/admin/users/{sqlite_world.user_ids['writer1']}").status_code == 200
        assert client.get("/admin/users/nobody").status_code == 404


class TestTokens:
    def test_a_token_is_shown_once_and_only_its_hash_is_kept(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("admin1")
        form = {"role": "sender", "site": world.site_ids["DP"], "label": "东陂心电上传"}
        answer = client.post("/admin/tokens", data=form)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        (secret,) = set(re.findall(r"hub_[\w-]{43}", answer.text))
        (row,) = rows(world, ApiToken)
        assert secret not in repr(vars(row))
        assert secret not in client.get("/admin/tokens").text

    def test_a_revoked_token_opens_nothing(self, sqlite_world: World) -> None:
        world, client = sqlite_world, sqlite_world.client("admin1")
        secret = world.token(Role.SENDER, "DP")
        header = {"Authorization": f"Bearer {secret}"}
        assert world.client().get("/metrics", headers=header).status_code == 403  # known, but may not
        (row,) = rows(world, ApiToken)
        assert client.post(f"/admin/tokens/{row.id}/revoke").status_code == 303
        assert world.client().get("/metrics", headers=header).status_code == 401

    def test_a_token_needs_a_site_and_a_machine_role(self, sqlite_world: World) -> None:
        client = sqlite_world.client("admin1")
        assert client.post("/admin/tokens", data={"role": "sender"}).status_code == 422
        assert client.post("/admin/tokens", data={"role": "admin"}).status_code == 422
        assert rows(sqlite_world, ApiToken) == []
