"""Where the gateway may listen and the embedder does, asked before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

from runtime.callers import access
from runtime.config.settings import Settings
from runtime.errors import TundishError
from runtime.host.free_ports import Ports, listening


class AddressRefused(TundishError):
    """The gateway cannot listen there."""


def check_address(settings: Settings, ports: Ports) -> Settings:
    """Refuse an address that lets everybody in or is in use; port 0 becomes a free one. Raises AddressRefused.

    The port is held in `ports`: no service that is started before the gateway may take it.
    """
    if not access.is_loopback(settings.host) and not access.is_address(settings.host):
        raise AddressRefused(f"--host {settings.host} is not an address of this machine; use 127.0.0.1 or 0.0.0.0.")
    if told := access.open_to_all(settings):
        raise AddressRefused(f"--host {told}")
    if settings.port == 0:
        return settings.model_copy(update={"port": ports.take("gateway")})
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    if listening(settings.port, host):
        raise AddressRefused(
            f"Port {settings.port} on {settings.host} is in use by another program: stop that one, or choose another "
            f"port with --port {_free_near(settings.port)}"
        )
    ports.hold(settings.port)
    return settings


def taken(path: Path) -> bool:
    """Whether somebody listens on this Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _free_near(port: int) -> int:
    return next((near for near in range(port + 1, min(port + 100, 65536)) if not listening(near)), 0)
