"""Where a server is to leave its notifications: the gateway's webhook, or a list in Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from runtime.errors import TundishError


class NotWired(TundishError):
    """The store could not be wired."""


@dataclass(frozen=True, slots=True)
class Target:
    """A notification target in MinIO's words: `settings` are the keys of `notify_KIND:NAME`. They hold secrets."""

    kind: Literal["webhook", "redis"]
    name: str
    settings: Mapping[str, str] = field(repr=False)

    @property
    def subsystem(self) -> str:
        return f"notify_{self.kind}"

    @property
    def place(self) -> str:
        """Where it sends to, without secrets."""
        return self.settings["endpoint" if self.kind == "webhook" else "address"]

    def environment(self, product: str = "MINIO") -> list[str]:
        """The same as variables of the server's own environment. MinIO takes the name as it stands in them."""
        start, end = f"{product}_NOTIFY_{self.kind.upper()}", self.name.upper() if product == "RUSTFS" else self.name
        values = {"enable": "on", **self.settings}
        return [f'{start}_{key.upper()}_{end}="{value}"' for key, value in values.items()]


def webhook(gateway: str, token: str, name: str = "tundish") -> Target:
    """The gateway's own address. Without `queue_dir`: with it an event takes over a second, and one that is refused
    holds up all others. Raises NotWired."""
    if not token:
        raise NotWired(
            "This system has no token for notifications. Set TUNDISH_EVENT_TOKEN for the gateway and for this command, "
            "or start everything with `tundish up`, which makes one."
        )
    parts = urlsplit(gateway)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotWired(f"{gateway!r} is no address of a gateway; write it like http://127.0.0.1:8000.")
    return _checked("webhook", name, {"endpoint": f"{gateway.rstrip('/')}/events/minio", "auth_token": token})


def redis_list(url: str, key: str, name: str = "tundish") -> Target:
    """A list in a Redis or Valkey that both the server and Tundish reach. Raises NotWired."""
    parts = urlsplit(url)
    if parts.scheme != "redis" or not parts.hostname:
        raise NotWired(f"MinIO writes to redis://HOST:PORT only, not to {parts.scheme or 'an address without scheme'}.")
    if parts.path.strip("/") not in ("", "0"):
        raise NotWired(f"MinIO writes to database 0 only, and the address names {parts.path.strip('/')}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    settings = {"address": f"{host}:{parts.port or 6379}", "key": key, "format": "access"}
    if parts.username and parts.username != "default":
        settings["user_name"] = unquote(parts.username)
    if parts.password:
        settings["password"] = unquote(parts.password)
    return _checked("redis", name, settings)


def _checked(kind: Literal["webhook", "redis"], name: str, settings: Mapping[str, str]) -> Target:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,60}", name):
        raise NotWired(f"{name!r} cannot be the name of a target: use letters, digits and _.")
    for key, value in settings.items():
        if not re.fullmatch(r"[!-~]+", value) or '"' in value or "'" in value:
            raise NotWired(f"MinIO cannot be given the {key} of this system: it has spaces, quotes, or is not ASCII.")
    return Target(kind, name, settings)
