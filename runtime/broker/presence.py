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
from dataclasses import asdict, dataclass, fields
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker import scripts
from runtime.host.alive import alive

TTL_SECONDS = 10
RENEW_SECONDS = 2.0
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `kind` is gateway, triggers, beat, worker or embedder; `name` tells two of a kind apart.

    A worker also says which queue it serves, by which pool, and how many calls it runs at once.
    """

    kind: str
    name: str
    pid: int
    host: str
    started: float
    ready: bool = True
    detail: str = ""
    queue: str = ""
    pool: str = ""
    concurrency: int = 0
    version: str = ""
    """Of the code that a worker runs (runtime/deployment/code_version.py)."""


_FIELDS = frozenset(field.name for field in fields(Process))


def encode(process: Process) -> str:
    return json.dumps(asdict(process))


def read(client: redis.Redis) -> list[Process]:
    """Every process that is alive, of every host: its key is there. The list may name some that are gone."""
    members: Any = client.zrange(keys.PROCESSES, 0, -1)
    return decode(client.mget(_names(members))) if members else []


def read_host(client: redis.Redis, host: str) -> list[Process]:
    """Those of one host. Their names have it in them, so that one of many hosts need not read what all others say."""
    members: Any = client.zrange(keys.PROCESSES, 0, -1)
    own = [member for member in members if host.encode() in member]
    for some in (own, members):  # a node may have a name that somebody gave it
        found = [one for one in decode(client.mget(_names(some))) if one.host == host] if some else []
        if found:
            return found
    return []


async def read_async(client: redis.asyncio.Redis) -> list[Process]:
    """`read` for asyncio."""
    members: Any = await client.zrange(keys.PROCESSES, 0, -1)
    return decode(await client.mget(_names(members))) if members else []


def write(pipe: redis.client.Pipeline, process: Process) -> None:
    """Say that a process is alive, for the next ten seconds."""
    now, name = time.time(), f"{process.kind}:{process.name}"
    # A script: at its memory limit the broker refuses a plain SET, and every process would seem to be dead.
    names = [keys.process(process.kind, process.name), keys.PROCESSES]
    pipe.eval(
        scripts.source("present"),
        len(names),
        *names,
        encode(process),
        TTL_SECONDS,
        name,
        now + TTL_SECONDS,
        now - FORGET_SECONDS,
    )


def own_name(client: redis.Redis, kind: str, name: str, pid: int | None = None) -> str:
    """`name`, or one with this process's PID (or the one given) in it where another process of that name is alive."""
    mine = Process(kind, name, pid or os.getpid(), socket.gethostname(), time.time(), ready=False)
    key = keys.process(kind, name)
    try:
        if client.set(key, encode(mine), nx=True, ex=TTL_SECONDS):
            return name
        found = decode([client.get(key)])
    except redis.RedisError:  # nobody can be asked now
        return name
    if not found or found[0].pid == mine.pid or _gone(found[0]):
        return name
    node, at, host = name.partition("@")
    return f"{node}-{mine.pid}{at}{host}"


def _gone(process: Process) -> bool:
    """Whether a process of this host has ended, though its key has not lapsed yet."""
    return process.host == socket.gethostname() and not alive(process.pid)


def _names(members: list[bytes]) -> list[str]:
    return [keys.process(*member.decode().split(":", 1)) for member in members]


def decode(values: Any) -> list[Process]:
    # A process of another release may say more of itself than this one understands.
    told = (json.loads(value) for value in values if value)
    return [Process(**{name: one[name] for name in one.keys() & _FIELDS}) for one in told]


class Presence:
    """Renews one process's key from a thread. `extra` runs with every renewal (what a worker holds, for example).

    `pid`: the process that people see and signal, where it is not this one.
    """

    def __init__(
        self,
        client: redis.Redis,
        kind: str,
        name: str,
        extra: Callable[[], None] | None = None,
        pid: int | None = None,
    ) -> None:
        self._client, self._extra = client, extra
        self._fields: Mapping[str, Any] = {
            "kind": kind,
            "name": name,
            "pid": pid or os.getpid(),
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

    def tell(self, *, queue: str, pool: str, concurrency: int, version: str = "") -> None:
        """Say from now on what kind of worker this is."""
        told = {"queue": queue, "pool": pool, "concurrency": concurrency, "version": version}
        self._fields = {**self._fields, **told}

    def resize(self, concurrency: int) -> None:
        """Say from now on how many calls this worker runs at once."""
        self._fields = {**self._fields, "concurrency": concurrency}
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
                pipe.execute()
                if self._extra:
                    self._extra()
            self._wake.wait(RENEW_SECONDS)
