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
import redis.asyncio

from runtime import keys

TTL_SECONDS = 10
RENEW_SECONDS = 2.0
FORGET_SECONDS = 3600.0


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
    """Every process that is alive, of every host: its key is there. The list may name some that are gone."""
    members: Any = client.zrange(keys.PROCESSES, 0, -1)
    return decode(client.mget(_names(members))) if members else []


async def read_async(client: redis.asyncio.Redis) -> list[Process]:
    """`read` for asyncio."""
    members: Any = await client.zrange(keys.PROCESSES, 0, -1)
    return decode(await client.mget(_names(members))) if members else []


def write(pipe: redis.client.Pipeline, process: Process) -> None:
    """Say that a process is alive, for the next ten seconds."""
    now = time.time()
    pipe.set(keys.process(process.kind, process.name), encode(process), ex=TTL_SECONDS)
    pipe.zadd(keys.PROCESSES, {f"{process.kind}:{process.name}": now + TTL_SECONDS})
    pipe.zremrangebyscore(keys.PROCESSES, "-inf", now - FORGET_SECONDS)


def _names(members: list[bytes]) -> list[str]:
    return [keys.process(*member.decode().split(":", 1)) for member in members]


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
                write(pipe, process)
                if self._extra:
                    self._extra(pipe)
                pipe.execute()
            self._wake.wait(RENEW_SECONDS)
