"""The whole system as one person sees it: time to ready, file dropped → searchable, HTTP call → result.

Run it with `make bench B=system`. The peer of the HTTP call is plain Celery's `delay().get()` of a function that does
nothing, on the same broker, in the same run, the two taken in turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from bench.common import System, report, system

DROPS = 30
CALLS = 300
_WAIT_SECONDS = 60.0

_PEER = """
import time
from celery import Celery
app = Celery("peer", broker={url!r}, backend={url!r})
@app.task(name="peer.noop")
def noop():
    return None
@app.task(name="peer.clock")
def clock():
    return time.time()
"""


def drops(found: System, http: urllib3.PoolManager) -> Iterator[float]:
    """Seconds from the PUT of a small text, straight to the store's own door, until a search finds it."""
    for _ in range(DROPS):
        word = uuid.uuid4().hex
        key = f"bench/{word}.txt"
        body = f"The harbour log of {word}: a grey barge brought copper and salt.".encode()
        started = time.perf_counter()
        http.request("PUT", f"{found.url}/buckets/documents/{key}", body=body)
        while True:
            answer = http.request("GET", f"{found.url}/search", fields={"q": f"harbour log of {word}", "k": "100"})
            if answer.status == 200 and any(hit["key"] == key for hit in json.loads(answer.data)["results"]):
                break
            if time.perf_counter() - started > _WAIT_SECONDS:
                raise SystemExit(f"{key} did not become searchable within {_WAIT_SECONDS} s")
            time.sleep(0.005)
        yield time.perf_counter() - started


@contextlib.contextmanager
def plain_celery(found: System) -> Iterator[Any]:
    """A worker of plain Celery with two children on database 1 of the same broker; gives its tasks, noop and clock."""
    broker = found.environ["CELERY_BROKER_URL"].rsplit("/", 1)[0] + "/1"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "peer_app.py").write_text(_PEER.format(url=broker))
        environ = {**os.environ, "PYTHONPATH": folder}
        command = [sys.executable, "-m", "celery", "-A", "peer_app", "worker", "-c", "2", "-l", "ERROR"]
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.DEVNULL)
        sys.path.insert(0, folder)
        try:
            import peer_app  # type: ignore[import-not-found]

            peer_app.noop.delay().get(timeout=60)
            yield peer_app
        finally:
            sys.path.remove(folder)
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def calls(found: System, http: urllib3.PoolManager) -> tuple[list[float], list[float]]:
    """Seconds of `POST /function/noop` and of plain Celery's `delay().get()`, in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    with plain_celery(found) as peer:
        for _ in range(CALLS):
            started = time.perf_counter()
            answer = http.request(
                "POST", f"{found.url}/function/noop", body=b"{}", headers={"Content-Type": "application/json"}
            )
            ours.append(time.perf_counter() - started)
            if answer.status != 200:
                raise SystemExit(f"noop answered {answer.status}: {answer.data!r}")
            started = time.perf_counter()
            peer.noop.delay().get(timeout=60)
            theirs.append(time.perf_counter() - started)
    return ours, theirs


def main() -> None:
    http = urllib3.PoolManager(retries=False, timeout=60.0)
    with system() as found:
        report("up_to_ready", [found.seconds_to_ready])
        times = list(drops(found, http))
        report("first_drop_to_searchable", times[:1])
        report("drop_to_searchable", times[1:])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "noop.py").write_text("def noop() -> None:\n    return None\n")
        file = Path(folder, "functions.yaml")
        file.write_text(
            "version: 1\nqueues: {q: {concurrency: 2}}\n"
            "functions: {noop: {handler: noop.py:noop, queue: q, triggers: [{http: {}}]}}\n"
        )
        with system(file) as found:
            report("up_to_ready_without_documents", [found.seconds_to_ready])
            ours, theirs = calls(found, http)
            report("sync_call", ours, peer=theirs, peer_name="celery delay().get()")


if __name__ == "__main__":
    main()
