"""Every route with every role, and with none: who gets in is what gateway/access/rules.py says, and nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from gateway.access.rules import RANK, RULES, missing
from gateway.routes import TABLE, build
from runtime.broker import connection as broker
from tests import authing

OPEN = {
    *("GET /healthz", "GET /livez", "GET /readyz", "GET /", "GET /static/{file}", "GET /static/dashboard/{file}"),
    *("GET /signin", "POST /signin", "POST /signout", "POST /events/{source}"),
}
"""All that answers without a key. What is added here has to tell nothing of what is in the system."""

CALLING = {
    *(f"{method} /function/{{name}}" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
    *("POST /async-function/{name}", "DELETE /async-function/{name}"),
    *("POST /api/v1/tasks/submit", "POST /api/v1/tasks/batch", "POST /api/v1/tasks/dead/redrive"),
    *("POST /api/v1/tasks/task/{id}/revoke", "POST /api/v1/tasks/task/{id}/retry"),
    *("PUT /buckets/{bucket}/{key:key}", "DELETE /buckets/{bucket}/{key:key}"),
}
"""What changes something and is not for administrators only."""

ROUTES = [(method, path) for path, methods in TABLE.items() for method in methods]
KEYS: Mapping[str, tuple[str, bool]] = {
    "read": ("read", True),
    "monitor": ("read", False),
    "invoke": ("invoke", True),
    "tenant-admin": ("admin", True),
    "whole-admin": ("admin", False),
}
"""Key → role, and whether it is confined to a tenant."""


@pytest.fixture(scope="module")
def web(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    client = broker.connect(broker_url)
    client.flushall()
    made = authing.settings(broker_url, tmp_path_factory.mktemp("home"))
    with authing.serving(made) as found:
        found.headers_of = {  # type: ignore[attr-defined]
            name: authing.key(client, name, role, confined=confined)  # type: ignore[arg-type]
            for name, (role, confined) in KEYS.items()
        } | {"admin": authing.admin(made)}
        yield found
    client.close()


def place(path: str) -> str:
    """An address that the route serves, where nothing is."""
    return re.sub(r"{\w+(?::\w+)?}", "nothing", path)


def may(name: str, rule: str) -> bool:
    role, confined = KEYS.get(name, ("admin", False))
    needed = rule.removeprefix("whole ")
    return RANK[role] >= RANK[needed] and not (rule.startswith("whole ") and confined)  # type: ignore[index]


def test_every_route_has_a_rule_and_no_rule_is_left_over() -> None:
    assert missing(TABLE) == []
    assert {(path, method) for path, rules in RULES.items() for method in rules} == {
        (path, method) for path, methods in TABLE.items() for method in methods
    }


def test_a_route_without_a_rule_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.routes.TABLE", {**TABLE, "/new": {"GET": "operations.health.healthy"}})
    with pytest.raises(LookupError, match="GET /new"):
        build()


def test_what_is_open_and_what_calls_is_what_is_listed_here() -> None:
    """The table and this test have to be changed both: nothing is opened by a slip."""
    told = {f"{method} {path}": RULES[path][method] for method, path in ROUTES}
    assert {name for name, rule in told.items() if rule in ("public", "open", "token")} == OPEN
    changing = {name for name in told if not name.startswith("GET ")} | CALLING
    searching = {"POST /search"}
    assert {name for name in changing - OPEN if "admin" not in told[name]} == CALLING | searching
    assert {told[name] for name in CALLING} == {"invoke"}


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=str)
def test_who_gets_in(web: TestClient, method: str, path: str) -> None:
    rule = RULES[path][method]
    without = web.request(method, place(path))
    if f"{method} {path}" in OPEN:
        assert not authing.refused(without) or rule == "token"
        return
    assert without.status_code == 401
    assert without.headers["www-authenticate"].startswith("Bearer")
    for name, headers in web.headers_of.items():  # type: ignore[attr-defined]
        answer = web.request(method, place(path), headers=headers)
        assert authing.refused(answer) != may(name, rule), (name, rule, answer.status_code, answer.text[:200])
        assert answer.status_code != 500, answer.text


def test_head_needs_what_get_needs(web: TestClient) -> None:
    assert web.head("/functions").status_code == 401
    assert web.head("/functions", headers=web.headers_of["read"]).status_code == 200  # type: ignore[attr-defined]


def test_nothing_is_told_to_strangers_by_what_is_not_there(web: TestClient) -> None:
    assert web.get("/nothing").status_code == 404
    assert web.get("/api/v1/tasks/task/some-id").status_code == 401
    told = web.get("/readyz").json()
    assert set(told) == {"status"}
    assert "checks" in web.get("/readyz", headers=web.headers_of["read"]).json()  # type: ignore[attr-defined]


def test_without_authentication_everybody_is_this_machines_administrator(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with authing.serving(authing.settings(broker_url, tmp_path, auth=None)) as web:
        assert web.post("/async-function/tidy").status_code == 202
        told = web.get("/api/v1/whoami").json()
        assert (told["role"], told["required"], told["confined"]) == ("admin", False, False)
        made = web.post("/api/v1/keys", json={"name": "first"})  # before authentication is switched on
        assert made.status_code == 201
