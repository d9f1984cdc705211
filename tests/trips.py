"""Counting the trips to a server that were made one after the other: what a slow link makes a client wait for.

A proxy lets a client's bytes pass at once, and holds the answers back until the client has been silent for a moment:
whatever it asks then, it asks because of an answer. So that is the next trip; what it asks for together is one, however
many connections it takes. Nothing is timed: a slow machine makes a test slow, and counts the same.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

SILENCE_SECONDS = 0.2


class Trips:
    """`made` trips and `connections` that were opened since the last `reset`; used as a context."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._answered, self._spoken = True, 0.0
        self._open: list[socket.socket] = []
        self.made = self.connections = 0

    def reset(self) -> None:
        with self._lock:
            self._answered, self.made, self.connections = True, 0, 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self.connections += 1
                    self._open += [client, server]
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                with self._lock:
                    self._spoken = time.monotonic()
                    self.made += self._answered
                    self._answered = False
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                while (silent := time.monotonic() - self._spoken) < SILENCE_SECONDS:
                    time.sleep(SILENCE_SECONDS - silent)
                with self._lock:
                    self._answered = True
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
