"""What ordinary Celery programs see and do: results of every invocation, revokes, apps of their own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import celery
import pytest
import redis
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.errors import TundishError
from runtime.invocations.cancel import cancel
from runtime.invocations.invocation import Invocation, read
from runtime.invocations.requeue import requeue
from runtime.invocations.submit import Call, submit
from runtime.worker.app import create_app
from runtime.worker.result_backend import exception_of
from tests.workers import SAMPLES, ended, environment, until, upkeep, worker

FILE = SAMPLES / "stopping" / "functions.yaml"


@pytest.fixture(scope="module")
def app(deployed: Deployment) -> celery.Celery:
    return create_app(deployed.settings)


@pytest.fixture(scope="module")
def prefork(broker_url: str, client: redis.Redis, deployed: Deployment) -> Iterator[Any]:
    with worker(FILE, broker_url, "prefork") as process, upkeep(client, deployed):
        yield process


def command(broker_url: str, *words: str) -> str:
    """What `celery -A runtime.celery_app …` says."""
    argv = [sys.executable, "-P", "-m", "celery", "-A", "runtime.celery_app", *words]
    environ = environment(broker_url, {"TUNDISH_FILE": str(FILE)})
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_state(client: redis.Redis, task_id: str, state: str) -> Invocation:
    def look() -> Invocation | None:
        found = read(client, task_id)
        return found if found and found.state == state else None

    return until(look)


@contextlib.contextmanager
def busy(client: redis.Redis, deployed: Deployment, folder: Path) -> Iterator[None]:
    """Both places of the worker are taken."""
    paths = [folder / f"busy{number}" for number in range(2)]
    ids = [submit(client, deployed, Call("polite", {"path": str(path)})) for path in paths]
    for path in paths:
        until(path.exists)
    yield
    for task_id in ids:
        cancel(client, deployed, task_id)
        ended(client, task_id)


# Results


def test_a_result_of_any_call_can_be_had(
    prefork: Any, client: redis.Redis, deployed: Deployment, app: celery.Celery
) -> None:
    found = app.AsyncResult(submit(client, deployed, Call("add", {"a": 20, "b": 22})))
    assert found.get(timeout=20) == 42
    assert (found.state, found.result, found.traceback, found.name) == ("SUCCESS", 42, None, "add")
    assert (found.kwargs, found.worker, found.queue, found.retries) == (
        {"a": 20, "b": 22},
        "prefork@test",
        "prefork",
        0,
    )
    assert found.date_done is not None
    assert not list(client.scan_iter(match="celery-task-meta-*")), "our own calls leave nothing of Celery's"


def test_a_failure_raises_what_it_was(
    prefork: Any, client: redis.Redis, deployed: Deployment, app: celery.Celery
) -> None:
    found = app.AsyncResult(submit(client, deployed, Call("fail", {"message": "no luck"})))
    with pytest.raises(ValueError, match="no luck"):
        found.get(timeout=20)
    assert found.state == "FAILURE"
    assert "stops.py" in found.traceback
    odd = app.AsyncResult(submit(client, deployed, Call("fail_oddly")))
    raised = odd.get(timeout=20, propagate=False)
    assert (type(raised).__name__, str(raised)) == ("OddError", "odd")


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("KeyError", "x", KeyError),
        ("SoftTimeLimitExceeded", "late", celery.exceptions.SoftTimeLimitExceeded),
        ("UnicodeDecodeError", "bad", Exception),
        ("SystemExit", "3", Exception),
        ("print", "no class", Exception),
        ("states", "a module", Exception),
    ],
)
def test_an_exception_is_made_without_importing_anything(name: str, message: str, expected: type[Exception]) -> None:
    made = exception_of(name, message)
    assert isinstance(made, expected)
    assert type(made).__name__ == name
    assert message in str(made)


def test_every_state_has_a_word(
    prefork: Any, client: redis.Redis, deployed: Deployment, app: celery.Celery, tmp_path: Path
) -> None:
    unknown = app.AsyncResult("nobody-knows-it")
    assert (unknown.state, unknown.exists()) == ("PENDING", False)
    waiting = app.AsyncResult(submit(client, deployed, Call("add", {"a": 1}, delay=3600)))
    assert (waiting.state, waiting.exists()) == ("PENDING", True)
    with pytest.raises(CeleryTimeout):
        waiting.get(timeout=0.1)
    running = app.AsyncResult(submit(client, deployed, Call("polite", {"path": str(tmp_path / "notes")})))
    until(lambda: running.state == "STARTED")
    assert running.info["hostname"] == "prefork@test"
    again = app.AsyncResult(submit(client, deployed, Call("fail_slowly")))
    until(lambda: again.state == "RETRY")
    assert isinstance(again.result, ValueError)
    for each in (waiting, running):
        cancel(client, deployed, each.id, "enough")
        with pytest.raises(TaskRevokedError, match="enough"):
            each.get(timeout=20)
        assert each.state == "REVOKED"


def test_a_program_that_waits_is_answered_as_soon_as_the_call_ends(
    prefork: Any, client: redis.Redis, deployed: Deployment, app: celery.Celery, tmp_path: Path
) -> None:
    found = app.AsyncResult(submit(client, deployed, Call("polite", {"path": str(tmp_path / "notes")})))
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(found.get(timeout=30, propagate=False)))
    thread.start()
    until((tmp_path / "notes").exists)
    cancel(client, deployed, found.id)
    thread.join(30)
    assert [type(answer) for answer in answers] == [TaskRevokedError]


def test_a_large_result_is_fetched_where_it_lies(client: redis.Redis, deployed: Deployment) -> None:
    class Shelf:
        def put(self, name: str, data: bytes) -> None: ...

        def get(self, name: str) -> bytes:
            return b'"from ' + name.encode() + b'"'

        def put_file(self, name: str, data: BinaryIO, size: int | None, content_type: str) -> int:
            return 0

        def fetch(self, name: str, file: BinaryIO) -> None: ...

    task_id = submit(client, deployed, Call("big", {"size": 1}, delay=3600))
    client.hset(
        keys.invocation(task_id), mapping={"state": "succeeded", "result_ref": f"results/{task_id}", "ended": 1}
    )
    assert create_app(deployed.settings, blobs=Shelf()).AsyncResult(task_id).get(timeout=5) == f"from results/{task_id}"
    with pytest.raises(TundishError, match="lies in the store"):
        create_app(deployed.settings).AsyncResult(task_id).get(timeout=5)
    client.delete(keys.invocation(task_id))


def test_the_entry_module_is_the_default_app(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str
) -> None:
    """For programs that pass no app about, Flower among them."""
    task_id = submit(client, deployed, Call("add", {"a": 6}))
    code = f"import runtime.celery_app; from celery.result import AsyncResult; print(AsyncResult('{task_id}').get())"
    # As after `eval "$(tundish env)"`: Celery would take this for the backend as it is.
    environ = environment(broker_url, {"TUNDISH_FILE": str(FILE), "CELERY_RESULT_BACKEND": broker_url})
    argv = [sys.executable, "-P", "-c", code]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "7.0", done.stderr


# Apps of their own


def test_a_plain_app_gets_the_result_of_what_it_sent(prefork: Any, client: redis.Redis, broker_url: str) -> None:
    plain = celery.Celery("theirs", broker=broker_url, backend=broker_url, set_as_current=False)
    sent = plain.send_task("add", kwargs={"a": 1}, queue="prefork")
    assert sent.get(timeout=20) == 2
    found = read(client, sent.id)
    assert found is not None
    assert (found.state, found.trigger) == ("succeeded", "celery")


def test_a_plain_app_hears_of_a_failure(prefork: Any, broker_url: str) -> None:
    plain = celery.Celery("theirs", broker=broker_url, backend=broker_url, set_as_current=False)
    with pytest.raises(ValueError, match="no luck"):
        plain.send_task("fail", queue="prefork").get(timeout=20)


@pytest.mark.parametrize("terminate", [True, False])
def test_a_plain_app_hears_of_a_cancel(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str, tmp_path: Path, terminate: bool
) -> None:
    plain = celery.Celery("theirs", broker=broker_url, backend=broker_url, set_as_current=False)
    path = tmp_path / "notes"
    sent = plain.send_task("sleep", kwargs={"path": str(path)}, queue="prefork")
    until(path.exists)
    if terminate:
        sent.revoke(terminate=True)
    else:
        cancel(client, deployed, sent.id)
    with pytest.raises(TaskRevokedError):
        sent.get(timeout=20)
    assert ended(client, sent.id).state == "cancelled"


def test_celery_call_and_result(prefork: Any, broker_url: str) -> None:
    task_id = command(broker_url, "call", "add", "--kwargs", '{"a": 4, "b": 5}').strip()
    until(lambda: "9" in command(broker_url, "result", task_id))


# Revokes


def test_what_waits_in_the_list_is_revoked(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str, tmp_path: Path
) -> None:
    with busy(client, deployed, tmp_path):
        ids = [submit(client, deployed, Call("sleep", {"path": str(tmp_path / "not run")})) for _ in range(6)]
        command(broker_url, "control", "revoke", *ids)
        for task_id in ids:
            found = ended(client, task_id)
            assert (found.state, found.stop, found.attempts) == ("cancelled", "revoked", 0)
    ended(client, submit(client, deployed, Call("add", {"a": 1})))
    assert not (tmp_path / "not run").exists()


def test_what_waits_for_its_retry_is_revoked(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str
) -> None:
    task_id = submit(client, deployed, Call("fail_slowly"))
    in_state(client, task_id, "retrying")
    command(broker_url, "control", "revoke", task_id)
    assert ended(client, task_id, 10).state == "cancelled"
    assert client.zscore(keys.DUE, task_id) is None


def test_what_runs_goes_on_unless_terminate_is_said(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    task_id = submit(client, deployed, Call("retry_while_slow", {"path": str(path)}))
    until(path.exists)
    command(broker_url, "control", "revoke", task_id)
    found = read(client, task_id)
    assert found is not None
    assert found.state == "running"
    Path(f"{path}.go").touch()
    found = ended(client, task_id)
    assert (found.state, found.attempts) == ("cancelled", 1), "it failed, and is not tried again"


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_what_runs_is_terminated(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str, tmp_path: Path, signal: str
) -> None:
    path = tmp_path / "notes"
    task_id = submit(client, deployed, Call("sleep", {"path": str(path)}))
    until(path.exists)
    command(broker_url, "control", "terminate", signal, task_id)
    found = ended(client, task_id, 10)
    assert (found.state, found.stop) == ("cancelled", "revoked")
    assert path.read_text().splitlines() == (["began", "finally"] if signal == "SIGTERM" else ["began"])


def test_a_revoked_call_can_be_started_anew(
    prefork: Any, client: redis.Redis, deployed: Deployment, broker_url: str
) -> None:
    """The record says whether it may run, not the memory of a worker."""
    task_id = submit(client, deployed, Call("add", {"a": 1}, delay=3600))
    command(broker_url, "control", "revoke", task_id)
    assert ended(client, task_id).state == "cancelled"
    assert requeue(client, deployed, task_id, reset=True)
    in_state(client, task_id, "succeeded")


def test_a_message_of_another_program_is_revoked_before_it_was_received(
    prefork: Any, client: redis.Redis, deployed: Deployment, app: celery.Celery, tmp_path: Path
) -> None:
    plain = celery.Celery("theirs", broker=deployed.settings.broker_url, backend=deployed.settings.broker_url)
    with busy(client, deployed, tmp_path):
        ahead = [submit(client, deployed, Call("add", {"a": 1})) for _ in range(4)]
        sent = plain.send_task("sleep", kwargs={"path": str(tmp_path / "not run")}, queue="prefork")
        app.control.revoke(sent.id, reply=True)
    for task_id in ahead:
        ended(client, task_id)
    with pytest.raises(TaskRevokedError):
        sent.get(timeout=20)
    assert not (tmp_path / "not run").exists()
    until(lambda: app.AsyncResult(sent.id).state == "REVOKED")  # our record is written beside Celery's
