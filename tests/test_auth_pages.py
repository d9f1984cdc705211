"""How people sign in: the form, the cookie, and what other people's pages can do with it (nothing)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from starlette.testclient import TestClient

from runtime.callers import admin_key
from runtime.config.settings import Settings
from tests import authing
from tests.gatewaying import problem

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return authing.settings(broker_url, tmp_path)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with authing.serving(made) as client:
        yield client


def secret(made: Settings) -> str:
    return admin_key.read(admin_key.place(made))


def test_the_way_in_and_out(web: TestClient, made: Settings) -> None:
    sent = web.get("/plain?q=tides", headers=PAGE)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/signin?next={quote('/plain?q=tides', safe='')}")
    form = web.get(sent.headers["location"])
    assert 'name="next" value="/plain?q=tides"' in form.text
    wrong = web.post("/signin", data={"key": "tundish_who_knows", "next": "/plain"})
    assert wrong.status_code == 401
    assert "The key who is not known" in wrong.text
    assert "set-cookie" not in wrong.headers
    entered = web.post("/signin", data={"key": f" {secret(made)}\n", "next": "/plain?q=tides#there"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/plain?q=tides#there")
    cookie = entered.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "max-age" not in cookie
    assert "secure" not in cookie
    assert web.get("/docs", headers=PAGE).status_code == 200
    assert web.get("/api/v1/whoami").json()["name"] == "admin"
    assert web.post("/async-function/tidy").status_code == 202
    left = web.post("/signout")
    assert (left.status_code, left.headers["location"]) == (303, "/signin")
    assert web.get("/docs", headers=PAGE).status_code == 303
    assert web.get("/docs").status_code == 401  # for programs


def test_a_header_counts_more_than_the_cookie(web: TestClient, made: Settings, redis_client: redis.Redis) -> None:
    web.post("/signin", data={"key": secret(made)})
    read = authing.key(redis_client, "read", "read")
    assert web.get("/api/v1/whoami", headers=read).json()["name"] == "read"
    assert web.get("/api/v1/whoami", headers=authing.bearer("nonsense")).status_code == 401


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\r\nX: y"]
)
def test_nobody_is_sent_to_another_site(web: TestClient, made: Settings, wanted: str) -> None:
    entered = web.post("/signin", data={"key": secret(made), "next": wanted})
    assert entered.headers["location"] == "/"
    assert 'value="/"' in web.get("/signin", params={"next": wanted}).text


def test_what_is_written_into_the_form_is_only_text(web: TestClient) -> None:
    page = web.get("/signin", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>" not in page.text
    wrong = web.post("/signin", data={"key": "tundish_<b>x_y"})
    assert "<b>" not in wrong.text


def test_another_page_signs_nobody_in(web: TestClient, made: Settings) -> None:
    given = {"key": secret(made)}
    problem(web.post("/signin", data=given, headers={"Origin": "http://evil.example"}), 403)
    problem(web.post("/signin", json=given), 415)
    problem(
        web.post("/signin", content=b"x" * 40_000, headers={"Content-Type": "application/x-www-form-urlencoded"}), 413
    )


def test_behind_a_proxy_that_speaks_tls(made: Settings) -> None:
    front = made.access.model_copy(update={"public_url": "https://run.example"})
    with authing.serving(
        made.model_copy(update={"access": front, "host": "10.0.0.5"}), url="https://run.example"
    ) as web:
        entered = web.post("/signin", data={"key": secret(made)}, headers={"Origin": "https://run.example"})
        assert "; secure" in entered.headers["set-cookie"].lower()
        inside = {"Host": "10.0.0.5:8000"}  # a proxy that does not hand the name on
        assert web.post("/signout", headers={**inside, "Origin": "https://run.example"}).status_code == 303
        problem(web.post("/signout", headers={**inside, "Origin": "https://other.example"}), 403)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("run.example", 401),
        ("RUN.EXAMPLE:443", 401),
        ("gateway:8000", 401),
        ("127.0.0.1:8000", 401),
        ("10.1.2.3", 401),  # an address is nobody's name
        ("[2001:db8::1]:8000", 401),
        ("evil.example", 403),
        ("run.example.evil.example", 403),
    ],
)
def test_which_hosts_are_answered_for(made: Settings, host: str, status: int) -> None:
    front = made.access.model_copy(update={"public_url": "https://run.example", "hosts": ("gateway",)})
    with authing.serving(made.model_copy(update={"access": front, "host": "0.0.0.0"})) as web:
        problem(web.get("/functions", headers={"Host": host}), status)


def test_without_authentication_there_is_nothing_to_sign_in_to(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with authing.serving(authing.settings(broker_url, tmp_path, auth=None)) as web:
        entered = web.get("/signin?next=%2Fplain")
        assert (entered.status_code, entered.headers["location"]) == (303, "/plain")
        assert web.post("/signin", data={"key": "x"}).status_code == 303
        assert web.get("/plain", headers={"Host": "10.1.2.3"}).status_code == 403


def test_no_other_page_may_read_answers(web: TestClient, made: Settings) -> None:
    own = {"Origin": "http://127.0.0.1:8000", **authing.admin(made)}
    for path in ("/functions", "/api/v1/tasks", "/", "/nothing"):
        answer = web.get(path, headers=own)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    problem(web.options("/functions", headers={"Origin": "http://evil.example"}), 403)
