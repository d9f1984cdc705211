"""The public keys of somebody who signs tokens: fetched now and then, never for a token whose key is known."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from runtime.store.library import load

Key = Any
"""A public key as PyJWT takes it; the library is imported with the first token."""

FRESH_SECONDS = 600.0
"""How old keys may be: one that its owner takes back signs nothing after that."""
AGAIN_SECONDS = 10.0
"""The least time between two fetches: tokens with invented key ids must not become requests to somebody else."""
TIMEOUT_SECONDS = 5.0
LARGEST = 2**20

log = logging.getLogger("tundish.auth")


class NoKeys(Exception):
    """The keys could never be had."""


class Keys:
    """`fetch` gets the JWK set and may block."""

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: dict[str | None, Key] | None = None
        self._tried, self._fetched = -AGAIN_SECONDS, -FRESH_SECONDS
        self._lock = asyncio.Lock()
        self._behind: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Key | None:
        """The key of this id; without an id the only one there is. Raises NoKeys."""
        if self._keys is None or self._named(kid) is None:
            await self._refresh()
        elif self._clock() - self._fetched >= FRESH_SECONDS and (self._behind is None or self._behind.done()):
            self._behind = asyncio.create_task(self._refresh())  # who asks now does not wait for it
        if self._keys is None:
            raise NoKeys
        return self._named(kid)

    def _named(self, kid: str | None) -> Key | None:
        keys = self._keys or {}
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    async def _refresh(self) -> None:
        async with self._lock:
            if self._clock() - self._tried < AGAIN_SECONDS:
                return
            self._tried = self._clock()
            try:
                self._keys = parse(await anyio.to_thread.run_sync(self._fetch))
            except Exception as error:  # noqa: BLE001 - whatever came, the keys that are known stay
                log.warning("the keys that sign tokens cannot be fetched: %s", error)
            else:
                self._fetched = self._clock()


def parse(document: bytes) -> dict[str | None, Key]:
    """The keys of a JWK set by their ids; those that this program cannot use are left out. Raises ValueError."""
    from jwt import PyJWK, PyJWKError

    found: dict[str | None, Key] = {}
    for entry in json.loads(document)["keys"]:
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            key = PyJWK(entry)
        except PyJWKError:
            continue
        # Where the key itself says which algorithm it is for, it is for no other.
        found[key.key_id] = key if "alg" in entry else key.key
    if not found:
        raise ValueError("there is no public key for signatures in it")
    return found


def from_file(path: Path) -> Callable[[], bytes]:
    return path.read_bytes


def from_url(url: str) -> Callable[[], bytes]:
    """Over HTTPS, certificate checked, no redirects."""

    def fetch() -> bytes:
        load()
        import urllib3

        with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(TIMEOUT_SECONDS)) as pool:
            answer = pool.request("GET", url, preload_content=False, redirect=False)
            if answer.status != 200:
                raise ValueError(f"{url} answered {answer.status}")
            data = answer.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"{url} answered more than {LARGEST} bytes")
        return data

    return fetch
