"""Whether a gateway asks who calls, and by which names it may be called."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from runtime.config.settings import Settings


def required(settings: Settings) -> bool:
    """Whether every request needs a key: as the environment says, else functions.yaml, else on all but loopback."""
    if settings.access.auth is not None:
        return settings.access.auth == "required"
    if settings.project.auth.required is not None:
        return settings.project.auth.required
    return not is_loopback(settings.host)


def open_to_all(settings: Settings) -> str | None:
    """Why a gateway with these settings must not start, if so: the network could do anything with it."""
    if is_loopback(settings.host) or required(settings):
        return None
    off = "TUNDISH_AUTH=off" if settings.access.auth else "auth: {required: false} in functions.yaml"
    return (
        f"{settings.host} would let everybody on the network in, and {off} asks nobody who they are: "
        "listen on 127.0.0.1, or remove that."
    )


def names(settings: Settings) -> frozenset[str]:
    """Host names, in lower case, that are the gateway's own besides its address and loopback; `*` is any."""
    public = urlsplit(settings.access.public_url).hostname
    given = (*settings.access.hosts, *settings.project.auth.hosts, *((public,) if public else ()))
    return frozenset(name.lower() for name in given)


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_address(name: str) -> bool:
    """Whether it is an IP address rather than a name, which somebody else could let lead here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
