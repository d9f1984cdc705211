"""Keys: the first administrator's, API keys, how they are kept and lost, and what happens to those who guess."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.requests import Request
from starlette.testclient import TestClient

from gateway.access.failures import MOST, WINDOW_SECONDS, Failures, group
from gateway.access.known_keys import AWAY_SECONDS, FRESH_SECONDS, KnownKeys
from gateway.web.principal import SCOPE_KEY
from runtime import keys
from runtime.callers import access, admin_key, api_keys
from runtime.config.auth import AuthSpec
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.errors import ConfigError
from tests import authing
from tests.gatewaying import problem
from tests.workers import until

KEYS = "/api/v1/keys"


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return authing.settings(broker_url, tmp_path)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with authing.serving(made) as client:
        yield client


def create(web: TestClient, made: Settings, **wanted: Any) -> dict[str, Any]:
    answer = web.post(KEYS, json=wanted, headers=authing.admin(made))
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answer.json()
    return told


def test_off_on_loopback_and_on_everywhere_else(made: Settings) -> None:
    plain = made.model_copy(update={"access": type(made.access)()})
    own, others = ("127.0.0.1", "::1", "localhost"), ("0.0.0.0", "::", "10.1.1.1")
    for host, wanted in (dict.fromkeys(own, False) | dict.fromkeys(others, True)).items():
        assert access.required(plain.model_copy(update={"host": host})) is wanted, host
    assert access.required(made)
    off = made.model_copy(update={"host": "0.0.0.0", "access": type(made.access)(auth="off")})
    assert "TUNDISH_AUTH=off" in (access.open_to_all(off) or "")
    assert access.open_to_all(made.model_copy(update={"host": "0.0.0.0"})) is None
    project = made.project.model_copy(update={"auth": AuthSpec(required=False)})
    written = plain.model_copy(update={"host": "0.0.0.0", "project": project})
    assert "functions.yaml" in (access.open_to_all(written) or "")
    assert access.required(written.model_copy(update={"access": made.access}))  # the environment wins


def test_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nfunctions: {}\nauth: {required: true, hosts: [inside]}\n")
    given = {"TUNDISH_AUTH": "off", "TUNDISH_PUBLIC_URL": "https://Run.Example/", "TUNDISH_ALLOWED_HOSTS": "a, b"}
    found = load_settings(given, file=file)
    assert not access.required(found)
    assert access.names(found) == {"run.example", "a", "b", "inside"}
    assert access.required(load_settings({}, file=file))
    wrong = {"TUNDISH_AUTH": "perhaps", "TUNDISH_PUBLIC_URL": "run.example", "TUNDISH_TRUSTED_PROXIES": "nginx"}
    with pytest.raises(ConfigError) as error:
        load_settings(wrong, file=file)
    assert all(name in str(error.value) for name in wrong)


def test_the_first_key_is_made_once_and_is_its_owners_only(made: Settings) -> None:
    path = admin_key.provide(made)
    assert path == made.home / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    first = admin_key.read(path)
    assert admin_key.read(admin_key.provide(made)) == first
    assert len(first) > 43
    assert first not in " ".join(admin_key.greeting(made))
    assert str(path) in admin_key.greeting(made)[0]


def test_a_file_that_is_named_has_to_hold_a_key(made: Settings, tmp_path: Path) -> None:
    named = tmp_path / "key"
    its = made.model_copy(update={"access": made.access.model_copy(update={"admin_key_file": named})})
    with pytest.raises(admin_key.AdminKeyUnusable, match="openssl rand"):
        admin_key.provide(its)
    named.write_text("short\n")
    with pytest.raises(admin_key.AdminKeyUnusable, match="at least 24"):
        admin_key.provide(its)
    named.write_text("x" * 24 + "\n")
    assert admin_key.provide(its) == named
    with authing.serving(its) as web:
        assert web.get("/functions", headers=authing.bearer("x" * 24)).status_code == 200
        named.write_text("y" * 24)
        until(lambda: web.app.state.gateway.auth._admin.fits("y" * 24))  # type: ignore[attr-defined]
        assert web.get("/functions", headers=authing.bearer("y" * 24)).status_code == 200
        assert web.get("/functions", headers=authing.bearer("x" * 24)).status_code == 401


def test_a_key_is_shown_once_and_stored_nowhere(
    web: TestClient, made: Settings, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    told = create(web, made, name="shop", role="invoke", tenant="acme", functions=["add"], expires="1h")
    secret = told["key"]
    assert secret.startswith("tundish_shop_")
    assert (told["role"], told["tenant"], told["functions"], told["by"]) == ("invoke", "acme", ["add"], "admin")
    assert abs(told["expires"] - time.time() - 3600) < 60
    (listed,) = web.get(KEYS, headers=authing.admin(made)).json()["keys"]
    assert listed["name"] == "shop"
    assert not {"key", "digest"} & set(listed)
    found: Any = redis_client.hgetall(keys.API_KEYS)
    kept = b"".join(found.values())
    assert secret.split("_", 2)[2].encode() not in kept
    assert api_keys.digest_of(secret.split("_", 2)[2]).encode() in kept
    assert secret not in caplog.text
    assert web.get("/api/v1/whoami", headers=authing.bearer(secret)).json() == {
        "name": "shop",
        "role": "invoke",
        "tenant": "acme",
        "confined": True,
        "functions": ["add"],
        "required": True,
    }


def test_what_is_wrong_with_a_wish_for_a_key(web: TestClient, made: Settings) -> None:
    headers = authing.admin(made)
    create(web, made, name="shop")
    problem(web.post(KEYS, json={"name": "shop"}, headers=headers), 409)
    for wrong in (
        {"name": "Shop_1"},
        {"name": "admin"},
        {"name": "x", "role": "root"},
        {"name": "x", "functions": ["ad"]},
        {"name": "x", "functions": []},
        {"name": "x", "tenant": "a/b"},
        {"name": "x", "tenant": "a", "all_tenants": True},
        {"name": "x", "expires": "0s"},
        {"name": "x", "roles": "read"},
        {},
    ):
        assert problem(web.post(KEYS, json=wrong, headers=headers), 422)["errors"], wrong
    problem(web.delete(f"{KEYS}/nobody", headers=headers), 404)


def test_a_tenants_administrator_has_keys_of_that_tenant_only(web: TestClient, made: Settings) -> None:
    boss = create(web, made, name="boss", role="admin", tenant="acme")
    create(web, made, name="other", tenant="other")
    create(web, made, name="monitor", role="read", all_tenants=True)
    headers = authing.bearer(boss["key"])
    mine = web.post(KEYS, json={"name": "mine", "role": "admin"}, headers=headers).json()
    assert (mine["tenant"], mine["confined"]) == ("acme", True)
    assert [key["name"] for key in web.get(KEYS, headers=headers).json()["keys"]] == ["boss", "mine"]
    problem(web.post(KEYS, json={"name": "x", "tenant": "other"}, headers=headers), 403)
    problem(web.post(KEYS, json={"name": "x", "role": "read", "all_tenants": True}, headers=headers), 403)
    problem(web.delete(f"{KEYS}/other", headers=headers), 404)
    problem(web.delete(f"{KEYS}/monitor", headers=headers), 404)
    assert web.delete(f"{KEYS}/mine", headers=headers).status_code == 200


def test_a_key_that_is_revoked_opens_nothing_at_any_gateway(web: TestClient, made: Settings, tmp_path: Path) -> None:
    headers = authing.bearer(create(web, made, name="gone")["key"])
    second = made.model_copy(update={"home": tmp_path / "second"})
    with authing.serving(second) as other:
        assert [one.get("/functions", headers=headers).status_code for one in (web, other)] == [200, 200]
        assert web.delete(f"{KEYS}/gone", headers=authing.admin(made)).status_code == 200
        time.sleep(FRESH_SECONDS)  # what is promised
        assert [one.get("/functions", headers=headers).status_code for one in (web, other)] == [401, 401]
    again = create(web, made, name="gone")
    assert web.get("/functions", headers=authing.bearer(again["key"])).status_code == 200
    assert web.get("/functions", headers=headers).status_code == 401


def test_a_stream_ends_with_its_key(web: TestClient, made: Settings, redis_client: redis.Redis) -> None:
    """What is open already is not told to somebody whose key was revoked."""
    headers = authing.bearer(create(web, made, name="listener", role="read", all_tenants=True)["key"])
    auth = web.app.state.gateway.auth  # type: ignore[attr-defined]
    request = Request({"type": "http", "headers": [(b"authorization", headers["Authorization"].encode())]})
    request.scope[SCOPE_KEY] = api_keys.listed(redis_client)[0].principal()
    assert web.portal
    assert web.portal.call(auth.still, request)
    api_keys.revoke(redis_client, "listener")
    time.sleep(FRESH_SECONDS)  # what is promised
    assert not web.portal.call(auth.still, request)


def test_a_key_that_has_expired(web: TestClient, made: Settings, redis_client: redis.Redis) -> None:
    headers = authing.key(redis_client, "old", "admin", expires=time.time() + 0.3)
    until(lambda: web.get("/functions", headers=headers).status_code == 401)
    assert "expired" in problem(web.get("/functions", headers=headers), 401)["detail"]
    (told,) = web.get(KEYS, headers=authing.admin(made)).json()["keys"]
    assert told["expired"]
    api_keys.add(redis_client, api_keys.new("ancient", "read", expires=time.time() - api_keys.KEPT_SECONDS - 1)[0])
    assert [key["name"] for key in web.get(KEYS, headers=authing.admin(made)).json()["keys"]] == ["old"]
    assert not redis_client.hexists(keys.API_KEYS, "ancient")


def test_when_a_key_was_last_used(web: TestClient, made: Settings) -> None:
    told = create(web, made, name="busy", role="read")
    assert told["used"] is None
    web.get("/functions", headers=authing.bearer(told["key"]))
    (listed,) = web.get(KEYS, headers=authing.admin(made)).json()["keys"]
    assert abs(listed["used"] - time.time()) < 60


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer tundish_nobody_secret"},
        {"Authorization": "Bearer tundish__x"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer \u00e9\u00e9".encode("latin-1")},
        {"Cookie": "tundish_session=tundish_nobody_secret"},
    ],
    ids=["empty", "nonsense", "unknown", "nameless", "jwt", "basic", "latin", "cookie"],
)
def test_what_is_no_key(web: TestClient, headers: dict[str, Any]) -> None:
    told = problem(web.get("/functions", headers=headers), 401)
    assert "TUNDISH_API_KEY" in told["detail"]


def test_another_secret_under_a_known_name(web: TestClient, made: Settings) -> None:
    secret = create(web, made, name="real")["key"]
    for wrong in (secret[:-1], secret + "x", "tundish_real_" + "A" * 43):
        assert web.get("/functions", headers=authing.bearer(wrong)).status_code == 401


def test_who_guesses_has_to_wait_and_nobody_else(
    web: TestClient, made: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    known = authing.bearer(create(web, made, name="known")["key"])
    assert web.get("/functions", headers=known).status_code == 200
    for number in range(MOST):
        assert web.get("/functions", headers=authing.bearer(f"tundish_known_guess{number}")).status_code == 401
    answer = web.get("/functions", headers=authing.bearer("tundish_known_one-more"))
    problem(answer, 429)
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW_SECONDS
    assert web.get("/functions", headers=known).status_code == 200  # it was right before, at this very address
    lines = [record.getMessage() for record in caplog.records if record.name == "tundish.auth"]
    assert len(lines) == MOST
    assert "GET /functions from 127.0.0.1" in lines[0]
    assert "guess" not in caplog.text


def test_who_is_refused_is_counted(web: TestClient, made: Settings) -> None:
    looks = authing.bearer(create(web, made, name="looks", role="read")["key"])
    assert web.post("/async-function/add", json={"a": 1}, headers=looks).status_code == 403
    assert web.post("/api/v1/keys", json={"name": "more"}, headers=looks).status_code == 403
    assert web.get("/functions").status_code == 401
    for number in range(MOST + 2):
        web.get("/functions", headers=authing.bearer(f"tundish_looks_guess{number}"))
    shown = web.get("/metrics", headers=authing.admin(made)).text
    for reason, count in {"wrong_key": MOST, "too_often": 2, "no_key": 1, "not_allowed": 2}.items():
        assert f'tundish_gateway_refused_total{{reason="{reason}"}} {count}.0' in shown


def test_failures_are_counted_by_address_and_minute() -> None:
    now = [100.0]
    failures = Failures(lambda: now[0])
    for _ in range(MOST):
        assert failures.wait("10.0.0.1") == 0
        failures.add("10.0.0.1")
    assert failures.wait("10.0.0.1") == WINDOW_SECONDS
    assert failures.wait("10.0.0.2") == 0
    now[0] += WINDOW_SECONDS
    assert failures.wait("10.0.0.1") == 0
    assert failures.add("10.0.0.1") == 1
    assert group("2001:db8::1") == group("2001:db8::ffff") != group("2001:db8:0:1::1")
    assert group("::ffff:10.0.0.1") == "10.0.0.1"
    assert group("testclient") == "testclient"
    for number in range(10_001):
        failures.add(f"host-{number}")
    assert failures.add("10.0.0.1") == 1  # the oldest are forgotten


class Broker:
    """As much of a client as KnownKeys needs; it can be away."""

    def __init__(self, raw: bytes | None) -> None:
        self.raw, self.away, self.asked = raw, False, 0

    async def hget(self, *_: str) -> bytes | None:
        self.asked += 1
        if self.away:
            raise redis.ConnectionError("gone")
        return self.raw


def test_a_known_key_holds_while_the_broker_is_away() -> None:
    asyncio.run(_a_known_key_holds())


async def _a_known_key_holds() -> None:
    now = [1000.0]
    key, _ = api_keys.new("one", "invoke")
    broker = Broker(api_keys._encode(key).encode())
    known = KnownKeys(broker, lambda: now[0])  # type: ignore[arg-type]
    assert await known.find("one") == key
    assert await known.find("one") == key
    assert broker.asked == 1
    broker.away = True
    now[0] += FRESH_SECONDS
    assert await known.find("one") == key
    assert await known.find("one") == key
    assert broker.asked == 2  # a broker that is away is not asked by every request
    now[0] += AWAY_SECONDS
    with pytest.raises(redis.ConnectionError):
        await known.find("one")
    with pytest.raises(redis.ConnectionError):
        await known.find("two")
    broker.away, broker.raw = False, None
    assert await known.find("one") is None
