"""The way of the notifications from the store to the gateway, on which some get lost, doubled and overtaken."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

LOST, DOUBLED, LATE = 0.3, 0.2, 0.4
"""The share of each. Late ones come up to three seconds later, after what was sent behind them."""
LATE_SECONDS = 3.0
_CARRIERS = 4


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A store that is killed leaves its connections open."""


class Postman:
    """Takes notifications at `url` and carries them to `target` (empty: nobody is there yet, all are lost).

    `count` says what became of them: came, lost, doubled, late, and `closed` for those that found no gateway.
    """

    def __init__(self, seed: int) -> None:
        self.target = ""
        self.count: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._numbers = itertools.count()
        self._bag: list[tuple[float, int, bytes, Mapping[str, str]]] = []
        self._changed = threading.Condition()
        self._stop = False
        self._http = urllib3.PoolManager(maxsize=_CARRIERS, retries=False, timeout=urllib3.Timeout(2.0, read=10.0))
        self._server = _Server(("127.0.0.1", 0), self._door())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/events/seaweedfs"

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._server.serve_forever, daemon=True)]
        threads += [threading.Thread(target=self._carry, daemon=True) for _ in range(_CARRIERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            with self._changed:
                self._stop = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()

    def take(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Decide what becomes of one notification."""
        with self._changed:
            self.count["came"] += 1
            if self._dice.random() < LOST:
                self.count["lost"] += 1
                return
            copies = 1 + (self._dice.random() < DOUBLED)
            self.count["doubled"] += copies - 1
            for _ in range(copies):
                late = self._dice.random() < LATE
                self.count["late"] += late
                due = time.monotonic() + (self._dice.uniform(0, LATE_SECONDS) if late else 0.0)
                heapq.heappush(self._bag, (due, next(self._numbers), body, headers))
            self._changed.notify()

    def _carry(self) -> None:
        while (letter := self._next()) is not None:
            body, headers = letter
            try:
                if not self.target:
                    raise urllib3.exceptions.HTTPError("nobody is there yet")
                self._http.request("POST", self.target, body=body, headers=headers)
            except urllib3.exceptions.HTTPError:
                with self._changed:
                    self.count["closed"] += 1

    def _next(self) -> tuple[bytes, Mapping[str, str]] | None:
        """The next letter that is due, None at the end."""
        with self._changed:
            while not self._stop:
                wait = self._bag[0][0] - time.monotonic() if self._bag else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._bag)[2:]
                self._changed.wait(wait)
        return None

    def _door(self) -> type[BaseHTTPRequestHandler]:
        postman = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kept = ("Authorization", "Content-Type")
                postman.take(body, {name: self.headers[name] for name in kept if name in self.headers})
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Door
