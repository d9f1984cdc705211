"""Ends that the worker's parent writes: in one round trip, once, whatever becomes of the connection."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.asynchronous import Hub
from redis.connection import Connection

from runtime import keys
from runtime.attempts.attempt import Attempt, Written, claim, packed_end
from runtime.attempts.ending import MOST_BYTES, Ending
from runtime.broker.connection import connect
from runtime.config.settings import Function, Project, Queue, Retention, Settings
from runtime.deployment.deployment import Deployment, build_deployment
from runtime.host.free_ports import Ports
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit
from runtime.system.services import load_credentials, valkey
from runtime.worker.endings import Endings
from tests.channeling import FILE, lines, notes, waiting
from tests.conftest import running
from tests.workers import deployment, ended, known, until, upkeep, worker

WORKER = "q@test"


@pytest.fixture
def house(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> Deployment:
    functions = {"plain": Function(name="plain", handler="x:y", queue="q")}
    project = Project(queues={"q": Queue()}, functions=functions)
    settings = Settings(project=project, file=tmp_path / "f.yaml", home=tmp_path, broker_url=broker_url)
    return build_deployment(settings, {})


class Parent:
    """A worker's parent process, as far as ends are concerned: a real event loop, which turns when it is told to."""

    def __init__(self, client: redis.Redis) -> None:
        self.heard: list[tuple[str, str]] = []
        self.hub = Hub()
        self.endings = Endings(client, self._hear)

    def turn(self, until: Callable[[], bool]) -> None:
        loop, give_up = self.hub.create_loop(), time.monotonic() + 30
        while not until():
            assert time.monotonic() < give_up, "nothing after 30 s"
            self.hub.call_later(0.05, lambda: None)
            next(loop)

    def _hear(self, ending: Ending, written: Written) -> None:
        self.heard.append((ending.id, written.state))


@pytest.fixture
def parent(redis_client: redis.Redis) -> Iterator[Parent]:
    made = Parent(redis_client)
    made.endings.open(made.hub)
    yield made
    made.endings.close()
    made.hub.close()


def done(client: redis.Redis, house: Deployment, result: bytes = b"1") -> Ending:
    """A call that has been run, and its end, which is not written."""
    task_id = submit(client, house, Call("plain"))
    found = claim(client, task_id, WORKER)
    assert isinstance(found, Attempt)
    command = packed_end(house.find("plain").spec, found, {"result": result}, Retention())
    return Ending(task_id, "plain", command, 0.5, {}, {})


def test_those_of_one_turn_go_together(
    redis_client: redis.Redis, house: Deployment, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [done(redis_client, house, b"%d" % number) for number in range(5)]
    parent.endings.put(done(redis_client, house))  # it opens the connection
    parent.turn(lambda: not parent.endings.ids())
    send: Any = Connection.send_packed_command
    sent = list[Any]()

    def seen(self: Connection, command: Any, check_health: bool = True) -> None:
        if not check_health:  # the tests' own client checks
            sent.append(command)
        send(self, command, check_health)

    monkeypatch.setattr(Connection, "send_packed_command", seen)
    for ending in made:
        parent.endings.put(ending)
    assert parent.endings.ids() == [ending.id for ending in made], "until they are written their leases are renewed"
    assert [known(redis_client, ending.id).state for ending in made] == ["running"] * 5
    parent.turn(lambda: not parent.endings.ids())
    assert parent.heard[1:] == [(ending.id, "succeeded") for ending in made]
    assert [known(redis_client, ending.id).result_json for ending in made] == [b"0", b"1", b"2", b"3", b"4"]
    assert sent == [[ending.command for ending in made]]


def test_a_stop_that_was_asked_for_wins(redis_client: redis.Redis, house: Deployment, parent: Parent) -> None:
    stopped, overtaken = done(redis_client, house), done(redis_client, house)
    cancel(redis_client, house, stopped.id)
    redis_client.hincrby(keys.invocation(overtaken.id), "fence", 1)
    parent.endings.put(stopped)
    parent.endings.put(overtaken)
    parent.turn(lambda: len(parent.heard) == 2)
    assert parent.heard == [(stopped.id, "cancelled"), (overtaken.id, "")]
    assert known(redis_client, overtaken.id).state == "running", "its new holder writes its end"


def test_a_broker_without_its_scripts(redis_client: redis.Redis, house: Deployment, parent: Parent) -> None:
    parent.endings.put(done(redis_client, house))
    parent.turn(lambda: len(parent.heard) == 1)
    two = [done(redis_client, house), done(redis_client, house)]
    redis_client.script_flush()
    for ending in two:
        parent.endings.put(ending)
    parent.turn(lambda: len(parent.heard) == 3)
    assert [known(redis_client, ending.id).state for ending in two] == ["succeeded"] * 2


def test_a_connection_that_is_killed(redis_client: redis.Redis, house: Deployment, parent: Parent) -> None:
    """While it lies idle, and over and over while ends come."""
    for _ in range(20):
        ending = done(redis_client, house)
        parent.endings.put(ending)
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
        parent.turn(lambda: not parent.endings.ids())
        assert known(redis_client, ending.id).state == "succeeded"
        redis_client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]


def test_idle_times_are_no_outage(
    redis_client: redis.Redis, house: Deployment, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection was closed long ago; the next one fails at its first try."""
    kill = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    parent.endings.put(done(redis_client, house))
    parent.turn(lambda: not parent.endings.ids())
    redis_client.execute_command(*kill)  # type: ignore[no-untyped-call]
    until = time.monotonic() + 0.3
    parent.turn(lambda: time.monotonic() > until)
    monkeypatch.setattr("runtime.worker.endings.OUTAGE_SECONDS", 0.1)
    tries, connect = list[Endings](), Endings._connect

    def failing(self: Endings) -> None:
        tries.append(self)
        if len(tries) == 1:
            raise redis.ConnectionError("refused")
        connect(self)

    monkeypatch.setattr(Endings, "_connect", failing)
    ending = done(redis_client, house)
    parent.endings.put(ending)
    parent.turn(lambda: not parent.endings.ids())
    assert len(tries) == 2
    assert known(redis_client, ending.id).state == "succeeded"


def test_an_answer_that_is_lost(redis_client: redis.Redis, house: Deployment, parent: Parent) -> None:
    """It was written. The second time it is fenced off, and nothing is written twice."""
    ending = done(redis_client, house)
    redis_client.execute_command(*_words(ending.command))  # type: ignore[no-untyped-call]
    parent.endings.put(ending)
    parent.turn(lambda: bool(parent.heard))
    assert parent.heard == [(ending.id, "")]
    assert redis_client.hget(keys.TOTALS, "plain:succeeded") == b"1"


def _words(command: bytes) -> list[bytes]:
    import hiredis

    reader = hiredis.Reader()
    reader.feed(command)
    found: list[bytes] = reader.gets()
    return found


def test_a_worker_that_stops_writes_what_it_has(redis_client: redis.Redis, house: Deployment, parent: Parent) -> None:
    waits, late = done(redis_client, house), done(redis_client, house)
    parent.endings.put(waits)
    parent.endings.close()
    assert known(redis_client, waits.id).state == "succeeded"
    parent.endings.put(late)
    assert known(redis_client, late.id).state == "succeeded", "the event loop does not turn any more"
    again = done(redis_client, house)
    parent.endings.open(parent.hub)
    parent.endings.put(again)
    assert known(redis_client, again.id).state == "running"
    parent.turn(lambda: not parent.endings.ids())
    assert [found for _, found in parent.heard] == ["succeeded"] * 3


def test_a_broker_that_is_away(tmp_path: Path, house: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends wait for it, in their order; after some minutes they are given up, for their leases are over."""
    home = tmp_path / "home"
    service, url = valkey(home, Ports(home), load_credentials(home))
    with running(service):
        client = connect(url)
        away = Parent(client)
        away.endings.open(away.hub)
        first = [done(client, house) for _ in range(3)]
        away.endings.put(first[0])
        away.turn(lambda: not away.endings.ids())
    for ending in first[1:]:
        away.endings.put(ending)
    until = time.monotonic() + 1
    away.turn(lambda: time.monotonic() > until)
    assert away.endings.ids() == [ending.id for ending in first[1:]]
    with running(service):
        away.turn(lambda: not away.endings.ids())
        assert [known(client, ending.id).state for ending in first] == ["succeeded"] * 3
        last = done(client, house)
    monkeypatch.setattr("runtime.worker.endings.OUTAGE_SECONDS", 0.5)
    away.endings.put(last)
    away.turn(lambda: not away.endings.ids())
    assert [found for _, found in away.heard] == ["succeeded"] * 3
    away.endings.close()
    away.hub.close()


def test_a_large_end_is_written_where_it_was_made(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    with worker(FILE, broker_url, "one"):
        texts = ["x", "y" * (MOST_BYTES + 1), "z" * (MOST_BYTES // 2)]
        calls = [Call("note", {"path": str(tmp_path / "trace"), "text": text}) for text in texts]
        sent = [submit(redis_client, deployed, call) for call in calls]
        found = [ended(redis_client, task_id) for task_id in sent]
    assert [json.loads(one.result_json or b"") for one in found] == texts


def _begun_ahead(client: redis.Redis, deployed: Deployment, group: int, path: Path, gate: Path) -> list[str]:
    """Calls that have begun behind one that waits for `gate`, in a worker whose calls were quick until then."""

    def look() -> list[str] | None:
        """They begin where the worker takes them as soon as what they wait behind has begun: they lie there already."""
        for task_id in notes(client, deployed, path, 60):  # so many that slower ones are forgotten
            assert ended(client, task_id).state == "succeeded"
        path.unlink()
        os.killpg(group, signal.SIGSTOP)
        first, *others = notes(client, deployed, path, 4, gate=str(gate))
        os.killpg(group, signal.SIGCONT)
        until(lambda: lines(path, "begin"))
        until(lambda: not waiting(client, "one"))
        if all(known(client, task_id).state == "running" for task_id in others):
            return [first, *others]
        gate.touch()
        for task_id in (first, *others):
            ended(client, task_id)
        gate.unlink()
        return None

    return until(look, 60)


def test_quick_calls_begin_ahead_and_go_back_when_the_worker_stops(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """As if they had never begun: in their order, at once, and in their first attempt."""
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "one", name="first@test") as first:
            sent = _begun_ahead(redis_client, deployed, first.pid, path, gate)
            first.send_signal(signal.SIGTERM)
            until(lambda: all(known(redis_client, task_id).state == "queued" for task_id in sent[1:]))
            assert lines(path, "begin") == ["0"]
            gate.touch()
            first.wait(30)
        assert known(redis_client, sent[0]).state == "succeeded", "what ran was finished, and its end written"
        with worker(FILE, broker_url, "one", name="second@test"):
            found = [ended(redis_client, task_id) for task_id in sent]
    assert [(one.state, one.attempts) for one in found] == [("succeeded", 1)] * 4
    assert lines(path, "begin") == ["0", "1", "2", "3"]


def test_what_had_begun_ahead_and_is_cancelled_never_runs(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with worker(FILE, broker_url, "one") as first:
        sent = _begun_ahead(redis_client, deployed, first.pid, path, gate)
        cancel(redis_client, deployed, sent[2])
        time.sleep(1)  # the worker hears of it while nothing else happens
        gate.touch()
        found = [ended(redis_client, task_id) for task_id in sent]
    assert [one.state for one in found] == ["succeeded", "succeeded", "cancelled", "succeeded"]
    assert lines(path, "begin") == ["0", "1", "3"]


def test_what_had_begun_ahead_of_a_killed_worker_runs_elsewhere(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "one", name="first@test") as first:
            sent = _begun_ahead(redis_client, deployed, first.pid, path, gate)
            os.killpg(first.pid, signal.SIGKILL)
        gate.touch()
        with worker(FILE, broker_url, "one", name="second@test"):
            found = [ended(redis_client, task_id, 60) for task_id in sent]
    assert [one.state for one in found] == ["succeeded"] * 4
    assert sorted(lines(path, "end")) == ["0", "1", "2", "3"]


def test_nothing_begins_ahead_behind_slow_calls(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """It would say that it runs, and would not."""
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with worker(FILE, broker_url, "one"):
        for task_id in notes(redis_client, deployed, path, 2, seconds=0.1):
            assert ended(redis_client, task_id).state == "succeeded"
        for _ in range(3):
            path.unlink()
            first, *others = notes(redis_client, deployed, path, 4, gate=str(gate))
            until(lambda: lines(path, "begin"))
            assert {known(redis_client, task_id).state for task_id in others} == {"queued"}
            gate.touch()
            assert [ended(redis_client, task_id).state for task_id in (first, *others)] == ["succeeded"] * 4
            gate.unlink()
            for task_id in notes(redis_client, deployed, path, 1, seconds=0.1):
                ended(redis_client, task_id)


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "with-another"])
def test_a_worker_that_stops_while_its_broker_is_away(tmp_path: Path, count: int) -> None:
    """It waits with the end of what it has run, and does not leave it to another attempt: whoever is to write it."""
    home, path, gate = tmp_path / "home", tmp_path / "trace", tmp_path / "gate"
    service, url = valkey(home, Ports(home), load_credentials(home))
    made, client = deployment(FILE, url), connect(url)
    with contextlib.ExitStack() as stack:
        with running(service):
            task_id, *_ = notes(client, made, path, count, gate=str(gate))
            process = stack.enter_context(worker(FILE, url, "one"))
            until(lambda: lines(path, "begin"))
        time.sleep(2)  # the worker is between two tries to reach it, or about to be
        process.send_signal(signal.SIGTERM)
        gate.touch()
        until(lambda: lines(path, "end"))
        with running(service):
            assert ended(client, task_id).attempts == 1
            process.wait(30)
    assert lines(path, "begin") == ["0"]


def test_a_call_that_ended_as_its_broker_went_away(tmp_path: Path) -> None:
    """The worker keeps its end, and writes it when the broker is back: it does not run twice."""
    home = tmp_path / "home"
    service, url = valkey(home, Ports(home), load_credentials(home))
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with running(service):
        made = deployment(FILE, url)
        client = connect(url)
        pid = client.info("server")["process_id"]
        with worker(FILE, url, "one"):
            (task_id,) = notes(client, made, path, 1, gate=str(gate))
            until(lambda: lines(path, "begin"))
            os.kill(pid, signal.SIGSTOP)
            gate.touch()
            until(lambda: lines(path, "end"))
            time.sleep(0.3)
            os.kill(pid, signal.SIGCONT)
            assert ended(client, task_id).attempts == 1
    assert lines(path, "begin") == ["0"]


@pytest.mark.parametrize("count", [1, 2])
def test_who_writes_the_end(broker_url: str, redis_client: redis.Redis, tmp_path: Path, count: int) -> None:
    """That of a call that is alone the process that runs it, those of several their parent: it is stopped meanwhile."""
    file, gate = tmp_path / "functions.yaml", tmp_path / "gate"
    file.write_text("version: 1\nqueues: {default: {concurrency: 2}}\nfunctions:\n  work: {handler: code.py:work}\n")
    (tmp_path / "code.py").write_text(
        "import os, time\nfrom pathlib import Path\n\n"
        "def work(folder: str, name: str) -> None:\n"
        "    Path(folder, name).with_suffix('.new').write_text(str(os.getppid()))\n"
        "    Path(folder, name).with_suffix('.new').rename(Path(folder, name))\n"
        "    while not Path(folder, 'gate').exists():\n"
        "        time.sleep(0.01)\n"
        "    Path(folder, name).unlink()\n"
    )
    made, names = deployment(file, broker_url), [f"call{number}" for number in range(count)]
    sent = [submit(redis_client, made, Call("work", {"folder": str(tmp_path), "name": name})) for name in names]
    with worker(file, broker_url, "default"):
        until(lambda: all((tmp_path / name).exists() for name in names))
        parent = int((tmp_path / names[0]).read_text())
        os.kill(parent, signal.SIGSTOP)
        try:
            gate.touch()
            until(lambda: not any((tmp_path / name).exists() for name in names))
            if count == 1:
                assert ended(redis_client, sent[0]).state == "succeeded"
            else:
                assert [known(redis_client, task_id).state for task_id in sent] == ["running"] * count
        finally:
            os.kill(parent, signal.SIGCONT)
        assert [ended(redis_client, task_id).state for task_id in sent] == ["succeeded"] * count


def test_code_that_has_a_celery_app_of_its_own(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nfunctions:\n  work: {handler: code.py:work}\n")
    (tmp_path / "code.py").write_text(
        "from celery import Celery\napp = Celery('mine')\ndef work() -> str:\n    return app.main\n"
    )
    made = deployment(file, broker_url)
    with worker(file, broker_url, "default"):
        assert ended(redis_client, submit(redis_client, made, Call("work"))).result_json == b'"mine"'


def test_code_that_listens_to_celery_hears_of_every_call(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nfunctions:\n  work: {handler: code.py:work}\n")
    (tmp_path / "code.py").write_text(
        "from pathlib import Path\nfrom celery import signals\n\n"
        "def work() -> None: ...\n\n"
        "@signals.task_postrun.connect\ndef heard(task_id: str, **_: object) -> None:\n"
        "    Path(__file__).with_name(task_id).touch()\n"
    )
    made = deployment(file, broker_url)
    with worker(file, broker_url, "default"):
        task_id = submit(redis_client, made, Call("work"))
        assert ended(redis_client, task_id).state == "succeeded"
        until((tmp_path / task_id).exists)


def test_a_worker_that_stops_as_it_takes_a_call(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """Its process may not have been heard of yet: its end is written all the same, and the worker does not linger."""
    path, gate = tmp_path / "trace", tmp_path / "gate"
    with upkeep(redis_client, deployed):
        for _ in range(4):
            with worker(FILE, broker_url, "one") as process:
                (task_id,) = notes(redis_client, deployed, path, 1, gate=str(gate))
                until(lambda: lines(path, "begin"))
                process.send_signal(signal.SIGTERM)
                gate.touch()
                process.wait(25)
            found = known(redis_client, task_id)
            assert (found.state, found.attempts) == ("succeeded", 1)
            assert lines(path, "begin") == ["0"]
            gate.unlink()
            path.unlink()


@pytest.mark.parametrize(
    "more", ["queues: {default: {pool: threads, prefetch: 4}}", "queues: {default: {prefetch: 4}}\nbroker: {pool: 20}"]
)
def test_where_each_process_writes_its_own(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path, more: str
) -> None:
    """A worker that stops finishes what runs, and gives back what does not, as it did."""
    file, path, gate = tmp_path / "functions.yaml", tmp_path / "trace", tmp_path / "gate"
    shutil.copy(FILE.with_name("notes.py"), tmp_path)
    file.write_text(f"version: 1\n{more}\nfunctions:\n  note: {{handler: notes.py:note}}\n")
    made = deployment(file, broker_url)
    with upkeep(redis_client, made):
        with worker(file, broker_url, "default", name="first@test") as first:
            for task_id in notes(redis_client, made, path, 20):
                assert ended(redis_client, task_id).state == "succeeded"
            path.unlink()
            sent = notes(redis_client, made, path, 3, gate=str(gate))
            until(lambda: lines(path, "begin"))
            first.send_signal(signal.SIGTERM)
            until(lambda: all(known(redis_client, task_id).state == "queued" for task_id in sent[1:]))
            gate.touch()
            first.wait(30)
        assert known(redis_client, sent[0]).state == "succeeded"
        with worker(file, broker_url, "default", name="second@test"):
            found = [ended(redis_client, task_id) for task_id in sent]
    assert [(one.state, one.attempts) for one in found] == [("succeeded", 1)] * 3
    assert lines(path, "begin") == ["0", "1", "2"]
