"""Free TCP ports on loopback, kept from run to run where possible."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from runtime.errors import ServiceFailed
from runtime.private_files import private_folder, write_private

# Below the ports that systems hand out to outgoing connections (32768 on Linux, 49152 on macOS), so that a
# port found free is still free when the server opens it.
_PORTS = range(20_000, 32_000)


class Ports:
    """Hands out free ports of 127.0.0.1, none twice; a name keeps its port from run to run where it can."""

    def __init__(self, home: Path) -> None:
        self._path = private_folder(home) / "ports.json"
        try:
            self._known: dict[str, int] = {str(k): int(v) for k, v in json.loads(self._path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):  # only a preference
            self._known = {}
        self._given: set[int] = set()

    def take(self, name: str, *, and_above: int = 0) -> int:
        """A free port; with `and_above`, the port that much higher is free and taken, too."""
        known = [self._known[name]] if name in self._known else []
        possible = range(_PORTS.start, _PORTS.stop - and_above)
        for port in known + random.SystemRandom().sample(possible, 1000):
            wanted = {port, port + and_above}
            if not wanted & self._given and not any(map(listening, wanted)):
                self._given |= wanted
                self._known[name] = port
                return port
        raise ServiceFailed(f"No free port was found for {name} between {_PORTS[0]} and {_PORTS[-1]}.")

    def save(self) -> None:
        write_private(self._path, json.dumps(self._known, indent=1))


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
