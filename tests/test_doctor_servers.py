"""What the doctor finds of a broker and a store, each of them really set so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime.broker.connection import connect
from runtime.config.settings import StoreSettings
from runtime.doctor.patient import Patient
from runtime.host.free_ports import Ports
from tests.brokers import Broker, own_broker
from tests.doctoring import CarelessStore, cannot, look, one, patient, project, rewording
from tests.indexing import fresh_store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with own_broker(tmp_path_factory.mktemp("doctor") / "broker") as found:
        yield found


@pytest.fixture
def setting(server: Broker) -> Iterator[redis.Redis]:
    """A client of a broker whose settings are put back after the test."""
    client = connect(server.url)
    before: Any = client.config_get("maxmemory*", "append*")
    yield client
    for name in ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync"):
        client.config_set(name, before[name])
    client.close()


@pytest.fixture
def who(server: Broker, tmp_path: Path) -> Patient:
    project(tmp_path)
    return patient(tmp_path, server.url)


BROKER = ("broker", "broker version", "broker eviction", "broker persistence", "broker memory", "broker clock")


@pytest.mark.parametrize("name", BROKER)
def test_the_embedded_broker_is_well(who: Patient, name: str) -> None:
    assert one(who, name).state == "ok"


def test_a_broker_that_does_not_answer(tmp_path: Path) -> None:
    project(tmp_path)
    gone = patient(tmp_path, "redis://127.0.0.1:9/0")
    found = one(gone, "broker")
    assert (found.state, found.found) == ("fail", "The broker at 127.0.0.1:9 does not answer (ConnectionError).")
    assert "CELERY_BROKER_URL" in found.mend
    assert cannot(gone, "broker eviction") == "the broker does not answer"


def test_a_broker_that_refuses_the_password(server: Broker, tmp_path: Path) -> None:
    project(tmp_path)
    found = one(patient(tmp_path, server.url.replace("redis://:", "redis://:x")), "broker")
    assert found.state == "fail"
    assert "password" in found.found


def test_a_replica(who: Patient, setting: redis.Redis) -> None:
    setting.replicaof("127.0.0.1", 1)
    try:
        found = one(who, "broker")
    finally:
        setting.replicaof("NO", "ONE")
    assert (found.state, "replica" in found.found) == ("fail", True)


def test_a_cluster(tmp_path: Path) -> None:
    project(tmp_path)
    cluster = Broker(tmp_path / "cluster")
    bus = Ports(tmp_path / "bus").take("bus")  # or it is the broker's port and 10,000, which may be anybody's
    cluster.start(**{"cluster-enabled": "yes", "cluster-port": bus})
    try:
        found = one(patient(tmp_path, cluster.url), "broker")
    finally:
        cluster.kill()
    assert (found.state, "cluster" in found.found) == ("fail", True)


@pytest.mark.parametrize(
    ("words", "state", "name"),
    [
        ({b"valkey_version:9": b"valkey_version:8"}, "ok", "Valkey 8."),
        ({b"valkey_version:9": b"valkey_version:7"}, "fail", "Valkey 7."),
        ({b"valkey_version": b"nothing_at_all"}, "ok", "Redis 7."),
        ({b"valkey_version": b"nothing_at_all", b"redis_version:7": b"redis_version:6"}, "fail", "Redis 6."),
    ],
)
def test_an_old_broker(server: Broker, tmp_path: Path, words: dict[bytes, bytes], state: str, name: str) -> None:
    project(tmp_path)
    with rewording(server.url, words) as url:
        found = one(patient(tmp_path, url), "broker version")
    assert (found.state, name in found.found) == (state, True)


def test_a_broker_that_evicts(who: Patient, setting: redis.Redis) -> None:
    setting.config_set("maxmemory-policy", "allkeys-lru")
    setting.config_set("maxmemory", "1gb")
    found = one(who, "broker eviction")
    assert (found.state, "allkeys-lru" in found.found) == ("fail", True)
    assert found.mend.startswith("CONFIG SET maxmemory-policy noeviction")
    setting.config_set("maxmemory", "0")
    del who.__dict__["server"]  # ask it again
    assert one(who, "broker eviction").state == "warn"


def test_the_mend_of_an_eviction_mends_it(who: Patient, setting: redis.Redis) -> None:
    setting.config_set("maxmemory-policy", "volatile-ttl")
    command = one(who, "broker eviction").mend.partition(",")[0]
    setting.execute_command(command)  # type: ignore[no-untyped-call]
    del who.__dict__["server"]
    assert one(who, "broker eviction").state == "ok"


def test_a_broker_that_keeps_nothing(who: Patient, setting: redis.Redis) -> None:
    setting.config_set("appendonly", "no")
    found = one(who, "broker persistence")
    assert (found.state, "append-only" in found.found) == ("fail", True)


def test_a_broker_that_syncs_once_a_second(who: Patient, setting: redis.Redis, tmp_path: Path, server: Broker) -> None:
    setting.config_set("appendfsync", "everysec")
    found = one(who, "broker persistence")
    assert (found.state, "the last second" in found.found) == ("warn", True)
    project(tmp_path, durability="fast")
    assert one(patient(tmp_path, server.url), "broker persistence").state == "ok"
    setting.config_set("appendfsync", "no")
    assert one(patient(tmp_path, server.url), "broker persistence").state == "warn"


def test_a_broker_that_cannot_write_its_file(server: Broker, tmp_path: Path) -> None:
    project(tmp_path)
    with rewording(server.url, {b"aof_last_write_status:ok": b"aof_last_write_status:er"}) as url:
        found = one(patient(tmp_path, url), "broker persistence")
    assert (found.state, "aof_last_write_status" in found.found) == ("fail", True)


def test_a_broker_that_does_not_tell_its_settings(server: Broker, setting: redis.Redis, tmp_path: Path) -> None:
    setting.execute_command("ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config")  # type: ignore[no-untyped-call]
    project(tmp_path)
    place = server.url.rpartition("@")[2]
    managed = patient(tmp_path, f"redis://managed:secret@{place}")
    assert "cannot be asked" in cannot(managed, "broker persistence")
    assert one(managed, "broker eviction").state == "ok"  # INFO tells


def test_a_broker_that_is_almost_full(who: Patient, setting: redis.Redis) -> None:
    used = int(setting.info("memory")["used_memory"])
    setting.config_set("maxmemory", int(used * 1.15))
    assert one(who, "broker memory").state == "warn"
    setting.config_set("maxmemory", int(used * 0.9))
    del who.__dict__["server"]
    found = one(who, "broker memory")
    assert (found.state, "new calls are refused" in found.found) == ("fail", True)


@pytest.mark.parametrize(("off", "state"), [(0, "ok"), (-20, "warn"), (20, "warn"), (90, "fail"), (-3600, "fail")])
def test_clocks(server: Broker, store_settings: StoreSettings, tmp_path: Path, off: float, state: str) -> None:
    project(tmp_path)
    wrong = patient(tmp_path, server.url, store_settings, clock=lambda: time.time() + off)
    for name in ("broker clock", "store clock"):
        found = one(wrong, name)
        assert found.state == state
        assert not off or ("behind" if off > 0 else "ahead") in found.found


def test_visibility_of_the_stock_channel(server: Broker, tmp_path: Path) -> None:
    client = connect(server.url)
    project(tmp_path)
    assert "lean" in one(patient(tmp_path, server.url), "visibility timeout").found
    queues = {"slow": {"channel": "stock"}}
    project(tmp_path, queues=queues, functions={"plain": {"handler": "plain.py:plain", "queue": "slow", "timeout": 60}})
    found = one(patient(tmp_path, server.url), "visibility timeout")
    assert (found.state, "slow" in found.found) == ("ok", True)
    client.zadd("unacked_index", {"tag": 1_000_000_000})
    found = one(patient(tmp_path, server.url), "visibility timeout")
    assert (found.state, "1 messages" in found.found) == ("warn", True)
    client.delete("unacked_index")
    project(
        tmp_path,
        queues={"slow": {"channel": "stock", "pool": "threads"}},
        functions={"plain": {"handler": "plain.py:plain", "queue": "slow"}},
    )
    found = one(patient(tmp_path, server.url), "visibility timeout")
    assert (found.state, found.found.startswith("plain has no timeout")) == ("warn", True)


# The store


def test_the_embedded_store_is_well_and_keeps_no_probe(store_settings: StoreSettings, tmp_path: Path) -> None:
    project(tmp_path)
    store = fresh_store(store_settings)
    settings = store_settings.model_copy(update={"bucket": store.bucket})
    who = patient(tmp_path, store=settings)
    assert one(who, "store").state == "ok"
    assert one(who, "store conditional PUT").state == "ok"
    assert not list(store.list(store.bucket))


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    project(tmp_path)
    gone = patient(tmp_path, store=StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b"))
    found = one(gone, "store")
    assert (found.state, "127.0.0.1:9" in found.found, "MINIO_ENDPOINT" in found.mend) == ("fail", True, True)
    for name in ("store conditional PUT", "store clock"):
        assert cannot(gone, name) == "the store does not answer"


def test_a_store_that_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.doctor.patient.HELLO_SECONDS", 0.5)
    project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        stuck = patient(tmp_path, store=StoreSettings(endpoint=endpoint, access_key="a", secret_key="b"))
        found = one(stuck, "store")
        assert (found.state, "within 0.5 s" in found.found, "stuck" in found.mend) == ("fail", True, True)
        assert cannot(stuck, "store clock") == "the store does not answer"


def test_a_store_that_refuses_the_keys(store_settings: StoreSettings, tmp_path: Path) -> None:
    project(tmp_path)
    found = one(patient(tmp_path, store=store_settings.model_copy(update={"secret_key": "wrong"})), "store")
    assert (found.state, "refused the credentials" in found.found) == ("fail", True)
    assert "MINIO_SECRET_KEY" in found.mend
    assert "wrong" not in found.found + found.mend


def test_buckets_that_are_not_there(store_settings: StoreSettings, tmp_path: Path) -> None:
    trigger = {"bucket": "nobody-made-this"}
    code = "from typing import Any\n\ndef plain(objects: Any) -> None: ...\n"
    project(tmp_path, code=code, functions={"plain": {"handler": "plain.py:plain", "triggers": [trigger]}})
    who = patient(tmp_path, store=store_settings.model_copy(update={"bucket": "nor-this"}))
    assert {(found.state, found.found) for found in look(who, "store")} == {
        ("warn", "There is no bucket nor-this."),
        ("warn", "There is no bucket nobody-made-this."),
    }
    assert cannot(who, "store conditional PUT") == "there is no bucket nor-this"


def test_a_store_that_ignores_conditions(tmp_path: Path) -> None:
    project(tmp_path)
    with CarelessStore().running() as store:
        found = look(patient(tmp_path, store=store.settings), "store conditional PUT")
        assert [one.state for one in found] == ["fail", "fail"]
        assert "If-None-Match" in found[0].found
        assert "If-Match" in found[1].found
        assert not store.objects


def test_a_store_in_which_nothing_can_be_written_or_removed(tmp_path: Path) -> None:
    project(tmp_path)
    with CarelessStore(refuses=("PUT",)).running() as store:
        found = one(patient(tmp_path, store=store.settings), "store conditional PUT")
        assert (found.state, found.found.startswith("Nothing can be written")) == ("fail", True)
    with CarelessStore(refuses=("DELETE",)).running() as store:
        found = look(patient(tmp_path, store=store.settings), "store conditional PUT")[0]
        assert (found.state, "could not be removed" in found.found) == ("warn", True)
