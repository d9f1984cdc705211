"""Free TCP ports on loopback, held until their servers open them, and kept from run to run where possible."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import weakref
from pathlib import Path

from runtime.errors import ServiceFailed
from runtime.security.private_files import private_folder, write_private

# Below the ports that systems hand out to outgoing connections (32768 on Linux, 49152 on macOS), so that a
# port found free is still free when the server opens it.
_PORTS = range(20_000, 32_000)


_HOLDS = sys.platform == "linux"
"""Elsewhere a server cannot open a port that another socket is bound to."""


class Ports:
    """Hands out free ports of 127.0.0.1, none twice; a name keeps its port from run to run where it can.

    A port that was handed out is held for as long as this object lives: no other program that looks for a free one, and
    no other `Ports`, finds it before its server has opened it, and its server can open it all the same.
    """

    def __init__(self, home: Path) -> None:
        self._path = private_folder(home) / "ports.json"
        try:
            self._known: dict[str, int] = {str(k): int(v) for k, v in json.loads(self._path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):  # only a preference
            self._known = {}
        self._given: set[int] = set()
        self._held: list[int] = []
        weakref.finalize(self, _close, self._held)

    def take(self, name: str, *, and_above: int = 0) -> int:
        """A free port; with `and_above`, the port that much higher is free and taken, too. Raises ServiceFailed."""
        known = [self._known[name]] if name in self._known else []
        possible = range(_PORTS.start, _PORTS.stop - and_above)
        for port in known + random.SystemRandom().sample(possible, 1000):
            wanted = {port, port + and_above}
            if not wanted & self._given and not any(_busy(one, one in known) for one in wanted):
                self.hold(*wanted)
                self._known[name] = port
                return port
        raise ServiceFailed(f"No free port was found for {name} between {_PORTS[0]} and {_PORTS[-1]}.")

    def hold(self, *ports: int) -> None:
        """Keep everybody else from these ports of 127.0.0.1, but for the server that they are for."""
        self._given |= set(ports)
        for port in ports if _HOLDS else ():
            # There is nothing to hold where a server has it already.
            with contextlib.suppress(OSError), socket.socket() as holder:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                holder.bind(("127.0.0.1", port))
                self._held.append(holder.detach())

    def save(self) -> None:
        write_private(self._path, json.dumps(self._known, indent=1))


def _busy(port: int, ours: bool) -> bool:
    """Whether a port is no free one. One of our own last run may still have connections that are about to end."""
    if ours:
        return listening(port)
    with socket.socket() as probe:  # without SO_REUSEADDR: a port that is only held counts, too
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _close(held: list[int]) -> None:
    for fd in held:
        os.close(fd)


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the port cannot be opened by us because something has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
