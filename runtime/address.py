"""Where the gateway may listen and the embedder does, asked before anything is started."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from runtime.config import Settings
from runtime.errors import TundishError
from runtime.free_ports import Ports, listening


class AddressRefused(TundishError):
    """The gateway cannot listen there."""


def check_address(settings: Settings) -> Settings:
    """Refuse an address that is open to others or in use; port 0 becomes a free one. Raises AddressRefused."""
    if not _loopback(settings.host):
        raise AddressRefused(
            f"--host {settings.host} would let everybody on the network in, and there is no authentication yet: "
            "use 127.0.0.1, and put a proxy that authenticates in front of it."
        )
    if settings.port == 0:
        return settings.model_copy(update={"port": Ports(settings.home).take("gateway")})
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    if listening(settings.port, host):
        raise AddressRefused(
            f"Port {settings.port} on {settings.host} is in use by another program: stop that one, or choose another "
            f"port with --port {_free_near(settings.port)}"
        )
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


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise AddressRefused(f"--host {host} is not an address of this machine; use 127.0.0.1.") from None


def _free_near(port: int) -> int:
    return next((near for near in range(port + 1, min(port + 100, 65536)) if not listening(near)), 0)
