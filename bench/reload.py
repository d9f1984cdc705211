"""A file is saved: how long until a call runs the new code. `python -m bench.reload [--saves N]`.

Calls go on one after the other all the time; each answer says which version gave it. The peer is what people do with
plain Celery: end the worker, start it again with the new code, call until the new version answers (same broker, same
machine, afterwards). Calls that fail on the way are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import urllib3

from bench.common import System, percentiles, report, system

_YAML = """\
version: 1
queues: {light: {}, other: {}}
functions:
  version: {handler: functions/version.py:version, queue: light, triggers: [{http: {}}]}
  other: {handler: functions/other.py:other, queue: other, triggers: [{http: {}}]}
"""
_CODE = "from ._helper import number\n\n\ndef version() -> int:\n    return number()\n"
_HELPER = "def number() -> int:\n    return {number}\n"
_PEER = """\
from celery import Celery
app = Celery("peer", broker={url!r}, backend={url!r})
@app.task(name="peer.version")
def version():
    return {number}
"""
_REST_SECONDS = 0.5
_PEER_EVERY = 10
_GIVE_UP_SECONDS = 60.0


def saves(found: System, project: Path, count: int) -> tuple[list[float], int]:
    """Seconds from each save to the first answer of the new code, and how many calls failed."""
    http = urllib3.PoolManager(retries=False, timeout=60.0)
    taken, failed = [], 0
    for number in range(1, count + 1):
        started = _save(project / "functions" / "_helper.py", _HELPER.format(number=number))
        while True:
            answer = http.request("POST", f"{found.url}/function/version")
            failed += answer.status != 200
            if answer.status == 200 and json.loads(answer.data) == number:
                break
            if time.perf_counter() - started > _GIVE_UP_SECONDS:
                raise SystemExit(f"save {number} was not taken over within {_GIVE_UP_SECONDS:.0f} s")
        taken.append(time.perf_counter() - started)
        time.sleep(_REST_SECONDS)
    return taken, failed


def restarts(found: System, folder: Path, count: int) -> list[float]:
    """The same with a plain Celery worker that is ended and started."""
    url, taken = found.environ["CELERY_BROKER_URL"].rstrip("/0") + "/9", []
    with _celery(folder, url) as start:
        start(0)
        for number in range(1, count + 1):
            begun = time.perf_counter()
            start(number)
            taken.append(time.perf_counter() - begun)
    return taken


@contextlib.contextmanager
def _celery(folder: Path, url: str) -> Iterator[Callable[[int], None]]:
    from celery import Celery

    app = Celery("peer", broker=url, backend=url)
    running: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        while running:
            process = running.pop()
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def start(number: int) -> None:
        stop()
        (folder / "peer.py").write_text(_PEER.format(url=url, number=number))
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "peer",
            "worker",
            "-c",
            "1",
            "--without-gossip",
            "--without-mingle",
        ]
        quiet = subprocess.DEVNULL
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        running.append(subprocess.Popen(command, cwd=folder, env=environ, stdout=quiet, stderr=quiet))
        while app.send_task("peer.version").get(timeout=_GIVE_UP_SECONDS) != number:
            pass

    try:
        yield start
    finally:
        stop()
        app.close()


def _save(path: Path, text: str) -> float:
    """Write as editors do, and say when the new file was there."""
    new = path.with_suffix(".tmp")
    new.write_text(text)
    saved = time.perf_counter()
    new.replace(path)
    return saved


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure reloads; one JSON object a line.")
    parser.add_argument("--saves", type=int, default=100)
    count = parser.parse_args().saves
    with tempfile.TemporaryDirectory() as made:
        project = Path(made).resolve()
        (project / "functions").mkdir()
        (project / "functions.yaml").write_text(_YAML)
        (project / "functions" / "_helper.py").write_text(_HELPER.format(number=0))
        (project / "functions" / "version.py").write_text(_CODE)
        (project / "functions" / "other.py").write_text("def other() -> None:\n    return None\n")
        with system(project / "functions.yaml", reload=True) as found:
            taken, failed = saves(found, project, count)
            peers = restarts(found, project, max(3, count // _PEER_EVERY))
    percentiles("save_to_new_code", taken, peers, "plain Celery worker, ended and started")
    report("calls_failed_meanwhile", [failed], "calls")


if __name__ == "__main__":
    main()
