"""Nothing in Redis grows without bound: the broker's memory before, during and after 100,000 invocations.

Run it with `make bench B=retention`. The peer is plain Celery with its result backend, the same number of tasks on the
same broker in the same run. Both are driven in this process, message and record as in life: submitted, taken from the
queue's list, ended. What is looked at is what they leave behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import redis

from bench.keyspace import families, used_memory
from runtime import keys
from runtime.attempts.attempt import Attempt, claim, finish, repeat
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.config.settings import Retention
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.host.free_ports import Ports
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Call, Idempotency, new_id, submit
from runtime.system import services
from runtime.worker.reaper import Upkeep
from tests.conftest import running

COUNT = 100_000
THROUGH_A_WORKER = 3_000
SHORT = "{succeeded: 10s, failed: 10s, idempotency: 10s, count: 10000}"
_YAML = """\
version: 1
queues: {{q: {{concurrency: 2}}}}
defaults: {{queue: q, retries: {{max: 1, backoff: 1ms}}}}
retention: {retention}
functions:
  one: {{handler: code.py:one, on_success: two}}
  two: {{handler: code.py:one}}
  say: {{handler: code.py:say}}
"""
_CODE = "def one(n=0):\n    return n\n\ndef say(n):\n    print('number', n)\n    return n\n"


def project(folder: Path, url: str, retention: str) -> Deployment:
    """A project with this retention, and its file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "code.py").write_text(_CODE)
    file = folder / "functions.yaml"
    file.write_text(_YAML.format(retention=retention))
    environ = {**os.environ, "CELERY_BROKER_URL": url}
    return load_deployment(load_settings(environ, file=file), environ)


def invoke(client: redis.Redis, deployment: Deployment, number: int) -> None:
    """One invocation. Every kind comes up: idempotency keys, children, expiry, retries, failures, chains."""
    unique = sha256(str(number).encode()).hexdigest()
    call = Call(
        "one",
        {"n": number},
        idempotency=Idempotency(unique, unique) if number % 4 == 0 else None,
        root=new_id() if number % 4 == 1 else None,
        expires=60.0 if number % 4 == 2 else None,
        chain=number % 100 == 0,
    )
    submit(client, deployment, call)
    work(client, deployment)


def work(client: redis.Redis, deployment: Deployment) -> bool:
    """Take the oldest message and end its invocation, or this attempt of it. False: there was none."""
    raw: Any = client.rpop(keys.queue_list("q", keys.transport_priority(keys.DEFAULT_PRIORITY)))
    if raw is None:
        return False
    headers, retention = json.loads(raw)["headers"], deployment.settings.project.retention
    spec = deployment.find(headers["task"]).spec
    attempt = claim(client, headers["id"], "bench@host", spec, retention)
    assert isinstance(attempt, Attempt), attempt
    number = attempt.arguments().get("n", 0)
    if number % 50 == 3 and attempt.number == 1:  # the upkeep puts it into the queue again
        repeat(client, spec, attempt, Decision("retrying", 0.001), {"summary": "again"}, retention)
    elif number % 50 == 4:
        finish(client, spec, attempt, "dead", {"error": json.dumps({"type": "E", "summary": "no"})}, retention)
    else:
        finish(client, spec, attempt, "succeeded", {"result": str(number)}, retention)
    return True


@contextmanager
def upkeep(url: str, deployment: Deployment) -> Iterator[None]:
    stop, client = threading.Event(), connect(url)
    thread = threading.Thread(target=Upkeep(client, deployment).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


def forgotten(client: redis.Redis, deployment: Deployment | None = None) -> None:
    """Wait until nothing is left of any invocation (or of any task of the peer)."""
    patterns = [keys.invocation("*"), keys.idem("*"), "celery-task-meta-*"]
    while any(next(iter(client.scan_iter(pattern, count=10_000)), None) for pattern in patterns):
        while deployment and work(client, deployment):
            pass
        time.sleep(0.2)


def emptied(client: redis.Redis, deployment: Deployment) -> None:
    """End what retries and chains still put into the queue."""
    while work(client, deployment) or client.exists(keys.DUE, keys.CHAINS, keys.chain_active("two")):
        time.sleep(0.01)


@contextmanager
def quiet_worker(file: Path, url: str) -> Iterator[None]:
    """A real worker of the queue that says nothing."""
    environ = {**os.environ, "CELERY_BROKER_URL": url, "CELERY_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-P", "-m", "runtime.worker", "-Q", "q", "-f", str(file)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def measured(name: str, client: redis.Redis, do: Callable[[int], None], settle: Callable[[], None]) -> None:
    """Run `do` for every number and print the memory before, at the peak and after `settle`."""
    before, peak, began = used_memory(client), 0, time.perf_counter()
    for number in range(COUNT):
        do(number)
        if number % 500 == 0:
            peak = max(peak, used_memory(client))
    seconds = time.perf_counter() - began
    settle()
    line = {
        "metric": f"memory_{name}",
        "n": COUNT,
        "unit": "MiB",
        "before": _mib(before),
        "peak": _mib(max(peak, used_memory(client))),
        "after": _mib(used_memory(client)),
        "keys_after": client.dbsize(),
        "seconds": round(seconds, 1),
        "families": families(client),
    }
    print(json.dumps(line), flush=True)


def _mib(size: int) -> float:
    return round(size / 2**20, 2)


def ours(url: str, folder: Path, name: str, retention: str, *, settles: bool) -> None:
    client = connect(url)
    client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
    deployment = project(folder / name, url, retention)
    with upkeep(url, deployment):
        settle = partial(forgotten if settles else emptied, client, deployment)
        measured(name, client, partial(invoke, client, deployment), settle)
        if settles:
            with quiet_worker(folder / name / "functions.yaml", url):
                for number in range(THROUGH_A_WORKER):
                    submit(client, deployment, Call("say", {"n": number}))
                forgotten(client)
            told = {"metric": "memory_after_a_worker", "n": THROUGH_A_WORKER, "after": _mib(used_memory(client))}
            print(json.dumps(told | {"families": families(client)}), flush=True)


def celery(url: str, name: str, expires: int) -> None:
    """Plain Celery: `apply_async`, the message taken from the list, the result stored as its worker stores it."""
    from celery import Celery

    client = connect(url)
    client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
    app = Celery("peer", broker=url, backend=url, set_as_current=False)
    app.conf.result_expires = expires

    def do(number: int) -> None:
        task_id = new_id()
        app.send_task("peer.one", kwargs={"n": number}, task_id=task_id)
        client.rpop("celery")
        app.backend.mark_as_done(task_id, number)

    measured(name, client, do, partial(forgotten, client) if expires < 60 else lambda: None)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service, url = services.valkey(folder, Ports(folder), services.load_credentials(folder), durability="fast")
        with running(service):
            ours(url, folder, "ours_kept_10_s", SHORT, settles=True)
            celery(url, "celery_kept_10_s", 10)
            ours(url, folder, "ours_as_shipped", json.dumps(Retention().model_dump()), settles=False)
            celery(url, "celery_as_shipped", 86_400)


if __name__ == "__main__":
    main()
