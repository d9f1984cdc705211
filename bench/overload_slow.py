"""What slow clients cost the gateway: bytes of memory for each of them, while they are there."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench import memory
from bench.common import System, report

_WORDS = b"x" * 1000


def measure(found: System, clients: int) -> None:
    """A line for each kind of slow client, and how long a call takes while they are there."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = urlsplit(found.url)
    where = (str(address.hostname), int(address.port or 0))
    gateway = gateway_of(found.pid)
    kinds: dict[str, Callable[[socket.socket], None]] = {
        "silent": lambda _: None,
        "head_dribbled": lambda client: client.sendall(b"POST /function/noop HTTP/1.1\r\nhost: x\r\nx-a: b\r\n"),
        "body_dribbled": lambda client: client.sendall(_head("POST", "/function/noop", 10**6) + _WORDS),
        "events_open": lambda client: client.sendall(_head("GET", "/api/v1/logs", accept="text/event-stream")),
        "answer_unread": lambda client: client.sendall(_head("GET", "/openapi.json") * 4),
    }
    _held(where, kinds["body_dribbled"], clients, gateway)  # what the first of them cost, the next do not
    for kind, begin in kinds.items():
        count = max(1, clients // 10) if kind == "answer_unread" else clients
        grown, answered = _held(where, begin, count, gateway)
        report(f"slow_client_{kind}_memory", [grown / count], "bytes")
        report(f"slow_client_{kind}_call_beside", [answered])


def gateway_of(system: int) -> int:
    """The process of a running system that is its gateway."""
    return process_of(system, "-m\0gateway")


def process_of(system: int, words: str) -> int:
    """The process of a running system whose command line begins or goes on with these words."""
    for pid in reversed(memory.family(system)):
        with contextlib.suppress(OSError):
            if words.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise SystemExit(f"no process of the system is {words!r}")


def _held(
    where: tuple[str, int], begin: Callable[[socket.socket], None], clients: int, gateway: int
) -> tuple[int, float]:
    """By how many bytes the gateway has grown with so many clients, and the seconds of a call then."""
    before = memory.status("RssAnon", gateway)
    with contextlib.ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.create_connection(where, timeout=30))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            begin(client)
        time.sleep(1.0)
        grown = memory.status("RssAnon", gateway) - before
        began = time.perf_counter()
        with socket.create_connection(where, timeout=30) as client:
            client.sendall(_head("POST", "/function/noop", 2) + b"{}")
            told = client.recv(65536)
        answered = time.perf_counter() - began
        if b" 200 " not in told[:20]:
            raise SystemExit(f"a call beside {clients} slow clients was answered {told[:200]!r}")
    time.sleep(0.5)
    return max(0, grown), answered


def _head(method: str, path: str, length: int | None = None, accept: str = "*/*") -> bytes:
    more = b"" if length is None else b"content-type: application/json\r\ncontent-length: %d\r\n" % length
    return f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n".encode() + more + b"\r\n"
