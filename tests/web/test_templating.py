import re
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from hub.web import headers, templating
from hub.web.static_files import HashedStaticFiles


@pytest.fixture(autouse=True)
def strict_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_STRICT_TEXTS", "1")


def make_request(cookie: str = "", path: str = "/worklist", **state: Any) -> Request:
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(b"cookie", cookie.encode())] if cookie else [],
            "app": Starlette(),
            "server": ("testserver", 80),
            "scheme": "http",
        }
    )
    for name, value in state.items():
        setattr(request.state, name, value)
    return request


@dataclass(frozen=True)
class ErrorPage:
    status: int
    code: str
    message: str


ERROR = ErrorPage(404, "NotFound", "<script>alert(1)</script>")


def body_of(response: Any) -> str:
    return bytes(response.body).decode()


def test_a_page_in_the_readers_language_with_everything_escaped() -> None:
    nav = [SimpleNamespace(key="common.nav.worklist", href="/worklist", count=2)]
    request = make_request("hub_language=en", actor=SimpleNamespace(name="Dr <b>"), csrf_token='t"k', nav=nav)
    html = body_of(templating.render(request, "error.html", ERROR, 404))
    assert '<html lang="en">' in html
    assert "Dr &lt;b&gt;" in html
    assert "<script>alert" not in html
    assert 'content="t&#34;k"' in html
    assert re.search(r'href="/worklist" aria-current="page">Worklist<span class="count">2</span>', html)


def test_chinese_without_a_cookie_and_nobody_logged_in() -> None:
    response = templating.render(
        make_request(), "error.html", {"status": 500, "code": "HubError", "message": ""}, 500
    )
    assert response.status_code == 500
    assert '<html lang="zh-CN">' in body_of(response)
    assert "/logout" not in body_of(response)


def test_a_name_the_page_was_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        templating.render(make_request(), "error.html", {"status": 404})


def test_pages_hold_no_inline_script_that_the_policy_would_refuse() -> None:
    html = body_of(templating.render(make_request(), "error.html", ERROR))
    scripts = re.findall(r"<script([^>]*)>", html)
    assert scripts
    assert all('type="application/json"' in each or "src=" in each for each in scripts)
    assert not re.search(r"<style|\son\w+=", html)


def test_the_components_render() -> None:
    source = """{% import "_macros.html" as ui with context %}
    {{ ui.state_badge("CLAIMED") }}{{ ui.priority_badge("critical") }}{{ ui.patient("A<", "M", "4") }}
    {{ ui.due(past) }}{{ ui.ago(past) }}{{ ui.time(none) }}{{ ui.sex("") }}
    {{ ui.field("name", "L", 'v"', error="bad", required=True) }}{{ ui.area("a", "L", "<x>") }}
    {{ ui.choice("c", "L", [("1", "one")], "1") }}{{ ui.timeline([{"at": past, "title": "T"}]) }}
    {{ ui.dropzone("/up", fields={"k": "it's"}) }}{{ ui.pager(3) }}
    {{ ui.tabs([{"href": "/a", "text": "A"}], "/a") }}
    {{ ui.message("m", "danger") }}{{ ui.empty("e") }}{{ ui.lease("/l", 60, "t") }}
    {{ ui.button("b", key="n") }}"""
    past = datetime(2026, 1, 1, tzinfo=UTC)
    page = templating.environment().from_string(source)
    html = page.render({**templating._surroundings(make_request()), "past": past})
    assert "已领取" in html
    assert "A&lt;" in html
    assert 'class="due nowrap overdue"' in html
    assert 'data-due="2026-01-01T00:00:00Z"' in html
    assert "2026-01-01 08:00" in html
    assert 'value="v&#34;"' in html
    assert "&lt;x&gt;</textarea>" in html
    assert '<option value="1" selected>' in html


def test_static_addresses_change_with_the_content(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templating, "STATIC_DIR", tmp_path)
    assert templating.static_url("a.js") == "/static/a.js"
    (tmp_path / "a.js").write_text("1")
    first = templating.static_url("a.js")
    (tmp_path / "a.js").write_text("22")
    assert re.fullmatch(r"/static/a\.js\?v=[0-9a-f]{12}", first)
    assert templating.static_url("a.js") != first


def test_toasts_travel_as_ascii() -> None:
    assert templating.toast("ok", "已保存")["HX-Trigger"].isascii()


class TestHeaders:
    def test_the_policy_names_no_outside_host_and_allows_no_inline_script(self) -> None:
        policy = headers.security_headers("/")["content-security-policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert directives["default-src"] == "'self'"
        assert "http" not in policy
        assert "*" not in policy

    def test_only_static_files_may_be_kept(self) -> None:
        assert headers.security_headers("/reports/1")["cache-control"] == "private, no-store"
        assert "cache-control" not in headers.security_headers("/static/css/hub.css")

    def test_what_an_answer_says_itself_stays(self) -> None:
        assert "cache-control" not in headers.security_headers("/x", {"cache-control"})

    def test_over_http_with_the_static_folder(self) -> None:
        from starlette.testclient import TestClient

        app = Starlette()
        app.mount("/static", HashedStaticFiles())
        app.add_middleware(headers.SecurityHeaders)
        with TestClient(app) as client:
            kept = client.get(templating.static_url("css/hub.css"))
            assert kept.status_code == 200
            assert kept.headers["cache-control"].endswith("immutable")
            assert kept.headers["x-content-type-options"] == "nosniff"
            assert client.get("/static/css/hub.css").headers["cache-control"] == "no-cache"
            assert client.get("/static/../templating.py").status_code == 404
            assert client.get("/absent").headers["cache-control"] == "private, no-store"
