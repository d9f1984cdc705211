"""The load of a soak: every kind of call there is, at a rate that does not depend on how fast it is answered."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import urllib3

FUNCTIONS = """
import random

def noop() -> None:
    return None

def echo(text: str) -> str:
    return text

def score(items: list[float]) -> list[float]:
    return [one * 2 for one in items]

def flaky(odds: float = 0.5) -> str:
    if random.random() < odds:
        raise RuntimeError("not this time")
    return "at last"

def talk(lines: int = 20) -> int:
    for number in range(lines):
        print("line", number)
    return lines
"""

PROJECT = """
version: 1
queues:
  work: {concurrency: 2, prefetch: 2}
  embedding: {concurrency: 1, preload_model: true}
  indexing: {concurrency: 1}
defaults: {queue: work, timeout: 30s, retries: {max: 2, backoff: 200ms, max_backoff: 1s}}
retention: {succeeded: 60s, failed: 2m, count: 2000, idempotency: 60s}
functions:
  noop: {handler: load.py:noop, overload: {waiting: 1000}, triggers: [{http: {}}]}
  echo: {handler: load.py:echo, triggers: [{http: {}}]}
  score: {handler: load.py:score, gather: {max_items: 32}, triggers: [{http: {}}]}
  flaky: {handler: load.py:flaky, triggers: [{http: {}}]}
  talk: {handler: load.py:talk, triggers: [{http: {}}, {every: 5s}]}
  embed_batch:
    handler: functions.embed_batch:embed_batch
    queue: embedding
    triggers: [{bucket: documents, index: default, suffix: [.txt]}]
    on_success: {function: build_index, debounce: 200ms, max_wait: 1s}
  build_index: {handler: functions.build_index:build_index, queue: indexing, on_success: hot_swap}
  hot_swap: {handler: functions.hot_swap:hot_swap, queue: indexing}
  compact_index: {handler: functions.compact_index:compact_index, queue: indexing, triggers: [{http: {}}]}
"""
DOCUMENTS = "".join(PROJECT.partition("  embed_batch:\n")[1:])
KEYS = 100
"""Documents that are put over and over: the index does not grow, whatever comes."""

_WORDS = ("harbour", "barge", "copper", "salt", "ledger", "tide", "lantern", "rope", "anchor", "chart", "wharf")


def write(folder: Path, *, documents: bool = True) -> Path:
    """The project of a soak in a folder; its functions.yaml. Without documents there is no model to load."""
    (folder / "load.py").write_text(FUNCTIONS)
    file = folder / "functions.yaml"
    file.write_text(PROJECT if documents else PROJECT.replace(DOCUMENTS, "").replace("preload_model: true", ""))
    return file


class Load:
    """Threads that call a gateway until they are told to stop. `became` counts what they were answered."""

    def __init__(self, url: str, rate: float, *, documents: bool) -> None:
        """`rate`: 1 is about 35 calls a second."""
        self.became: Counter[str] = Counter()
        self.stop = threading.Event()
        self._url, self._rate, self._found = url, rate, False
        self._http = urllib3.PoolManager(maxsize=32, retries=False, timeout=60.0)
        self._dice = random.Random(7)
        kinds: Mapping[str, tuple[float, Callable[[], tuple[int, ...]]]] = {
            "sync": (8, lambda: self._call("POST", "/function/noop", {})),
            "echo_20_kb": (2, lambda: self._call("POST", "/function/echo", {"text": "x" * 20_000})),
            "echo_300_kb": (0.2, lambda: self._call("POST", "/function/echo", {"text": "x" * 300_000})),
            "async": (10, lambda: self._call("POST", "/async-function/noop", {})),
            "gathered": (10, lambda: self._call("POST", "/async-function/score", {"item": 1.5})),
            "retried": (1, lambda: self._call("POST", "/async-function/flaky", {})),
            "dead": (0.2, lambda: self._call("POST", "/async-function/flaky", {"odds": 1})),
            "talk": (0.5, self._followed),
            "repeated": (1, self._repeated),
            "list": (0.5, lambda: self._call("GET", "/api/v1/tasks?limit=50")),
            "metrics": (0.1, lambda: self._call("GET", "/metrics")),
            "refused": (0.5, lambda: self._call("POST", "/function/nothing", {}, wanted=404)),
        }
        if not documents:
            kinds = {name: kind for name, kind in kinds.items() if name != "echo_300_kb"}  # there is no store for it
        else:
            more = {"upload": (0.2, self._upload), "search": (2.0, self._search)}
            more["compact"] = (1 / 300, lambda: self._call("POST", "/async-function/compact_index", {}))
            kinds = {**kinds, **more}
        self._threads = [
            threading.Thread(target=self._every, args=(name, 1 / (often * rate), action), daemon=True)
            for name, (often, action) in kinds.items()
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def _every(self, name: str, seconds: float, action: Callable[[], tuple[int, ...]]) -> None:
        due = time.monotonic() + self._dice.random() * seconds
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + seconds, time.monotonic() - 5 * seconds)  # what was missed is made up for, but not for ever
            try:
                status, wanted = action()
                self.became[f"{name}" if status == wanted else f"{name}: {status}"] += 1
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self.became[f"{name}: {type(error).__name__}"] += 1

    def _call(
        self,
        method: str,
        path: str,
        arguments: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        wanted: int = 0,
    ) -> tuple[int, int]:
        body = None if arguments is None else json.dumps(arguments).encode()
        told = {"Content-Type": "application/json", **(headers or {})}
        answer = self._http.request(method, self._url + path, body=body, headers=told)
        return answer.status, wanted or (202 if path.startswith("/async") else 200)

    def _followed(self) -> tuple[int, int]:
        """A call whose events are followed to its end."""
        answer = self._http.request("POST", f"{self._url}/async-function/talk", json={})
        events = f"{self._url}{answer.headers['location']}/events"
        with self._http.request("GET", events, preload_content=False) as stream:
            for _ in stream.stream(4096):
                pass
            stream.drain_conn()
            return stream.status, 200

    def _repeated(self) -> tuple[int, int]:
        """A call with an idempotency key, sent twice."""
        key = {"Idempotency-Key": f"{time.monotonic_ns()}"}
        self._call("POST", "/async-function/echo", {"text": "once"}, key)
        return self._call("POST", "/async-function/echo", {"text": "once"}, key)

    def _upload(self) -> tuple[int, int]:
        number = self._dice.randrange(KEYS)
        words = " ".join(self._dice.choices(_WORDS, k=60))
        answer = self._http.request("PUT", f"{self._url}/buckets/documents/{number}.txt", body=words.encode())
        return answer.status, 200

    def _search(self) -> tuple[int, int]:
        words = " ".join(self._dice.choices(_WORDS, k=4))
        answer = self._http.request("GET", f"{self._url}/search", fields={"q": words, "k": "5"})
        if answer.status == 200:
            self._found = True
        # Until the first document is in the index there is nothing to search.
        return answer.status, 200 if self._found else answer.status
