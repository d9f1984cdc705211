"""For whom calls are made that nobody sent (by buckets, schedules, chains, functions), and what they reach."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from functions.embed_batch import embed_batch
from runtime import keys
from runtime.attempts import gather
from runtime.attempts.attempt import claim, finish
from runtime.callers import usage
from runtime.callers.ownership import Owners
from runtime.config.settings import (
    Batch,
    BucketTrigger,
    Chain,
    CronTrigger,
    Function,
    Project,
    Queue,
    Settings,
    StoreSettings,
)
from runtime.config.settings import Gather as GatherSpec
from runtime.context import Document, ObjectEvent, Store
from runtime.deployment.deployment import Deployed, Deployment
from runtime.errors import BadInput, ObjectMissing
from runtime.invocations import chain
from runtime.invocations.calls import Origin, RedisCalls
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, submit
from runtime.schedules.schedule import schedules
from runtime.store.confined import ConfinedStore
from runtime.store.layer import StoreLayer
from runtime.testing import FakeModels, MemoryIndex, MemoryStore, fake_context
from tests.triggering import House
from tests.workers import until
from triggers.clock import Clock


def deployment(broker_url: str, home: Path, **functions: Any) -> Deployment:
    specs = {name: Function(name=name, handler="f.py:f", **options) for name, options in functions.items()}
    project = Project(queues={"default": Queue()}, functions=specs)
    made = Settings(project=project, file=home / "functions.yaml", home=home, broker_url=broker_url)
    return Deployment(made, {name: Deployed(spec) for name, spec in specs.items()})


def test_a_call_of_a_bucket_has_objects_of_one_tenant(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    house = House.build(
        redis_client, broker_url, store_settings, tmp_path, source="poll", rescan=0.1, tenant="{prefix}", in_flight=20
    )
    names = [*(f"acme/{n}" for n in range(10)), "globex/1", "globex/2", "loose", "_/odd"]
    for key in names:
        house.put(key, b"text")
    with house.running():
        until(lambda: len(house.changes()) == len(names))
    found: dict[str, set[str]] = {}
    for call in house.calls():
        tenants = {Owners(house.project).of(one["bucket"], one["key"]) for one in call.arguments["objects"]}
        assert tenants == {call.tenant}
        found.setdefault(call.tenant, set()).update(one["key"] for one in call.arguments["objects"])
    assert found == {
        "acme": {f"acme/{n}" for n in range(10)},
        "globex": {"globex/1", "globex/2"},
        "default": {"loose", "_/odd"},
    }
    month = f"{datetime.now(UTC):%Y-%m}"
    told = {one["tenant"]: one for one in usage.read(redis_client, house.project, ["acme", "globex"], month)}
    until(lambda: usage.read(redis_client, house.project, ["default"], month)[0]["documents"] == 2)
    assert (told["acme"]["documents"], told["acme"]["bytes"], told["globex"]["documents"]) == (10, 40, 2)


def test_many_objects_of_one_tenant_hold_up_no_other(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    house = House.build(
        redis_client,
        broker_url,
        store_settings,
        tmp_path,
        source="poll",
        rescan=0.1,
        tenant="{prefix}",
        in_flight=1,
        batch=Batch(max_items=2, window=0.01),
    )
    for key in [*(f"acme/{n:02}" for n in range(20)), "globex/1"]:
        house.put(key)
    with house.running():
        house.hand_out(4)
    assert "globex" in {call.tenant for call in house.calls()[:3]}


def test_a_schedule_is_its_tenants(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    crons = (CronTrigger(every=1.0, tenant="acme"), CronTrigger(every=1.0, **{"with": {"a": 1}}))
    deployed = deployment(broker_url, tmp_path, nightly={"crons": crons})
    assert [one.trigger.tenant for one in schedules(deployed.settings.project)] == ["acme", None]
    clock = Clock(redis_client, deployed)

    def ticked() -> bool:
        clock.tick(0.1)
        return redis_client.zcard(keys.ALL) >= 2

    until(ticked)
    tenants = {read(redis_client, one.decode()).tenant for one in redis_client.zrange(keys.ALL, 0, 1)}  # type: ignore[union-attr]
    assert tenants == {"acme", "default"}


@pytest.fixture
def ended(redis_client: redis.Redis) -> Callable[..., str]:
    """Make a call and let it succeed."""

    def end(deployed: Deployment, function: str, tenant: str, task_id: str | None = None) -> str:
        task_id = task_id or submit(redis_client, deployed, Call(function, tenant=tenant))
        attempt = claim(redis_client, task_id, "hand")
        assert not isinstance(attempt, str)
        finish(redis_client, deployed.find(function).spec, attempt, "succeeded", {"result": "1"})
        return task_id

    return end


def test_what_follows_is_for_one_tenant(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path, ended: Callable[..., str]
) -> None:
    deployed = deployment(broker_url, tmp_path, first={"on_success": Chain(function="then")}, then={})
    for tenant in ("acme", "acme", "globex", "acme"):
        ended(deployed, "first", tenant)
    found = []
    while task_id := chain.pump(redis_client, deployed, "then"):
        made = read(redis_client, task_id)
        assert made is not None
        attempt = claim(redis_client, task_id, "hand")
        assert not isinstance(attempt, str)
        found.append((made.tenant, len(attempt.parents())))
        finish(redis_client, deployed.find("then").spec, attempt, "succeeded", {"result": "1"})
    assert found == [("acme", 2), ("globex", 1), ("acme", 1)]


def test_what_works_for_all_is_called_once_for_all(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path, ended: Callable[..., str]
) -> None:
    options = {"first": {"on_success": Chain(function="build")}, "build": {"role": "admin"}}
    deployed = deployment(broker_url, tmp_path, **options)
    for tenants in (("acme", "globex", "acme"), ("acme",)):
        for tenant in tenants:
            ended(deployed, "first", tenant)
        task_id = chain.pump(redis_client, deployed, "build")
        attempt = claim(redis_client, str(task_id), "hand")
        assert not isinstance(attempt, str)
        assert (attempt.text("tenant"), len(attempt.parents())) == ("default", len(tenants))
        finish(redis_client, deployed.find("build").spec, attempt, "succeeded", {"result": "1"})


def test_calls_of_two_tenants_are_not_gathered_into_one(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    deployed = deployment(broker_url, tmp_path, score={"gather": GatherSpec(max_items=10, window=60.0)})
    for _ in range(3):
        for tenant in ("acme", "globex", "default"):
            submit(redis_client, deployed, Call("score", {"item": 1}, tenant=tenant))
    lists = {name.decode() for name in redis_client.smembers(keys.GATHERING)}  # type: ignore[union-attr]
    assert lists == {keys.gather(whose, 5) for whose in ("score", "score@acme", "score@globex")}
    for name in lists:
        redis_client.delete(f"{name}:active")  # as when the first call is over
    gather.pump_all(redis_client, deployed)
    carriers = 0
    for name in redis_client.scan_iter(keys.invocation("*")):
        found: Any = redis_client.hmget(name, "members", "tenant")
        members, tenant = found
        if members:
            carriers += 1
            whose = {redis_client.hget(keys.invocation(one), "tenant") for one in members.decode().split("\n")}
            assert whose == {tenant}
    assert carriers == 6
    assert not redis_client.exists(keys.GATHERING)


def test_calls_of_functions_are_as_confined_as_their_own(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    deployed = deployment(broker_url, tmp_path, child={})
    for confined in (False, True):
        origin = Origin("parent", "parent", "f", "acme", round=int(confined), confined=confined)
        task_id = RedisCalls(redis_client, deployed, origin, None).submit("child", {})  # type: ignore[arg-type]
        attempt = claim(redis_client, task_id, "hand")
        assert not isinstance(attempt, str)
        assert (attempt.text("tenant"), attempt.flag("confined")) == ("acme", confined)
    calls = RedisCalls(redis_client, deployed, Origin("p", "p", tenant="acme", confined=True), None)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="cannot call child for globex"):
        calls.submit("child", {}, tenant="globex")


def owners(**objects: list[str]) -> Owners:
    watch = BucketTrigger(bucket="docs", tenant="{prefix}")
    function = Function(name="note", handler="f.py:note", buckets=(watch,))
    tenants = {name: {"objects": places} for name, places in objects.items()}
    return Owners(Project(queues={}, functions={"note": function}, tenants=tenants))


def test_a_confined_store_has_what_is_the_tenants() -> None:
    memory = MemoryStore()
    for bucket, key in (
        ("docs", "acme/a"),
        ("docs", "globex/a"),
        ("docs", "a"),
        ("tundish", "acme/a"),
        ("out", "acme/a"),
    ):
        memory.put(bucket, key, b"words")
    store = ConfinedStore(memory, "acme", owners(acme=["out"]))
    assert store.get("docs", "acme/a").data == store.get("out", "acme/a").data == b"words"
    assert [one.key for one in store.list("docs")] == ["acme/a"]
    assert list(store.list("tundish")) == []
    store.put("docs", "acme/b", b"new")
    store.put_stream("docs", "acme/c", io.BytesIO(b"new"))
    store.delete("docs", "acme/b")
    for bucket, key in (("docs", "globex/a"), ("docs", "a"), ("tundish", "acme/a"), ("elsewhere", "acme/a")):
        for use in (
            lambda b=bucket, k=key: store.get(b, k),
            lambda b=bucket, k=key: store.head(b, k),
            lambda b=bucket, k=key: store.put(b, k, b"x"),
            lambda b=bucket, k=key: store.put_stream(b, k, io.BytesIO(b"x")),
            lambda b=bucket, k=key: store.download(b, k, io.BytesIO()),
            lambda b=bucket, k=key: store.delete(b, k),
        ):
            with pytest.raises(ObjectMissing):
                use()
    memory.put("docs", "acme/mine", b"own")
    found = store.get_many("docs", ["globex/a", "acme/mine", "globex/a"], limit=99)
    assert [one and one.data for one in found] == [None, b"own", None], "what is another's is missing"
    assert store.get_many("tundish", ["acme/a"], limit=99) == [None]
    for key in ("acme//a", "acme/../globex/a", "acme\\a"):
        with pytest.raises(BadInput):
            store.get("docs", key)
        with pytest.raises(BadInput):
            store.get_many("docs", ["acme/mine", key], limit=99)
    with pytest.raises(BadInput, match="open everything"):
        store.connection()
    with pytest.raises(BadInput):
        store.abort_uploads("docs", 0)
    assert memory.get("docs", "globex/a").data == b"words"


def test_a_port_that_grows_is_closed_until_somebody_opens_it() -> None:
    """Every method of the port is one of the layer's own; those that name an object ask before they go on."""
    ports = {name: method for name, method in vars(Store).items() if callable(method) and not name.startswith("_")}
    assert set(ports) <= set(vars(StoreLayer))
    store = ConfinedStore(MemoryStore(), "acme", owners())
    for name, method in ports.items():
        names = list(inspect.signature(method).parameters)[1:]
        if "key" in names:
            given = {"bucket": "docs", "key": "globex/a", "data": io.BytesIO(), "file": io.BytesIO()}
            with pytest.raises(ObjectMissing):
                getattr(store, name)(**{one: given[one] for one in names if one in given})


class Embedding:
    """One index and one store, and callers of several tenants."""

    def __init__(self) -> None:
        self.store, self.index, self.models = MemoryStore(), MemoryIndex(), FakeModels()
        self.owners = owners()

    def embed(self, tenant: str, *, confined: bool = False, **arguments: Any) -> Any:
        context = fake_context(
            "embed_batch",
            store=self.store,
            index=self.index,
            models=self.models,
            tenant=tenant,
            confined=confined,
            owners=self.owners.of,
        )
        return embed_batch(**arguments, context=context)

    def rows(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Tenant and text by bucket and key."""
        return {place: (rows[0].tenant, rows[0].text) for place, rows in self.index.winners("default").items() if rows}


def test_rows_are_their_objects_owners_whoever_embeds_them() -> None:
    house = Embedding()
    for key in ("acme/a.txt", "globex/a.txt", "a.txt"):
        house.store.put("docs", key, f"words of {key}".encode())
    house.embed("default", objects=[ObjectEvent("docs", key) for key in ("acme/a.txt", "globex/a.txt", "a.txt")])
    assert {place[1]: row[0] for place, row in house.rows().items()} == {
        "acme/a.txt": "acme",
        "globex/a.txt": "globex",
        "a.txt": "default",
    }


def test_rows_go_to_a_new_owner_without_being_computed_anew() -> None:
    house = Embedding()
    etag = house.store.put("docs", "acme/a.txt", b"words")
    house.embed("default", objects=[ObjectEvent("docs", "acme/a.txt", etag=etag)])
    count = len(house.models.embedded)
    assert house.embed("default", objects=[ObjectEvent("docs", "acme/a.txt", etag=etag)]).reused
    house.owners = owners(globex=["docs/acme"])
    house.embed("default", objects=[ObjectEvent("docs", "acme/a.txt", etag=etag)])
    assert house.rows() == {("docs", "acme/a.txt"): ("globex", "words")}
    assert len(house.models.embedded) == count


def test_ids_of_texts_do_not_meet() -> None:
    house = Embedding()
    for tenant in ("default", "acme", "globex"):
        house.embed(tenant, confined=True, documents=[Document(f"words of {tenant}", id="readme")])
    assert house.rows() == {
        ("", "readme"): ("default", "words of default"),
        ("", "@acme/readme"): ("acme", "words of acme"),
        ("", "@globex/readme"): ("globex", "words of globex"),
    }
    house.embed("globex", confined=True, objects=[ObjectEvent("", "@acme/readme", "removed", seq=10**9)])
    house.embed("acme", confined=True, objects=[ObjectEvent("", "readme", "removed", seq=10**9)])
    assert set(house.rows()) == {("", "readme"), ("", "@globex/readme")}
    with pytest.raises(BadInput, match="are of other tenants"):
        house.embed("default", confined=True, documents=[Document("words", id="@globex/readme")])


def test_a_confined_caller_neither_embeds_nor_removes_what_is_anothers() -> None:
    house = Embedding()
    house.store.put("docs", "acme/a.txt", b"words")
    house.embed("default", objects=[ObjectEvent("docs", "acme/a.txt")])
    for event in (ObjectEvent("docs", "acme/a.txt"), ObjectEvent("docs", "acme/a.txt", "removed", seq=10**9)):
        with pytest.raises(BadInput, match=r"There is no object acme/a\.txt in the bucket docs"):
            house.embed("globex", confined=True, objects=[event])
    assert set(house.rows()) == {("docs", "acme/a.txt")}
    house.embed("acme", confined=True, objects=[ObjectEvent("docs", "acme/a.txt", "removed", seq=10**9)])
    assert house.rows() == {}
