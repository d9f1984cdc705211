"""API keys in Redis: who made them, what they may do. The secrets themselves are kept nowhere.

A key is `tundish_NAME_SECRET`; the secret has 256 random bits, and its SHA-256 is what is stored. Slow hashes (bcrypt,
argon2) are for passwords, which people choose and others can guess; nobody tries 2^256 secrets, however fast the
hash is, and a slow one would cost its time at every request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.errors import TundishError
from runtime.security.principal import DEFAULT_TENANT, Principal, Role

PREFIX = "tundish"
KEPT_SECONDS = 30 * 86400.0
"""How long keys that have expired are still listed."""
ADMIN = "admin"
"""The name of the first administrator's key, which is in a file."""
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,49}")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SECRET_BYTES = 32


class KeyExists(TundishError):
    """There is a key of this name already."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. `digest` is the SHA-256 of its secret. Times are seconds since the epoch; `expires` None: never."""

    name: str
    role: Role
    digest: str
    created: float
    by: str = ""
    tenant: str = DEFAULT_TENANT
    confined: bool = True
    functions: tuple[str, ...] | None = None
    expires: float | None = None
    used: float | None = None
    """When it was last used, to the minute."""

    def principal(self) -> Principal:
        functions = None if self.functions is None else frozenset(self.functions)
        return Principal(self.name, self.role, self.tenant, self.confined, functions)

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires

    def fits(self, secret: str) -> bool:
        """Whether this is its secret, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(digest_of(secret), self.digest)

    def told(self, now: float) -> dict[str, Any]:
        """What may be shown of it."""
        shown = {name: value for name, value in asdict(self).items() if name != "digest"}
        return shown | {"expired": self.expired(now)}


def new(name: str, role: Role, **more: Any) -> tuple[ApiKey, str]:
    """A key, and what its owner sends: that is shown once and never stored."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return ApiKey(name, role, digest_of(secret), time.time(), **more), f"{PREFIX}_{name}_{secret}"


def split(token: str) -> tuple[str, str] | None:
    """Name and secret of what somebody sent; None for what cannot be one of our keys."""
    prefix, _, rest = token.partition("_")
    name, _, secret = rest.partition("_")
    return (name, secret) if prefix == PREFIX and secret and NAME.fullmatch(name) else None


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def add(client: redis.Redis, key: ApiKey) -> None:
    """Store a key. Raises KeyExists, BrokerDown."""
    with translated():
        if not client.hsetnx(keys.API_KEYS, key.name, _encode(key)):
            raise KeyExists(f"There is a key called {key.name} already: revoke that one first, or choose another name.")


def listed(client: redis.Redis) -> list[ApiKey]:
    """All keys, the oldest first; those that expired a month ago are removed. Raises BrokerDown."""
    now = time.time()
    with translated():
        found: dict[bytes, bytes] = client.hgetall(keys.API_KEYS)  # type: ignore[assignment]
        used: dict[bytes, bytes] = client.hgetall(keys.API_KEYS_USED)  # type: ignore[assignment]
        there, old = list[ApiKey](), list[str]()
        for name, raw in found.items():
            key = decode(name.decode(), raw)
            if key.expires is not None and key.expires < now - KEPT_SECONDS:
                old.append(key.name)
            else:
                there.append(replace(key, used=float(used[name]) if name in used else None))
        if old:
            client.hdel(keys.API_KEYS, *old)
        if gone := [name for name in used if name not in found or name.decode() in old]:
            client.hdel(keys.API_KEYS_USED, *gone)
    return sorted(there, key=lambda key: key.created)


def find(client: redis.Redis, name: str) -> ApiKey | None:
    """The key of a name. Raises BrokerDown."""
    with translated():
        raw: bytes | None = client.hget(keys.API_KEYS, name)  # type: ignore[assignment]
    return None if raw is None else decode(name, raw)


def revoke(client: redis.Redis, name: str) -> bool:
    """Whether there was one; it opens nothing from now on. Raises BrokerDown."""
    with translated():
        gone = client.hdel(keys.API_KEYS, name)
        client.hdel(keys.API_KEYS_USED, name)
    return bool(gone)


def decode(name: str, raw: bytes) -> ApiKey:
    told = json.loads(raw)
    functions = told.pop("functions", None)
    return ApiKey(name, functions=None if functions is None else tuple(functions), **told)


def _encode(key: ApiKey) -> str:
    left_out = ("name", "used")
    return json.dumps({name: value for name, value in asdict(key).items() if name not in left_out})
