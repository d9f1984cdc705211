"""A store seen through a proxy that counts: requests by method (a GET that lists is a LIST), bytes there and back."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_REQUEST = re.compile(rb"(?:^|\r\n)(GET|PUT|POST|HEAD|DELETE) (/\S*) HTTP/1\.1\r\n")
_LISTS = (b"list-type=", b"prefix=")
_PIECE = 1 << 18


@dataclass
class Counted:
    """What went over the proxy since the last `clear`."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    def clear(self) -> None:
        self.requests.clear()
        self.sent = self.received = 0

    def plain(self) -> dict[str, Any]:
        return {"requests": dict(self.requests), "sent": self.sent, "received": self.received}


@contextlib.contextmanager
def counting(store: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Counted]]:
    """Settings of the same store that lead over a counter, and the counter."""
    host, _, port = str(store["endpoint"]).rpartition(":")
    told = Counted()
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_serve, args=(door, (host, int(port)), told), daemon=True).start()
        yield {**store, "endpoint": f"127.0.0.1:{door.getsockname()[1]}"}, told


def _serve(door: socket.socket, address: tuple[str, int], told: Counted) -> None:
    with contextlib.suppress(OSError):  # the door is closed at the end
        while True:
            client, _ = door.accept()
            server = socket.create_connection(address)
            for pair in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(*pair, told, pair[0] is client), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, told: Counted, to_store: bool) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            if to_store:
                # A client writes the head of a request at once, and waits for the answer before it writes the next.
                told.requests.update(_kind(*found) for found in _REQUEST.findall(piece))
                told.sent += len(piece)
            else:
                told.received += len(piece)
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def _kind(method: bytes, path: bytes) -> str:
    lists = method == b"GET" and any(word in path for word in _LISTS)
    return "LIST" if lists else method.decode()
