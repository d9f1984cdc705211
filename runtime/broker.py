"""Connections to the broker (Redis or Valkey), made in one place with one set of time limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.errors import BrokerDown, BrokerFull

# A command that hangs is worse than one that fails: every caller can try again or say 503.
TIMEOUT_SECONDS = 5.0
_DOWN = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError)
_CANNOT_WRITE = ("MISCONF", "READONLY")
"""How it says that it answers, but takes no writes: its disk is full, or it is a replica now."""


def connect(url: str) -> redis.Redis:
    """A blocking client; it connects at its first command. One try over a fresh connection, then it raises."""
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )


def connect_async(url: str, *, timeout: float | None = TIMEOUT_SECONDS) -> redis.asyncio.Redis:
    """The same for asyncio. `timeout=None` is for connections that listen.

    A connection that lay idle while the broker was started again costs nobody an answer; a broker that hangs is not
    asked twice.
    """
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,)),
        health_check_interval=30,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's errors into BrokerDown and BrokerFull, whose messages a person can act on."""
    try:
        yield
    except _DOWN as error:
        raise BrokerDown(f"{inspect_reason(error)} {BrokerDown.__doc__}") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise BrokerFull from error
    except redis.ResponseError as error:
        if not str(error).startswith(_CANNOT_WRITE) and not isinstance(error, redis.exceptions.ReadOnlyError):
            raise
        raise BrokerDown(f"The broker takes no writes: {error!s:.200}") from error


def inspect_reason(error: Exception) -> str:
    """The cause in one sentence, without the URL (it may hold a password)."""
    return f"The broker did not answer ({type(error).__name__})."
