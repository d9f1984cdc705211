"""Connections to the broker (Redis or Valkey), made in one place with one set of time limits."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime import sentinel
from runtime.config.broker import BrokerSpec
from runtime.errors import BrokerDown, BrokerFull

# A command that hangs is worse than one that fails: every caller can try again or say 503.
TIMEOUT_SECONDS = 5.0
HEALTH_SECONDS = 30
"""A connection that lay idle for so long is asked whether it still is one, before it is used."""

PROBES = 3
"""Questions of the system without an answer, after which a connection is given up."""

DEFAULT = BrokerSpec()
_DOWN = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError)
_CANNOT_WRITE = ("MISCONF", "READONLY", "NOREPLICAS")
"""How it says that it answers, but takes no writes: its disk is full, it is a replica now, or has too few of these."""


def connect(url: str, spec: BrokerSpec = DEFAULT) -> redis.Redis:
    """A blocking client; it connects at its first command. One try over a fresh connection, then it raises."""
    options = {**_options(url, spec, TIMEOUT_SECONDS), "retry": Retry(NoBackoff(), 1)}
    if sentinel.is_sentinel(url):
        from runtime.broker import sentinel_pool

        return sentinel_pool.master(sentinel.parse(url), spec, options)
    if spec.pool is None:
        return redis.Redis.from_url(url, **options)
    waiting = {"max_connections": spec.pool, "timeout": TIMEOUT_SECONDS}
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, **waiting, **options))


def connect_async(
    url: str, spec: BrokerSpec = DEFAULT, *, timeout: float | None = TIMEOUT_SECONDS
) -> redis.asyncio.Redis:
    """The same for asyncio. `timeout=None` is for connections that listen.

    A connection that lay idle while the broker was started again costs nobody an answer; a broker that hangs is not
    asked twice.
    """
    options = {**_options(url, spec, timeout), "retry": AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,))}
    if sentinel.is_sentinel(url):
        from runtime.broker import sentinel_pool

        return sentinel_pool.master_async(sentinel.parse(url), spec, options)
    if spec.pool is None:
        return redis.asyncio.Redis.from_url(url, **options)
    waiting = {"max_connections": spec.pool, "timeout": TIMEOUT_SECONDS}
    return redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool.from_url(url, **waiting, **options))


def place(url: str) -> str:
    """Where the broker is, for people: without user and password."""
    if sentinel.is_sentinel(url):
        found = sentinel.parse(url)
        return f"{found.master} behind {', '.join(f'{host}:{port}' for host, port in found.hosts)}"
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


def keepalive(spec: BrokerSpec) -> dict[str, Any]:
    """How a TCP connection is watched while nothing is said on it, as redis-py and kombu take it.

    A host that is cut off sends no end: without this, who only listens would wait for it for two hours (Linux).
    """
    if not spec.keepalive:
        return {"socket_keepalive": False, "socket_keepalive_options": {}}
    idle = max(1, int(spec.keepalive))
    names = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,  # macOS's name for it
        "TCP_KEEPINTVL": max(1, idle // PROBES),
        "TCP_KEEPCNT": PROBES,
    }
    options = {getattr(socket, name): value for name, value in names.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}


def _options(url: str, spec: BrokerSpec, timeout: float | None) -> dict[str, Any]:
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "health_check_interval": HEALTH_SECONDS,
        **({} if url.startswith("unix:") else keepalive(spec)),
    }


class _Translation:
    """A class, for a generator would take three times as long, and every command comes through here."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DOWN):
            raise BrokerDown(f"{inspect_reason(error)} {BrokerDown.__doc__}") from error
        if isinstance(error, redis.exceptions.OutOfMemoryError):
            raise BrokerFull from error
        if isinstance(error, redis.ResponseError) and (
            str(error).startswith(_CANNOT_WRITE) or isinstance(error, redis.exceptions.ReadOnlyError)
        ):
            raise BrokerDown(f"The broker takes no writes: {error!s:.200}") from error


_TRANSLATION = _Translation()


def translated() -> _Translation:
    """Turn the client's errors into BrokerDown and BrokerFull, whose messages a person can act on."""
    return _TRANSLATION


def inspect_reason(error: Exception) -> str:
    """The cause in one sentence, without the URL (it may hold a password)."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "The broker's certificate is not trusted here; SSL_CERT_FILE can name the authority that signed it."
    return f"The broker did not answer ({type(error).__name__})."
