"""Clients that call while everything around them is killed. They count as accepted only what was answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import urllib3

from tests.chaos.plan import Wish

THREADS = 8
PATIENCE_SECONDS = 180.0
BACKLOG = 100
"""With so much waiting already, the clients hold back: they are to be there until the end."""

_HTTP = urllib3.exceptions.HTTPError


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told: `id` is empty where the answer names none (objects, and calls that were given up)."""

    wish: Wish
    id: str
    status: int
    body: bytes
    tries: int
    seconds: float


class Clients:
    """Threads that take wishes from one list. `backlog` says how much is waiting, so that they do not run ahead."""

    def __init__(self, url: str, wishes: Sequence[Wish], backlog: Callable[[], int], *, lasting: float) -> None:
        self._url, self._wishes, self._backlog = url, iter(wishes), backlog
        self._pause = lasting * THREADS / len(wishes)
        self._lock = threading.Lock()
        self._http = urllib3.PoolManager(maxsize=THREADS, retries=False, timeout=urllib3.Timeout(5.0, read=60.0))
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        self.answers: list[Answer] = []
        self.stop = threading.Event()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self.stop.is_set():
            with self._lock:
                wish = next(self._wishes, None)
            if wish is None:
                return
            self.stop.wait(self._pause)
            while self._backlog() > BACKLOG and not self.stop.is_set():
                time.sleep(0.05)
            answer = self._fulfil(wish)
            with self._lock:
                self.answers.append(answer)

    def _fulfil(self, wish: Wish) -> Answer:
        """Ask until there is an answer that says what became of it."""
        began, tries, status, body = time.monotonic(), 0, 0, b""
        while time.monotonic() - began < PATIENCE_SECONDS and not self.stop.is_set():
            tries += 1
            try:
                answer = self._ask(wish)
            except _HTTP:
                time.sleep(0.2)
                continue
            status, body = answer.status, answer.data
            told = answer.headers.get("X-Call-Id", "")
            if wish.how == "object":
                if status in (200, 201, 202):
                    return Answer(wish, "", status, body, tries, time.monotonic() - began)
            elif status in (200, 202) or (told and (status == 500 or "Location" in answer.headers)):
                return Answer(wish, told, status, body, tries, time.monotonic() - began)
            time.sleep(0.2)
        return Answer(wish, "", status, body, tries, time.monotonic() - began)

    def _ask(self, wish: Wish) -> urllib3.BaseHTTPResponse:
        if wish.how == "object":
            return self._http.request("PUT", f"{self._url}/buckets/chaos/{key_of(wish)}", body=str(wish.number))
        door = "function" if wish.how == "sync" else "async-function"
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": wish.key} if wish.key else {})
        body = json.dumps({"number": wish.number})
        return self._http.request("POST", f"{self._url}/{door}/{wish.function}", body=body, headers=headers)


def key_of(wish: Wish) -> str:
    return f"object-{wish.number}.txt"
