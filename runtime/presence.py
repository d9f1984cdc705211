"""Who is alive and ready: every process renews a short-lived key, and readiness asks for these keys.

A process is judged by what it says of itself just now, never by its PID alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from runtime import keys

TTL_SECONDS = 10
RENEW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `kind` is gateway, triggers, beat, worker or embedder; `name` tells two of a kind apart."""

    kind: str
    name: str
    pid: int
    host: str
    started: float
    ready: bool = True
    detail: str = ""


def encode(process: Process) -> str:
    return json.dumps(asdict(process))


def read(client: redis.Redis) -> list[Process]:
    """Every process that is alive, of every host."""
    names = list(client.scan_iter(match=keys.process("*", "*"), count=500))
    return decode(client.mget(names)) if names else []


def decode(values: Any) -> list[Process]:
    return [Process(**json.loads(value)) for value in values if value]


class Presence:
    """Renews one process's key from a thread. `extra` runs with every renewal (what a worker holds, for example)."""

    def __init__(
        self,
        client: redis.Redis,
        kind: str,
        name: str,
        extra: Callable[[redis.client.Pipeline], None] | None = None,
    ) -> None:
        self._client, self._extra = client, extra
        self._fields: Mapping[str, Any] = {
            "kind": kind,
            "name": name,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
        }
        self._key = keys.process(kind, name)
        self._ready, self._detail = False, ""
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> Presence:
        self._thread.start()
        return self

    def set(self, *, ready: bool, detail: str = "") -> None:
        """Say at once whether this process does its work."""
        self._ready, self._detail = ready, detail
        self._wake.set()

    def stop(self) -> None:
        """Stop renewing and take the name off the list."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=2)
        with contextlib.suppress(redis.RedisError):  # it expires by itself
            self._client.delete(self._key)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            process = Process(**self._fields, ready=self._ready, detail=self._detail)
            # When the broker is away the key lapses, which is the truth.
            with contextlib.suppress(redis.RedisError), self._client.pipeline(transaction=False) as pipe:
                pipe.set(self._key, encode(process), ex=TTL_SECONDS)
                if self._extra:
                    self._extra(pipe)
                pipe.execute()
            self._wake.wait(RENEW_SECONDS)
