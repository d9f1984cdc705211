"""The gateway while its broker is away, and when it is back."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.calls import accepting
from runtime import keys
from runtime.broker.connection import connect
from runtime.config.limits import OutboxSpec
from runtime.config.settings import Settings, StoreSettings
from runtime.errors import BrokerDown
from runtime.invocations import invocation as invocations
from runtime.invocations.submit import Call, Idempotency, accept_async
from runtime.outbox.delivery import deliver
from runtime.outbox.kept_call import Kept
from runtime.outbox.outbox import Outbox
from tests.brokers import Broker, own_broker
from tests.gatewaying import Hand, add, deployment, problem, serving, settings
from tests.workers import ended, until, upkeep


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with own_broker(tmp_path_factory.mktemp("own") / "broker") as broker:
        yield broker


@pytest.fixture
def broker(killable: Broker) -> Iterator[Broker]:
    """A broker that is up and empty; the test may kill it."""
    if not killable.alive:
        killable.start()
    with connect(killable.url) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
    yield killable


def made(broker: Broker, home: Path, **limits: Any) -> Settings:
    found = settings(broker.url, StoreSettings(), home)
    project = found.project.model_copy(update={"outbox": OutboxSpec(**limits)})
    return found.model_copy(update={"project": project})


def everything(client: redis.Redis) -> list[str]:
    """The ids of all messages, in the order in which a worker takes them (they have one priority)."""
    found: Any = client.lrange(keys.queue_list("default", keys.transport_priority(5)), 0, -1)
    return [json.loads(raw)["headers"]["id"] for raw in reversed(found)]


def test_calls_are_taken_while_the_broker_is_away(broker: Broker, tmp_path: Path) -> None:
    with serving(made(broker, tmp_path)) as web:
        broker.kill()
        taken = [web.post("/async-function/add", json={"a": number}) for number in range(20)]
        taken.append(web.post("/function/add", json={"a": 20}, headers={"Prefer": "respond-async"}))
        taken.append(web.post("/function/add", json={"a": 21}, headers={"Prefer": "wait=5"}))
        assert {answer.status_code for answer in taken} == {202}
        ids = [answer.json()["task_id"] for answer in taken]
        assert web.post("/async-function/add", json={"b": 1}).status_code == 422

        told = web.get(taken[0].headers["location"]).json()
        assert (told["status"], told["state"], told["ready"], told["function"]) == ("PENDING", "accepted", False, "add")
        waits = web.get(f"{taken[0].headers['location']}/result")
        assert problem(waits, 409)["state"] == "accepted"
        assert waits.headers["retry-after"]
        assert web.get("/api/v1/tasks/task/nobody").status_code == 503

        answer = web.post("/function/add", json={"a": 1})
        assert "CELERY_BROKER_URL" in problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0

        ready = web.get("/readyz").json()["checks"]["outbox"]
        assert (ready["ready"], ready["calls"]) == (True, 22)
        text = web.get("/metrics").text
        assert "tundish_outbox_calls 22.0" in text
        assert f"tundish_outbox_bytes {ready['bytes']:.1f}" in text

        broker.start()
        with connect(broker.url) as client:
            until(lambda: len(everything(client)) == 22)
            assert everything(client) == ids
            until(lambda: "tundish_outbox_calls 0.0" in web.get("/metrics").text)
            with Hand(client, made(broker, tmp_path), add):
                until(lambda: web.get(taken[7].headers["location"]).json()["state"] == "succeeded")
                assert web.post("/function/add", json={"a": 1}).json() == 2, "nothing is written down any more"
    assert not list((tmp_path / "outbox").glob("*/*")), "nothing is left"


def test_it_is_off_unless_asked_for(broker: Broker, tmp_path: Path) -> None:
    with serving(made(broker, tmp_path, enabled=False)) as web:
        broker.kill()
        answer = web.post("/async-function/add", json={"a": 1})
        assert "CELERY_BROKER_URL" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"]
        assert "outbox" not in web.get("/readyz").json()["checks"]
    assert not (tmp_path / "outbox").exists()


@pytest.mark.parametrize("limits", [{"max_calls": 3}, {"max_bytes": 300}])
def test_what_has_no_room_is_refused(broker: Broker, tmp_path: Path, limits: dict[str, int]) -> None:
    with serving(made(broker, tmp_path, **limits)) as web:
        broker.kill()
        answers = [web.post("/async-function/add", json={"a": number}) for number in range(5)]
        codes = [answer.status_code for answer in answers]
        assert codes == sorted(codes)
        assert set(codes) == {202, 503}
        assert "outbox has no room" in problem(answers[-1], 503)["detail"]
        assert answers[-1].headers["retry-after"]
        check = web.get("/readyz").json()["checks"]["outbox"]
        assert check["calls"] == codes.count(202)
        broker.start()
        until(lambda: web.post("/async-function/add", json={"a": 9}).status_code == 202)
        with connect(broker.url) as client:
            until(lambda: len(everything(client)) == codes.count(202) + 1)


def test_a_full_disk_is_no_202(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(fd: int, data: Any) -> int:
        if b"add" in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    with serving(made(broker, tmp_path)) as web:
        broker.kill()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            refused = web.post("/async-function/add", json={"a": 1})
        assert "No space left on device" in problem(refused, 503)["detail"]
        assert refused.headers["retry-after"]
        kept = web.post("/async-function/add", json={"a": 2}).json()["task_id"]
        broker.start()
        with connect(broker.url) as client:
            until(lambda: everything(client) == [kept])


def test_an_outbox_that_cannot_be_used_is_in_nobodys_way(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("no folder")
    with serving(made(broker, tmp_path)) as web:
        assert web.post("/async-function/add", json={"a": 1}).status_code == 202
        broker.kill()
        answer = web.post("/async-function/add", json={"a": 2})
        assert "cannot be written" in problem(answer, 503)["detail"]
        broker.start()
        until(lambda: web.post("/async-function/add", json={"a": 3}).status_code == 202)


def test_calls_that_come_together_share_a_sync(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, syncs = os.fsync, []

    def counted(fd: int) -> None:
        syncs.append(fd)
        fsync(fd)

    with serving(made(broker, tmp_path)) as web, ThreadPoolExecutor(16) as pool:
        broker.kill()
        assert web.post("/async-function/add", json={"a": 0}).status_code == 202
        monkeypatch.setattr(os, "fsync", counted)
        answers = list(pool.map(lambda number: web.post("/async-function/add", json={"a": number}), range(64)))
    assert {answer.status_code for answer in answers} == {202}
    assert 0 < len(syncs) < 64


def test_an_answer_that_was_lost_runs_nothing_twice(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has done it, but its answer did not come: the call is written down, its delivery changes nothing."""

    async def lost(*arguments: Any) -> Any:
        await accept_async(*arguments)
        raise BrokerDown

    with serving(made(broker, tmp_path)) as web, connect(broker.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(accepting, "accept_async", lost)
            answer = web.post("/async-function/add", json={"a": 1})
        assert answer.status_code == 202
        until(lambda: "tundish_outbox_calls 0.0" in web.get("/metrics").text)
        assert everything(client) == [answer.json()["task_id"]]


def test_a_key_needs_the_broker(broker: Broker, tmp_path: Path) -> None:
    with serving(made(broker, tmp_path)) as web:
        broker.kill()
        call = Call("add", {"a": 1}, idempotency=Idempotency("caller and key", "arguments"))
        assert web.portal is not None
        accept = partial(accepting.accept_call, web.app.state.gateway, call)  # type: ignore[attr-defined]
        with pytest.raises(BrokerDown):
            web.portal.start_task_soon(accept).result()
        assert "tundish_outbox_calls 0.0" in web.get("/metrics").text


def test_a_broker_without_memory_takes_no_new_work(broker: Broker, tmp_path: Path) -> None:
    found = made(broker, tmp_path)
    with serving(found) as web, connect(broker.url) as client:
        before = web.post("/async-function/add", json={"a": 1}).json()["task_id"]
        client.config_set("maxmemory", 1)
        for path in ("/function/add", "/async-function/add"):
            answer = web.post(path, json={"a": 2})
            assert "memory limit" in problem(answer, 503)["detail"]
            assert answer.headers["retry-after"]
        assert "tundish_outbox_calls 0.0" in web.get("/metrics").text, "the outbox is for a broker that is away"
        with Hand(client, found, add):  # what was accepted is done, and its end is recorded
            until(lambda: web.get(f"/api/v1/tasks/task/{before}").json()["state"] == "succeeded")
        client.config_set("maxmemory", 0)
        assert web.post("/async-function/add", json={"a": 3}).status_code == 202


def test_what_waits_stays_while_the_broker_has_no_memory(broker: Broker, tmp_path: Path) -> None:
    with serving(made(broker, tmp_path)) as web:
        broker.kill()
        taken = [web.post("/async-function/add", json={"a": 1})]
        broker.start(maxmemory=1)
        with connect(broker.url) as client:
            while (answer := web.post("/async-function/add", json={"a": 2})).status_code == 202:
                taken.append(answer)  # it has not noticed yet
            assert "memory limit" in problem(answer, 503)["detail"]
            ids = [answer.json()["task_id"] for answer in taken]
            assert web.get(f"/api/v1/tasks/task/{ids[0]}").json()["state"] == "accepted"
            client.config_set("maxmemory", 0)
            until(lambda: everything(client) == ids)


def test_delivery_is_once_whatever_becomes_of_the_record(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """A gateway dies between delivery and its own note of it; when it is back, the record may be gone already."""
    deployed = deployment(settings(broker_url, StoreSettings(), tmp_path))
    outbox = Outbox(tmp_path)
    outbox.add([(name, Kept(Call("add", {"a": 1}, id=name), 1e9, "default", 5).pack()) for name in ("x", "y")])
    first = outbox.oldest()
    assert first is not None
    deliver(redis_client, deployed, first)
    names: Any = redis_client.keys("*")
    redis_client.delete(*(name for name in names if name.decode() != keys.outbox(first.box)))
    outbox.close()

    again = Outbox(tmp_path)
    assert again.adopt() == 2
    while waiting := again.oldest():
        deliver(redis_client, deployed, waiting)
        again.done(waiting)
    assert everything(redis_client) == ["y"]


def test_the_times_of_a_call_go_on_while_it_waits(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    deployed = deployment(settings(broker_url, StoreSettings(), tmp_path))
    outbox, accepted = Outbox(tmp_path), time.time() - 100
    calls = {
        "over": Call("add", {"a": 1}, id="over", expires=30),
        "open": Call("add", {"a": 1}, id="open", expires=300),
        "late": Call("add", {"a": 1}, id="late", expires=30, delay=20),
        "soon": Call("add", {"a": 1}, id="soon", expires=30, delay=200),
    }
    outbox.add([(name, Kept(call, accepted, "default", 5).pack()) for name, call in calls.items()])
    while waiting := outbox.oldest():
        deliver(redis_client, deployed, waiting)
        outbox.done(waiting)
    for name, call in calls.items():
        found = invocations.read(redis_client, name)
        assert found is not None
        assert found.expires == pytest.approx(accepted + call.delay + (call.expires or 0), abs=0.1)
        assert found.state == ("accepted" if name == "soon" else "queued")
        assert found.due == (pytest.approx(accepted + 200, abs=0.1) if name == "soon" else None)
    with upkeep(redis_client, deployed):
        assert ended(redis_client, "over").state == ended(redis_client, "late").state == "expired"
    assert invocations.read(redis_client, "open").state == "queued"  # type: ignore[union-attr]


def test_a_function_that_is_gone_leaves_a_record(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    deployed = deployment(settings(broker_url, StoreSettings(), tmp_path))
    outbox = Outbox(tmp_path)
    outbox.add([("x", Kept(Call("removed", {}, id="x"), 1e9, "other", 7).pack())])
    waiting = outbox.oldest()
    assert waiting is not None
    deliver(redis_client, deployed, waiting)
    found = invocations.read(redis_client, "x")
    assert found is not None
    assert (found.function, found.queue, found.priority, found.terminal) == ("removed", "other", 7, False)
