"""What taking and acknowledging costs: our lean channel, kombu's stock channel, and plain Celery, in the same run.

Run it with `make bench B=channel`. All three have one worker with two processes on the same broker and run a function
that does nothing. Latency is the time from a call to its answer, taken in turn; throughput is that of a full queue.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.common import report
from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.host.free_ports import Ports
from runtime.invocations.submit import Call, submit
from runtime.system import services

CALLS = 400
QUEUED = 600
ROUNDS = 9
_WAIT_SECONDS = 120.0

_YAML = """
version: 1
retention: {{count: 100}}
queues:
  lean: {{concurrency: 2, prefetch: {prefetch}}}
  stock: {{concurrency: 2, prefetch: {prefetch}, channel: stock}}
functions:
  lean: {{handler: noop.py:noop, queue: lean}}
  stock: {{handler: noop.py:noop, queue: stock}}
"""

_PEER = """
from celery import Celery
app = Celery("peer", broker={url!r}, backend={url!r})
app.conf.worker_prefetch_multiplier = {prefetch}
app.conf.task_ignore_result = False
@app.task(name="peer.noop")
def noop():
    return None
@app.task(name="peer.quiet", ignore_result=True)
def quiet():
    return None
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """Everything that is measured, running."""

    client: redis.Redis
    plain: redis.Redis
    """The database of plain Celery."""
    deployed: Deployment
    peer: Any
    workers: dict[str, subprocess.Popen[bytes]]


@contextlib.contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@contextlib.contextmanager
def peers(prefetch: int) -> Iterator[Peers]:
    """A broker as `tundish up` starts it, and three workers."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        service, url = services.valkey(root / "home", Ports(root / "home"), services.load_credentials(root / "home"))
        stack.enter_context(running(list(service.argv), dict(service.environ)))
        wait(service.ready)
        plain_url = url.rsplit("/", 1)[0] + "/1"
        (root / "noop.py").write_text("def noop() -> None:\n    return None\n")
        (root / "functions.yaml").write_text(_YAML.format(prefetch=prefetch))
        (root / "peer_app.py").write_text(_PEER.format(url=plain_url, prefetch=prefetch))
        # Celery would take CELERY_BROKER_URL for its own.
        plain_environ = {**os.environ, "PYTHONPATH": folder}
        environ = {**os.environ, "CELERY_BROKER_URL": url, "CELERY_LOG_LEVEL": "WARNING"}
        commands = {
            queue: ["-P", "-m", "runtime.worker", "-Q", queue, "-f", str(root / "functions.yaml")]
            for queue in ("lean", "stock")
        }
        commands["celery"] = ["-m", "celery", "-A", "peer_app", "worker", "-c", "2", "-l", "ERROR"]
        workers = {
            name: stack.enter_context(running([sys.executable, *words], plain_environ if name == "celery" else environ))
            for name, words in commands.items()
        }
        client, plain = connect(url), connect(plain_url)
        wait(lambda: len([process for process in presence.read(client) if process.ready]) == 2)
        sys.path.insert(0, folder)
        import peer_app  # type: ignore[import-not-found]

        deployed = load_deployment(load_settings(environ, file=root / "functions.yaml"), environ)
        peer_app.noop.delay().get(timeout=60)
        yield Peers(client, plain, deployed, peer_app, workers)
        sys.path.remove(folder)
        del sys.modules["peer_app"]


def wait(check: Callable[[], object]) -> None:
    give_up = time.monotonic() + _WAIT_SECONDS
    while not check():
        if time.monotonic() > give_up:
            raise SystemExit(f"nothing within {_WAIT_SECONDS:g} s")
        time.sleep(0.01)


def latencies(found: Peers) -> dict[str, list[float]]:
    """Seconds from a call to the word that it has ended, the three in turn."""
    times: dict[str, list[float]] = {"lean": [], "stock": [], "celery": []}
    ears: Any = found.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    ears.subscribe(keys.ENDED_CHANNEL)
    ears.get_message(timeout=1.0)
    for _ in range(CALLS):
        for name in ("lean", "stock"):
            began = time.perf_counter()
            task_id = submit(found.client, found.deployed, Call(name)).encode()
            while (heard := ears.get_message(timeout=_WAIT_SECONDS)) is None or heard["data"] != task_id:
                pass
            times[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        found.peer.noop.delay().get(timeout=_WAIT_SECONDS)
        times["celery"].append(time.perf_counter() - began)
    ears.close()
    return times


def throughputs(found: Peers) -> dict[str, list[float]]:
    """Calls a second from a full queue, the three in turn, each with nothing else to do."""
    rates: dict[str, list[float]] = {"lean": [], "stock": [], "celery": []}
    fills: dict[str, Callable[[], Callable[[], bool]]] = {
        "lean": lambda: ours(found, "lean"),
        "stock": lambda: ours(found, "stock"),
        "celery": lambda: theirs(found),
    }
    for _ in range(ROUNDS):
        for name, fill in fills.items():
            worker = found.workers[name]
            os.killpg(worker.pid, signal.SIGSTOP)  # its processes would go on by themselves with what they have
            done = fill()
            began = time.perf_counter()
            os.killpg(worker.pid, signal.SIGCONT)
            wait(done)
            rates[name].append(QUEUED / (time.perf_counter() - began))
    return rates


def ours(found: Peers, name: str) -> Callable[[], bool]:
    """Fill a queue; tells whether all of it has ended."""
    before = ended(found, name)
    for _ in range(QUEUED):
        submit(found.client, found.deployed, Call(name))
    return lambda: ended(found, name) - before >= QUEUED


def ended(found: Peers, name: str) -> int:
    return int(found.client.hget(keys.TOTALS, f"{name}:succeeded") or 0)


def theirs(found: Peers) -> Callable[[], bool]:
    for _ in range(QUEUED):
        found.peer.quiet.delay()
    return lambda: not found.plain.llen("celery") and not found.plain.hlen("unacked")


def main() -> None:
    for prefetch in (1, 8):
        with peers(prefetch) as found:
            times, rates = latencies(found), throughputs(found)
        for name in ("stock", "celery"):
            report(f"answer_lean_prefetch_{prefetch}", times["lean"], peer=times[name], peer_name=name)
            report(f"rate_lean_prefetch_{prefetch}", rates["lean"], "calls/s", peer=rates[name], peer_name=name)


if __name__ == "__main__":
    main()
