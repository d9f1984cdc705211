"""One POST to one address that was checked: no redirects, no proxies, and bounded in time and size.

The sockets are handled here because HTTP clients resolve names themselves, and bound the time of a read, not of an
exchange: a server that sends a byte now and then would hold them for hours.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

from runtime.security.callback_address import Target

_MOST_HEAD_BYTES = 64 * 2**10
_DRAIN_SECONDS, _DRAIN_BYTES = 1.0, 64 * 2**10
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\r?\n)")


class Deadline:
    """How much is left of a number of seconds. `left` raises TimeoutError when nothing is."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        seconds = self._ends - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("it took too long")
        return seconds


def post(target: Target, addresses: Sequence[str], body: bytes, headers: Mapping[str, str], timeout: float) -> int:
    """The status of the answer. Connects to one of `addresses` and nothing else. Raises OSError, also for nonsense."""
    deadline = Deadline(timeout)
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.netloc}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    request = "\r\n".join([*lines, "", ""]).encode("ascii") + body
    with contextlib.closing(_connect(target, addresses, deadline)) as sock:
        sock.settimeout(deadline.left())
        sock.sendall(request)
        status = _status(sock, deadline)
        _drain(sock)
        return status


def _connect(target: Target, addresses: Sequence[str], deadline: Deadline) -> socket.socket:
    failure: OSError = OSError("no address")
    for address in addresses:
        try:
            raw = socket.create_connection((address, target.port), deadline.left())
        except OSError as error:
            failure = error
            continue
        if target.scheme == "http":
            return raw
        try:
            return ssl.create_default_context().wrap_socket(raw, server_hostname=target.host)
        except BaseException:
            raw.close()
            raise
    raise failure


def _status(sock: socket.socket, deadline: Deadline) -> int:
    """The status of the first answer that is not provisional (1xx)."""
    head = b""
    while True:
        block, end, rest = head.partition(b"\r\n\r\n")
        if end and (found := _STATUS.match(block + end)) and not found[1].startswith(b"1"):
            return int(found[1])
        if end and found:
            head = rest
            continue
        if end or len(head) > _MOST_HEAD_BYTES:
            raise OSError(f"the answer is not HTTP: {head[:40]!r}" if end else "the head of the answer does not end")
        sock.settimeout(deadline.left())
        received = sock.recv(8192)
        if not received:
            raise ConnectionError("the connection was closed before an answer came")
        head += received


def _drain(sock: socket.socket) -> None:
    """Read a little of what is left, so that the server can end in peace; nothing in it counts."""
    deadline, size = Deadline(_DRAIN_SECONDS), 0
    with contextlib.suppress(OSError):
        while size < _DRAIN_BYTES:
            sock.settimeout(deadline.left())
            received = sock.recv(8192)
            if not received:
                return
            size += len(received)
