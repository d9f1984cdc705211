"""Parts that are restarted in turn while clients call them: each as a process, as a process manager would run it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from runtime.broker import presence
from runtime.host.free_ports import Ports
from tests.workers import environment, until

PROJECT = """
version: 1
queues: {{work: {{concurrency: 2}}}}
defaults: {{queue: work, timeout: 1m}}
functions:
  note: {{handler: life.py:note, triggers: [{{http: {{}}}}]}}
  slow: {{handler: life.py:slow, triggers: [{{http: {{}}}}]}}
  tick: {{handler: life.py:note, triggers: [{{every: 1s, with: {{path: "{notes}", text: tick}}}}]}}
  take:
    handler: life.py:take
    triggers: [{{bucket: rolling, source: poll, rescan: 300ms, with: {{path: "{notes}"}}}}]
"""
"""One function that is waited for and one that is not, a schedule, and a bucket; `notes` is a file."""

_MODULES = {"gateway": "gateway", "beat": "triggers.beat", "triggers": "triggers"}


class Part:
    """One process; `roll` puts a new one into its place, and lets the old one end in its own time."""

    def __init__(self, fleet: Fleet, kind: str, queue: str = "") -> None:
        self._fleet, self.kind, self._queue = fleet, kind, queue
        self.url = ""
        self.process = self._start()

    def roll(self) -> None:
        """Raises AssertionError where the old one does not end well."""
        old, old_url = self.process, self.url
        self.process = self._start()  # a process manager starts the new one first …
        if old_url:
            self._fleet.urls.remove(old_url)  # … and sends it no more calls
        self.end(old)

    def end(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Raises AssertionError where it does not end well."""
        process = process or self.process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, f"the old {self.kind} did not end well"

    def _start(self) -> subprocess.Popen[bytes]:
        words, more = self._fleet.words(self.kind, self._queue)
        process = self._fleet.run(words, more)
        until(lambda: self._fleet.ready(process.pid), 60)
        if port := more.get("TUNDISH_PORT"):
            self.url = f"http://127.0.0.1:{port}"
            self._fleet.urls.append(self.url)
        return process


class Fleet:
    """Parts over one project, one broker and one store. Everything that was started is killed at the end."""

    def __init__(self, file: Path, home: Path, environ: Mapping[str, str], client: redis.Redis) -> None:
        self.urls: list[str] = []
        self._file, self._home, self._client = file, home, client
        self._environ = {**environ, "TUNDISH_FILE": str(file), "TUNDISH_HOME": str(home)}
        self._ports, self._count = Ports(home), 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self.parts: list[Part] = []

    def add(self, kind: str, queue: str = "") -> Part:
        part = Part(self, kind, queue)
        self.parts.append(part)
        return part

    def words(self, kind: str, queue: str) -> tuple[list[str], dict[str, str]]:
        """What to run, and what is this one's own."""
        self._count += 1
        if kind == "worker":
            return ["runtime.worker", "-Q", queue, "-n", f"{queue}.{self._count}@test"], {}
        if kind == "gateway":
            return ["gateway"], {"TUNDISH_PORT": str(self._ports.take(f"gateway-{self._count}"))}
        return [_MODULES[kind]], {}

    def run(self, words: list[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *words], env={**self._environ, **more}, start_new_session=True
        )
        self._processes.append(process)
        return process

    def ready(self, pid: int) -> bool:
        return any(one.pid == pid and one.ready for one in presence.read(self._client))

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Caller:
    """Makes one call after the other, each until it has its answer; who is cut off asks again with the same key."""

    def __init__(self, fleet: Fleet, number: int, notes: Path) -> None:
        self._fleet, self._number, self._notes = fleet, number, notes
        self.answers: dict[str, tuple[int, Any]] = {}
        self.took: list[tuple[str, float]] = []
        """The path of each call, and the seconds until it had its answer, however often it was asked again."""
        self.again = self._asked = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        count = 0
        while not self._over.wait(0.02):
            count += 1
            key = f"{self._number}-{count}"
            waits = count % 2
            path = "/function/slow" if waits else "/async-function/note"
            body = {"path": str(self._notes), "text": key}
            began = time.monotonic()
            until(lambda path=path, key=key, body=body: self._ask(path, key, body), 60)  # type: ignore[misc]
            self.took.append((path, time.monotonic() - began))

    def _ask(self, path: str, key: str, body: dict[str, Any]) -> bool:
        self._asked += 1
        url = self._fleet.urls[self._asked % len(self._fleet.urls)]
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        try:
            headers = {"Content-Type": "application/json", "Idempotency-Key": key, "Connection": "close"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            self.again += 1
            return False
        finally:
            connection.close()
        if answer.status in (409, 503):  # the first try of it is still under way, or its gateway stops
            self.again += 1
            return False
        self.answers[key] = answer.status, json.loads(told)
        return True


def environ_of(broker_url: str, store: Any) -> dict[str, str]:
    """How every part finds broker and store."""
    return environment(
        broker_url,
        {
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
            "TUNDISH_GRACE": "30s",
        },
    )
