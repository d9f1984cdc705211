"""Two tenants, and every route: what is the other's is as what is not there, and no answer says a word of it."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import redis
from starlette.testclient import TestClient

from gateway.access.rules import RULES
from gateway.routes import TABLE
from gateway.state import Gateway
from gateway.tasks import logs as task_logs
from runtime import keys
from runtime.attempts.attempt import claim
from runtime.attempts.lines import Line
from runtime.broker import connection as broker
from runtime.buckets.entry import Entry
from runtime.buckets.watch import watches
from runtime.callers.ownership import Owners
from runtime.config.settings import BucketTrigger, CronTrigger, Function, Settings, StoreSettings
from runtime.config.tenants import TenantSpec
from runtime.context import Row
from runtime.index.port import FaissIndex
from runtime.invocations.invocation import read
from runtime.store.port import MinioStore
from tests import authing
from tests.gatewaying import Hand, failing
from tests.workers import until

OWN, CALL, OPEN, NUMBERS, WHOLE, DOOR = "own", "call", "open", "numbers", "whole", "door"
KINDS: Mapping[str, str] = {
    # Calls are made for the tenant of whoever makes them.
    **{f"{method} /function/{{name}}": CALL for method in ("GET", "POST", "PUT", "PATCH", "DELETE")},
    "POST /async-function/{name}": CALL,
    "POST /api/v1/tasks/submit": CALL,
    "POST /api/v1/tasks/batch": CALL,
    # What is told, changed or found is the tenant's own.
    "DELETE /async-function/{name}": OWN,
    "GET /search": OWN,
    "POST /search": OWN,
    "GET /api/v1/whoami": OWN,
    "GET /api/v1/keys": OWN,
    "POST /api/v1/keys": OWN,
    "DELETE /api/v1/keys/{name}": OWN,
    "GET /api/v1/tasks": OWN,
    "GET /api/v1/tasks/status/{id}": OWN,
    "GET /api/v1/tasks/task/{id}": OWN,
    "GET /api/v1/tasks/task/{id}/result": OWN,
    "GET /api/v1/tasks/task/{id}/logs": OWN,
    "GET /api/v1/tasks/task/{id}/events": OWN,
    "GET /api/v1/logs": OWN,
    "POST /api/v1/tasks/task/{id}/revoke": OWN,
    "POST /api/v1/tasks/task/{id}/retry": OWN,
    "GET /api/v1/tasks/active": OWN,
    "GET /api/v1/tasks/tasks/active": OWN,
    "GET /api/v1/tasks/dead": OWN,
    "POST /api/v1/tasks/dead/redrive": OWN,
    "POST /api/v1/tasks/dead/purge": OWN,
    "GET /api/v1/tasks/dead/{id}": OWN,
    "GET /api/v1/usage": OWN,
    "GET /buckets/{bucket}/{key:key}": OWN,
    "PUT /buckets/{bucket}/{key:key}": OWN,
    "DELETE /buckets/{bucket}/{key:key}": OWN,
    "GET /documents": OWN,
    "GET /documents/{bucket}/{key:key}": OWN,
    "GET /admin/buckets": OWN,
    "GET /admin/schedules": OWN,
    "GET /admin/replay": OWN,
    "POST /admin/replay": OWN,
    "GET /admin/replay/{id}": OWN,
    "DELETE /admin/replay/{id}": OWN,
    "GET /plain": OWN,
    # Numbers of the whole system, which name nobody's calls, objects and words.
    "GET /api/v1/tasks/queue/stats": NUMBERS,
    "GET /api/v1/tasks/workers/stats": NUMBERS,
    "GET /api/v1/tasks/health": NUMBERS,
    "GET /api/v1/tasks/summary": NUMBERS,
    "GET /api/v1/tasks/history": NUMBERS,
    "GET /admin/index-version": NUMBERS,
    "GET /admin/index/versions": NUMBERS,
    "GET /admin/index/migration": NUMBERS,
    "GET /admin/pause": NUMBERS,
    "GET /admin/reload": NUMBERS,
    "GET /readyz": NUMBERS,
    # What is deployed, and pages: the same for everybody.
    **{
        f"GET {path}": OPEN
        for path in ("/functions", "/functions/{name}", "/openapi.json", "/docs", "/healthz", "/livez", "/", "/signin")
    },
    "GET /static/{file}": OPEN,
    "GET /static/dashboard/{file}": OPEN,
    # Who comes in, and out; notifications have a token of their own.
    "POST /signin": DOOR,
    "POST /signout": DOOR,
    "POST /events/{source}": DOOR,
    # About the whole installation: not for a tenant's keys.
    "POST /api/v1/tasks/queue/{name}/purge": WHOLE,
    "POST /admin/index/rollback": WHOLE,
    "POST /admin/index/release": WHOLE,
    "POST /admin/index/migrate": WHOLE,
    "POST /admin/index/migrate/cancel": WHOLE,
    "POST /admin/rebuild-embeddings": WHOLE,
    "POST /admin/trigger-rebuild": WHOLE,
    "GET /admin/events/dead": WHOLE,
    "DELETE /admin/events/dead": WHOLE,
    "POST /admin/buckets/{bucket}/confirm": WHOLE,
    "POST /admin/pause": WHOLE,
    "POST /admin/resume": WHOLE,
    "GET /metrics": WHOLE,
}
ROUTES = [(method, path) for path, methods in TABLE.items() for method in methods]
SECRET = "zanzibar"
"""In every name and word of acme's."""


@dataclass
class World:
    """What acme has; `globex` has nothing but one call, one object and one row. The keys are headers."""

    web: TestClient
    client: redis.Redis
    settings: Settings
    keys: dict[str, dict[str, str]]
    done: str
    dead: str
    running: str
    replay: str
    globex: str

    @property
    def ids(self) -> list[str]:
        return [self.done, self.dead, self.running, self.replay]

    def ask(self, who: str, method: str, path: str, **more: Any) -> Any:
        headers = {**self.keys[who], **more.pop("headers", {})}
        return self.web.request(method, path, headers=headers, **more)


@pytest.fixture(scope="module")
def world(broker_url: str, store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    client = broker.connect(broker_url)
    client.flushall()
    store = MinioStore(store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"}))
    store.ensure_bucket(store.bucket)
    made = settings(broker_url, store._settings, tmp_path_factory.mktemp("home"))
    with authing.serving(made) as web:
        found = {
            f"{tenant}-{role}": authing.key(client, f"{tenant}-{role}", role, tenant=tenant)
            for tenant in ("acme", "globex", "default")
            for role in ("invoke", "admin")
        }
        world = World(web, client, made, {**found, "admin": authing.admin(made)}, "", "", "", "", "")
        fill(world, store)
        yield world
    client.close()


def settings(broker_url: str, store: StoreSettings, home: Any) -> Settings:
    made = authing.settings(broker_url, home).model_copy(update={"store": store})
    watch = BucketTrigger(bucket="documents", tenant="{prefix}", index="default")
    functions = {
        **made.project.functions,
        "note": Function(name="note", handler="f.py:note", buckets=(watch,)),
        "nightly": Function(
            name="nightly",
            handler="f.py:nightly",
            crons=(CronTrigger(cron="@daily", tenant="acme", **{"with": {"word": SECRET}}),),
        ),
    }
    tenants = {"acme": TenantSpec(objects=("exports/acme/",)), "*": TenantSpec(rate="1000/s")}
    project = made.project.model_copy(update={"functions": functions, "tenants": tenants})
    return made.model_copy(update={"project": project})


def fill(world: World, store: MinioStore) -> None:
    """A call that has succeeded, one that is dead, one that runs; an object with its document and its row; output."""
    client, made = world.client, world.settings

    def call(who: str, **more: Any) -> str:
        answer = world.ask(who, "POST", "/async-function/add", json={"a": 1}, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def hand(answer: Any) -> Hand:
        return Hand(client, made, answer)

    world.done = call("acme-invoke", headers={"Idempotency-Key": "the-same"})
    hand(lambda *_: ("succeeded", {"result": json.dumps(SECRET)})).end(world.done)
    world.dead = call("acme-invoke")
    fields = failing("ValueError", SECRET)()[1]
    hand(lambda *_: ("dead", fields)).end(world.dead)
    world.running = call("acme-invoke")
    claim(client, world.running, "some-worker")
    client.hset(keys.invocation(world.running), "progress", json.dumps({"message": SECRET}))
    world.globex = call("globex-invoke")
    line = Line(int(time.time() * 1000), 1, "stdout", SECRET.encode())
    for task_id, tenant, text in ((world.done, "acme", SECRET), (world.globex, "globex", "plain")):
        more = {"id": task_id, "function": "add", "tenant": tenant}
        said: Any = {**line.fields(), "text": text}
        client.xadd(keys.log(task_id), said)
        client.xadd(keys.LOGS, said | more)
    store.ensure_bucket("exports")
    store.put("exports", f"acme/{SECRET}.txt", b"secret")
    for tenant, key in (("acme", f"acme/{SECRET}.txt"), ("globex", "globex/plain.txt")):
        answer = world.ask(f"{tenant}-invoke", "PUT", f"/buckets/documents/{key}", content=f"{key} inside".encode())
        assert answer.status_code == 200, answer.text
        (watch,) = [one for one in watches(made.project) if one.function.name == "note"]
        entry = Entry("done", answer.json()["etag"], 1, "created", 5, at=time.time())
        client.hset(watch.ledger, key, entry.encode())
    index = FaissIndex(store, client)
    rows = [
        Row("documents", f"acme/{SECRET}.txt", "e", 1, tenant="acme", text=SECRET, end=8),
        Row("documents", "globex/plain.txt", "e", 2, tenant="globex", text="plain", end=5),
        Row("", f"@acme/{SECRET}", "e", 3, tenant="acme", text=SECRET, end=8),
    ]
    vectors = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0.96, 0.28, 0, 0]], np.float32)
    index.write_batch("default", "ab" * 32, rows, vectors, "test")
    version = index.build("default").version
    search = "/search?vector=1,0,0,0"
    until(lambda: world.ask("admin", "GET", search).headers["x-index-version"] == version)
    answer = world.ask("acme-admin", "POST", "/admin/replay", json={"bucket": "documents", "prefix": "acme/"})
    assert answer.status_code == 202, answer.text
    world.replay = answer.json()["id"]
    made_key = world.ask("admin", "POST", "/api/v1/keys", json={"name": f"{SECRET}-key", "tenant": "acme"})
    assert made_key.status_code == 201, made_key.text


def test_every_route_is_classified() -> None:
    assert set(KINDS) == {f"{method} {path}" for method, path in ROUTES}
    assert {name for name, kind in KINDS.items() if kind == WHOLE} == {
        f"{method} {path}"
        for path, rules in RULES.items()
        for method, rule in rules.items()
        if rule.startswith("whole ")
    }


def places(world: World, path: str, *, there: bool) -> list[tuple[str, str]]:
    """Where acme has something, or where nobody has anything: addresses, and the name in each."""
    if "{bucket}/{key:key}" in path:
        names = [
            ("documents", f"acme/{SECRET}.txt"),
            ("exports", f"acme/{SECRET}.txt"),
            ("documents", f"acme//{SECRET}"),
        ]
        names = (
            names if there else [("documents", "globex/0.txt"), ("exports", "nobody/1.txt"), ("documents", "globex/2")]
        )
        return [(path.replace("{bucket}/{key:key}", f"{bucket}/{key}"), key) for bucket, key in names]
    if path == "/admin/replay/{id}":
        names_of = [world.replay] if there else ["0123456789ab"]
    elif path == "/api/v1/keys/{name}":
        names_of = [f"{SECRET}-key"] if there else ["nobodys-key"]
    else:
        names_of = [world.done, world.dead, world.running] if there else [str(uuid.uuid4()) for _ in range(3)]
    return [(re.sub(r"{\w+}", name, path), name) for name in names_of]


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if "{" in one[1]], ids=str)
def test_what_is_anothers_is_as_what_is_not_there(world: World, method: str, path: str) -> None:
    if KINDS[f"{method} {path}"] != OWN or method == "PUT":
        return
    body: dict[str, Any] | None = {} if method == "POST" else None
    pairs = zip(places(world, path, there=True), places(world, path, there=False), strict=True)
    for (mine, name), (nobodys, other) in pairs:
        for who in ("globex-admin", "default-admin"):
            got = world.ask(who, method, mine, json=body)
            assert got.status_code == 404, got.text
            if who == "globex-admin" and "//" not in name:
                missing = world.ask(who, method, nobodys, json=body)
                if missing.status_code != 204:  # to remove what is not there is no error
                    assert got.text.replace(name, "NAME") == missing.text.replace(other, "NAME")


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=str)
def test_no_answer_says_a_word_of_anothers(world: World, method: str, path: str) -> None:
    kind = KINDS[f"{method} {path}"]
    asked = re.sub(r"{\w+(?::\w+)?}", "nothing", path)
    if path == "/api/v1/tasks":
        asked += f"?root={world.done}"
    if path == "/search" and method == "GET":
        asked += "?vector=1,0,0,0&k=10"
    if path == "/functions/{name}":
        asked = "/functions/nightly"
    if path == "/plain":
        asked += "?q=word"
    body: dict[str, Any] = {"vector": [1, 0, 0, 0], "k": 10} if path == "/search" else {}
    for who in ("globex-invoke", "globex-admin", "default-invoke"):
        answer = world.ask(who, method, asked, json=body if method in ("POST", "PUT", "PATCH") else None)
        assert answer.status_code < 500 or path in ("/readyz", "/api/v1/tasks/health"), answer.text
        told = f"{answer.text} {answer.headers}"
        for word in (SECRET, *world.ids):
            assert word not in told.replace(asked, ""), (who, kind, word)
        if kind == WHOLE:
            assert answer.status_code == 403


def test_lists_have_what_is_ones_own(world: World) -> None:
    def ids(who: str, path: str, name: str = "tasks") -> set[str]:
        return {one["task_id"] for one in world.ask(who, "GET", path).json()[name]}

    for path in ("/api/v1/tasks", "/api/v1/tasks?function=add"):
        assert ids("acme-invoke", path) == {world.done, world.dead, world.running}
        assert ids("globex-invoke", path) == {world.globex}
        assert ids("admin", path) >= {world.done, world.globex}
    assert ids("acme-invoke", "/api/v1/tasks/dead") == ids("admin", "/api/v1/tasks/dead") == {world.dead}
    assert ids("acme-invoke", "/api/v1/tasks/active") == {world.running}
    assert ids("globex-invoke", "/api/v1/tasks/active") == set()
    assert ids("acme-invoke", f"/api/v1/tasks?state=succeeded&text={world.done[:8]}") == {world.done}


def test_output_objects_documents_and_replays_are_ones_own(world: World) -> None:
    def keys_of(who: str) -> list[str]:
        return [one["key"] for one in world.ask(who, "GET", "/documents").json()["documents"]]

    def lines(who: str, **headers: str) -> list[str]:
        answer = world.ask(who, "GET", "/api/v1/logs", headers=headers)
        return [json.loads(line)["text"] for line in answer.text.splitlines()]

    assert lines("acme-invoke") == [SECRET]
    assert lines("globex-invoke") == ["plain"]
    assert lines("default-invoke") == []
    assert sorted(lines("admin")) == sorted(["plain", SECRET])
    assert keys_of("acme-invoke") == [f"acme/{SECRET}.txt"]
    assert keys_of("globex-invoke") == ["globex/plain.txt"]
    assert keys_of("default-invoke") == []
    assert sorted(keys_of("admin")) == [f"acme/{SECRET}.txt", "globex/plain.txt"]
    for who, status in (("acme-invoke", 200), ("admin", 200), ("globex-invoke", 404)):
        for place_of in ("/buckets/documents", "/buckets/exports", "/documents/documents"):
            assert world.ask(who, "GET", f"{place_of}/acme/{SECRET}.txt").status_code == status
        assert world.ask(who, "HEAD", f"/buckets/documents/acme/{SECRET}.txt").status_code == status
    assert [one["id"] for one in world.ask("acme-admin", "GET", "/admin/replay").json()["replays"]] == [world.replay]
    assert [one["id"] for one in world.ask("admin", "GET", "/admin/replay").json()["replays"]] == [world.replay]
    assert (
        SECRET in world.ask("acme-invoke", "GET", "/admin/schedules").text
        or world.ask("acme-invoke", "GET", "/admin/schedules").json()["schedules"]
    )
    assert world.ask("globex-invoke", "GET", "/admin/schedules").json() == {"schedules": []}


def test_output_as_it_comes_is_ones_own(world: World) -> None:
    async def told(only: str | None) -> str:
        gateway = Gateway(world.settings, authing.deployment(world.settings))
        chunks: Any = task_logs._follow(gateway, [], "0-0", only)
        try:
            return b"".join([await anext(chunks), await anext(chunks)]).decode()
        finally:
            await chunks.aclose()
            await gateway.close()

    for only, mine, others in (("acme", SECRET, "plain"), ("globex", "plain", SECRET)):
        text = asyncio.run(told(only))
        assert f'"text":"{mine}"' in text
        assert f'"text":"{others}"' not in text
    assert SECRET in (text := asyncio.run(told(None)))
    assert "plain" in text


def test_nothing_is_put_removed_or_replayed_where_others_are(world: World) -> None:
    for key in ("acme/new.txt", "new.txt", "acme//x", "acme\\x", "nobody/new.txt"):
        answer = world.ask("globex-admin", "PUT", f"/buckets/documents/{key}", content=b"x")
        assert answer.status_code == 404, key
        assert "its places are: documents/globex/" in answer.json()["detail"]
    for bucket in (world.settings.store.bucket, "exports", "elsewhere"):
        assert world.ask("globex-admin", "PUT", f"/buckets/{bucket}/x", content=b"x").status_code == 404
        assert world.ask("globex-admin", "GET", f"/buckets/{bucket}/x").status_code == 404
    assert world.ask("globex-admin", "DELETE", f"/buckets/documents/acme/{SECRET}.txt").status_code == 404
    for prefix in ("acme/", "acme", "", "glob", "globe"):
        answer = world.ask("default-admin", "POST", "/admin/replay", json={"bucket": "documents", "prefix": prefix})
        assert answer.status_code == 404, prefix
    answer = world.ask("globex-admin", "POST", "/admin/replay", json={"bucket": "documents"})
    assert (answer.status_code, answer.json()["prefix"]) == (202, "globex/"), "its only place there"
    assert world.ask("acme-invoke", "GET", f"/buckets/documents/acme/{SECRET}.txt").status_code == 200


def test_searches_find_what_is_ones_own(world: World) -> None:
    def found(who: str, **more: Any) -> list[str]:
        answer = world.ask(who, "POST", "/search", json={"vector": [1, 0, 0, 0], **more})
        assert answer.status_code == 200, answer.text
        return [one["key"] for one in answer.json()["results"]]

    assert found("acme-invoke") == [f"acme/{SECRET}.txt", SECRET]
    assert found("acme-invoke", k=1) == [f"acme/{SECRET}.txt"]
    assert found("globex-invoke") == found("globex-invoke", k=1) == ["globex/plain.txt"], "it is looked for inside"
    assert found("globex-invoke", filter={"tenant": "acme"}) == []
    assert found("globex-invoke", filter={"prefix": "acme/"}) == []
    assert found("globex-invoke", group="document") == ["globex/plain.txt"]
    assert found("default-invoke") == []
    assert found("admin") == [f"acme/{SECRET}.txt", f"@acme/{SECRET}", "globex/plain.txt"]
    assert found("admin", filter={"tenant": ["globex"]}) == ["globex/plain.txt"]
    assert world.ask("globex-invoke", "GET", "/search?vector=1,0,0,0&tenant=acme").json()["results"] == []


def test_who_owned_a_place_before_finds_nothing_of_it_any_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are the old owner's until they are embedded again: nobody is shown them until then."""
    gateway = world.web.app.state.gateway  # type: ignore[attr-defined]
    tenants = {**world.settings.project.tenants, "acme": TenantSpec(objects=("documents/globex/",))}
    monkeypatch.setattr(gateway, "owners", Owners(world.settings.project.model_copy(update={"tenants": tenants})))
    for who in ("globex-invoke", "acme-invoke"):
        answer = world.ask(who, "POST", "/search", json={"vector": [1, 0, 0, 0]})
        assert "globex/plain.txt" not in [one["key"] for one in answer.json()["results"]]


def test_calls_are_made_for_the_tenant_of_the_key(world: World) -> None:
    def record(answer: Any) -> Any:
        assert answer.status_code == 202, answer.text
        told = answer.json()
        task_id = told.get("task_id") or told["tasks"][0]["task_id"]
        return read(world.client, task_id)

    task = {"task_type": "add", "task_data": {"a": 1}}
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"a": 1}}
    wait = {"Prefer": "wait=0"}
    for who, tenant in (("globex-invoke", "globex"), ("default-invoke", "default"), ("admin", "default")):
        answers = [
            world.ask(who, "POST", "/async-function/add", json={"a": 1}),
            world.ask(who, "POST", "/function/add", json={"a": 1}, headers=wait),
            world.ask(who, "POST", "/api/v1/tasks/submit", json=task),
            world.ask(who, "POST", "/api/v1/tasks/batch", json={"tasks": [task]}),
            world.ask(
                who,
                "POST",
                "/async-function/add",
                content=json.dumps([event]),
                headers={"content-type": "application/cloudevents-batch+json"},
            ),
        ]
        for answer in answers:
            made = record(answer)
            assert made.tenant == tenant
            confined = world.client.hget(keys.invocation(made.id), "confined")
            assert (confined is not None) == (who != "admin")
    again = record(world.ask("acme-invoke", "POST", f"/api/v1/tasks/task/{world.done}/retry"))
    assert (again.tenant, world.client.hget(keys.invocation(again.id), "confined")) == ("acme", b"1")
    again = record(world.ask("admin", "POST", f"/api/v1/tasks/task/{world.done}/retry"))
    assert (again.tenant, world.client.hget(keys.invocation(again.id), "confined")) == ("acme", b"1")


def test_idempotency_keys_are_ones_own(world: World) -> None:
    headers = {"Idempotency-Key": "the-same"}
    answer = world.ask("acme-invoke", "POST", "/async-function/add", json={"a": 1}, headers=headers)
    assert (answer.json()["task_id"], answer.headers["idempotency-replayed"]) == (world.done, "true")
    answer = world.ask("globex-invoke", "POST", "/async-function/add", json={"a": 2}, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["task_id"] != world.done


def test_letters_of_others_are_neither_redriven_nor_purged(world: World) -> None:
    for path in ("/api/v1/tasks/dead/redrive", "/api/v1/tasks/dead/purge"):
        told = world.ask("globex-admin", "POST", path, json={"ids": [world.dead, "nobody"]}).json()
        assert (told["count"], set(told["skipped"].values())) == (0, {"it is not recorded"})
        assert world.ask("globex-admin", "POST", path, json={"function": "add"}).json()["count"] == 0
    answer = world.ask("acme-invoke", "GET", f"/api/v1/tasks/dead/{world.dead}")
    assert answer.json()["error"] == f"ValueError: {SECRET}"


def test_functions_for_administrators_are_not_for_a_tenants(world: World) -> None:
    for path in ("/function/tidy", "/async-function/tidy"):
        answer = world.ask("acme-admin", "POST", path)
        assert answer.status_code == 403
        assert "works on the whole installation" in answer.json()["detail"]


def test_usage_is_ones_own(world: World) -> None:
    def tenants(who: str, **query: str) -> dict[str, Any]:
        told = world.ask(who, "GET", "/api/v1/usage", params=query).json()
        return {one["tenant"]: one for one in told["tenants"]}

    mine = tenants("acme-invoke")
    assert set(mine) == {"acme"}
    assert mine["acme"]["calls"] >= 3
    assert (mine["acme"]["documents"], mine["acme"]["bytes"]) == (1, len(f"acme/{SECRET}.txt inside"))
    assert set(tenants("admin")) == {"acme", "globex", "default"}
    assert set(tenants("admin", tenant="globex")) == {"globex"}
    assert world.ask("globex-invoke", "GET", "/api/v1/usage?tenant=acme").status_code == 404
