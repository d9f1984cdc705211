"""A connection to a store over which answers are read: several that were asked for at once, in few pieces.

A server sends sixteen small answers one by one, and to be woken for each takes as much processor time as reading it:
77 µs an object, 40 where all of them are there by then. So a connection waits for as many bytes as the answers have at
least that are still to come, by the shortest one it has had, and for a moment at most.
"""

from __future__ import annotations

import io
import re
import select
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SECONDS = 5.0
_PATIENCE = 10
"""Milliseconds that it waits for many bytes; behind that it takes what is there. Nobody waits longer for an answer that
is shorter than all before it."""

_BUFFER = 2**15
_LONGEST, _MOST = 65_536, 100
"""Bytes of a line, and headers, of an answer that is still read here; as in http.client."""

Answer = tuple[Mapping[str, str], bytes]
"""Headers and body."""

MISSING: Answer = ({}, b"")
"""What is answered for a key that no object has. Known by identity."""

_OK, _NOT_FOUND, _NO_KEY = b"HTTP/1.1 200 ", b"HTTP/1.1 404 ", b"<Code>NoSuchKey</Code>"
_END = b"\r\n\r\n"
_FIELD = re.compile(r"^([^\s:](?:[^\r\n:]*[^\s:])?):([^\r\n]*)\r\n", re.MULTILINE)


class UnmeasuredError(ValueError):
    """An answer that does not say how long it is."""


class Headers(dict[str, str]):
    """Asked for by names in any case. urllib3's own takes 8 µs to make."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        return super().get(name.lower(), default)


class Line:
    """A connection that is asked one thing after the other, or some things at once."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Raises OSError."""
        self.sock = socket.create_connection(address, timeout=_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pieces = _Pieces(self.sock)
        self._file = io.BufferedReader(self._pieces, _BUFFER)
        self._least = 0
        """Bytes of the shortest answer so far."""
        self.open = True
        """Whether it may be asked once more."""

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    @property
    def over(self) -> bool:
        """Whether the server has hung up since it answered, or says something that nobody asked for."""
        return self._pieces.there(0)

    def send(self, requests: bytes) -> None:
        """Ask; raises OSError. So few that all of it fits on the way while no answer is read."""
        self.sock.sendall(requests)

    def answer(self, limit: int | None, behind: int = 0) -> Answer | None:
        """The next answer, read to its end; None where it is not for us. `behind`: how many more were asked for.

        Raises OSError, and ValueError for none.
        """
        self._pieces.least = behind * self._least
        head = self._head()
        status, _, fields = head.partition(b"\r\n")
        if not status.startswith((_OK, _NOT_FOUND)):
            return None
        told = fields.decode("latin-1")
        found = _FIELD.findall(told)
        headers = Headers([(name.lower(), value.strip()) for name, value in found])
        # A folded or cut line, a name that comes twice: what such an answer means is not for us to guess.
        if not len(headers) == len(found) == told.count("\n") - 1 <= _MOST:
            return None
        size = headers.get("content-length", "")
        if "transfer-encoding" in headers or not (size.isascii() and size.isdigit()):
            raise UnmeasuredError
        missing = status.startswith(_NOT_FOUND)
        if missing:
            limit = _LONGEST  # of words about it
        if limit is not None and int(size) > limit:
            return None
        body = self._file.read(int(size))
        self.open = headers.get("connection", "keep-alive").lower() == "keep-alive"
        if len(body) != int(size):
            return None
        self._least = min(self._least or _LONGEST, len(head) + len(body))
        if missing:
            return MISSING if _NO_KEY in body else None
        return headers, body

    def _head(self) -> bytes:
        """All up to the empty line and with it; cut short where there is none."""
        end = self._file.peek().find(_END)
        if end >= 0:
            return self._file.read(end + len(_END))
        lines: list[bytes] = []
        while len(lines) <= _MOST + 1 and (not lines or (lines[-1].endswith(b"\n") and lines[-1] != b"\r\n")):
            lines.append(self._file.readline(_LONGEST))
        return b"".join(lines)


class _Pieces(io.RawIOBase):
    """What comes over a socket, in pieces of at least `least` bytes where so many come in time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ready = select.poll()
        self._ready.register(sock, select.POLLIN)
        self.least = 0

    def readable(self) -> bool:
        return True

    def there(self, patience: int) -> bool:
        """Whether there is something to read, or the other side has hung up, within so many milliseconds."""
        return bool(self._ready.poll(patience))

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Raises OSError."""
        if (least := min(self.least, _BUFFER)) > 1:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self.there(_PATIENCE)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return self._sock.recv_into(buffer)
