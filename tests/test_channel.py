"""The lean channel on real workers: what they have received is never lost, and they take no more than they may."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker.connection import connect
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.invocations.submit import Call, submit
from runtime.system.services import load_credentials, valkey
from runtime.worker.app import create_app
from tests.channeling import FILE, held, lines, notes, waiting
from tests.conftest import running
from tests.workers import deployment, ended, kill, known, queued, until, upkeep, worker


@pytest.mark.parametrize("function", ["note", "note_solo"])
def test_what_a_killed_worker_had_received_runs_elsewhere_once(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path, function: str
) -> None:
    path = tmp_path / "trace"
    queue = deployed.find(function).spec.queue
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, queue, name="first@test") as first:
            ids = notes(redis_client, deployed, path, 6, function, seconds=0.5)
            until(lambda: len(held(redis_client, "first@test")) >= 3 and lines(path, "begin"))
            kill(first)
        with worker(FILE, broker_url, queue, name="second@test"):
            done = [ended(redis_client, task_id, 60) for task_id in ids]
    assert [found.state for found in done] == ["succeeded"] * 6
    assert sorted(lines(path, "end")) == sorted(map(str, range(6))), "none twice to its end"
    assert not queued(redis_client)


@pytest.mark.parametrize("function", ["note", "note_solo"])
def test_a_worker_outlives_killed_connections(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path, function: str
) -> None:
    """A pop that was answered as its connection was killed is the reaper's; that it consumes is the worker's."""
    path = tmp_path / "trace"
    queue = deployed.find(function).spec.queue
    with worker(FILE, broker_url, queue), upkeep(redis_client, deployed):
        for _ in range(3):
            ids = notes(redis_client, deployed, path, 6, function, seconds=0.1)
            until(lambda: lines(path, "begin"))
            for kind in ("normal", "pubsub"):
                redis_client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
            assert [ended(redis_client, task_id).state for task_id in ids] == ["succeeded"] * 6
            assert sorted(lines(path, "end")) == sorted(map(str, range(6)))
            path.unlink()


def test_a_killed_broker_costs_nothing(tmp_path: Path) -> None:
    """SIGKILL of a broker with `appendfsync always`, under load: the worker goes on when it is back."""
    path, home = tmp_path / "trace", tmp_path / "home"
    service, url = valkey(home, Ports(home), load_credentials(home))
    client, deployed = connect(url), deployment(FILE, url)
    with running(service), worker(FILE, url, "one"), upkeep(client, deployed):
        ids = notes(client, deployed, path, 20, seconds=0.1)
        until(lambda: len(lines(path, "end")) > 2)
        pid = client.info("server")["process_id"]
        os.kill(int(pid), signal.SIGKILL)
        with running(service):
            done = [ended(client, task_id, 90) for task_id in ids]
            after = notes(client, deployed, path, 3)
            done += [ended(client, task_id) for task_id in after]
    assert [found.state for found in done] == ["succeeded"] * 23
    client.close()


def test_nine_runs_first_and_within_a_priority_the_oldest(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    ids = [
        submit(redis_client, deployed, Call("note", {"path": str(path), "text": f"{level}.{turn}"}, priority=level))
        for turn in range(3)
        for level in (0, 5, 9, 3)
    ]
    with worker(FILE, broker_url, "one"):
        for task_id in ids:
            ended(redis_client, task_id)
    assert lines(path, "end") == [f"{level}.{turn}" for level in (9, 5, 3, 0) for turn in range(3)]


def test_a_worker_takes_no_more_than_it_may(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """Four of one process, eight of two, and four again."""
    control = create_app(deployed.settings).control
    there: Any = {"destination": ["one@test"], "reply": True, "timeout": 5}
    inspect = control.inspect(timeout=5, destination=["one@test"])

    def most_at_once(turn: int) -> int:
        """How many of 16 were at most out of the list and not ended."""
        path, most = tmp_path / str(turn), 0
        ids = notes(redis_client, deployed, path, 16, seconds=0.1)
        while len(lines(path, "end")) < 16:
            taken = 16 - len(waiting(redis_client, "one"))
            most = max(most, taken - len(lines(path, "end")))
            time.sleep(0.005)  # a twentieth of a call; without it the looks take a processor from the worker
        for task_id in ids:
            assert ended(redis_client, task_id).state == "succeeded"
        return most

    with worker(FILE, broker_url, "one", name="one@test"):
        assert most_at_once(1) <= 4
        control.pool_grow(1, **there)
        until(lambda: inspect.stats()["one@test"]["prefetch_count"] == 8)
        assert 4 < most_at_once(2) <= 8
        until(lambda: not inspect.active()["one@test"])
        control.pool_shrink(1, **there)
        until(lambda: inspect.stats()["one@test"]["prefetch_count"] == 4)
        assert most_at_once(3) <= 4


@pytest.mark.parametrize("function", ["note", "note_solo"])
def test_a_stopping_worker_gives_back_what_waits_at_once_and_in_order(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path, function: str
) -> None:
    path, gate = tmp_path / "trace", tmp_path / "gate"
    queue = deployed.find(function).spec.queue
    ids = notes(redis_client, deployed, path, 1, function, gate=str(gate))
    ids += notes(redis_client, deployed, path, 5, function)
    with worker(FILE, broker_url, queue, name="first@test") as process:
        until(lambda: lines(path, "begin") and len(waiting(redis_client, queue)) == 2)
        process.send_signal(signal.SIGTERM)
        if function == "note":  # a solo pool hears of it only when the call has ended
            until(lambda: len(waiting(redis_client, queue)) == 5, within=10)
            assert process.poll() is None
            assert not lines(path, "end"), "it gives back before it has finished what runs"
        gate.touch()
        assert process.wait(timeout=30) == 0
    assert lines(path, "end") == ["0"]
    assert [json.loads(raw)["headers"]["id"] for raw in waiting(redis_client, queue)] == ids[1:]
    with worker(FILE, broker_url, queue, name="second@test"):
        for task_id in ids:
            assert ended(redis_client, task_id).attempts == 1


def test_what_nobody_left_a_token_for_goes_first(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """As when a worker took the token and died: then the pop itself brings the oldest, and the script the next ones."""
    path, gate = tmp_path / "trace", tmp_path / "gate"
    (first,) = notes(redis_client, deployed, path, 1, gate=str(gate))
    others = notes(redis_client, deployed, path, 5)
    redis_client.delete(keys.wake("one"))
    with worker(FILE, broker_url, "one"):
        until(lambda: lines(path, "begin"))
        assert known(redis_client, first).state == "running"
        until(lambda: len(waiting(redis_client, "one")) == 2)
        assert not lines(path, "end")
        gate.touch()
        ends = [ended(redis_client, task_id) for task_id in (first, *others)]
    assert [end.attempts for end in ends] == [1] * 6
    assert lines(path, "end") == ["0", "0", "1", "2", "3", "4"]


def test_remote_control_works(broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    control = create_app(deployed.settings).control
    inspect = control.inspect(timeout=5, destination=["one@test"])
    with worker(FILE, broker_url, "one", name="one@test"):
        # What is said to all is heard by who listens, and a worker listens from the first turn of its loop on.
        until(lambda: control.ping(timeout=5) == [{"one@test": {"ok": "pong"}}])
        first, *others = notes(redis_client, deployed, path, 3, seconds=2.0)
        until(lambda: lines(path, "begin"))
        assert [call["id"] for call in inspect.active()["one@test"]] == [first]
        assert {call["id"] for call in inspect.reserved()["one@test"]} >= set(others)
        control.cancel_consumer("one", reply=True, destination=["one@test"])
        later = submit(redis_client, deployed, Call("note", {"path": str(path), "text": "later"}))
        for task_id in (first, *others):
            ended(redis_client, task_id)
        assert len(waiting(redis_client, "one")) == 1, "nothing is taken from a queue that is not consumed"
        control.add_consumer("one", reply=True, destination=["one@test"])
        assert ended(redis_client, later).state == "succeeded"


def test_what_is_no_message_stops_no_worker(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    name = keys.queue_list("one", 4)
    with worker(FILE, broker_url, "one"):
        redis_client.lpush(name, "not JSON", b"\xff\xfe", "[]", '{"headers": {}, "properties": {}}')
        done = [ended(redis_client, task_id) for task_id in notes(redis_client, deployed, tmp_path / "trace", 3)]
    assert [found.state for found in done] == ["succeeded"] * 3
    assert not waiting(redis_client, "one")


def test_the_stock_channel_works(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """And it is another: kombu's book of what is unacknowledged is kept there, and nowhere else."""
    path = tmp_path / "trace"
    with worker(FILE, broker_url, "stock"), worker(FILE, broker_url, "one"):
        lean = notes(redis_client, deployed, path, 3, seconds=0.5)
        until(lambda: lines(path, "begin"))
        assert redis_client.hlen("unacked") == 0
        ids = notes(redis_client, deployed, path, 3, "note_stock", seconds=0.5)
        until(lambda: redis_client.hlen("unacked"))
        done = [ended(redis_client, task_id) for task_id in lean + ids]
    assert [found.state for found in done] == ["succeeded"] * 6


def test_at_the_memory_limit_workers_go_on(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """Those that run, and one that starts; what ended is recorded, what is received is marked."""
    path = tmp_path / "trace"

    def limit(size: int) -> None:
        redis_client.config_set("maxmemory", size)

    with upkeep(redis_client, deployed), worker(FILE, broker_url, "one", name="first@test") as first:
        ids = notes(redis_client, deployed, path, 40, seconds=0.3)
        try:
            limit(1024 * 1024)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                redis_client.set("x", "y")
            with worker(FILE, broker_url, "one", name="second@test"):
                until(lambda: held(redis_client, "first@test") and held(redis_client, "second@test"))
                first.send_signal(signal.SIGTERM)
                done = [ended(redis_client, task_id, 60) for task_id in ids]
        finally:
            limit(0)
    assert [found.state for found in done] == ["succeeded"] * 40
    assert sorted(lines(path, "end")) == sorted(map(str, range(40)))
    assert {found.worker for found in done} == {"first@test", "second@test"}


def test_the_visibility_timeout_of_the_stock_channel_covers_the_longest_way(deployed: Deployment) -> None:
    """Four received, each for its whole timeout (a day where there is none: solo), and the longest pause of a retry."""
    options: Any = create_app(deployed.settings).conf.broker_transport_options
    assert options["visibility_timeout"] == 4 * 86_400 + 600 + 3600
