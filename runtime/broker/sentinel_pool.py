"""Clients of whichever server is the master now, as the Sentinels say at every new connection."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio import sentinel as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from runtime.config.broker import BrokerSpec
from runtime.sentinel import ASK_SECONDS, Sentinels


class WaitingPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """With as many connections as are allowed; who needs one more waits."""


class WaitingPoolAsync(asynchronous.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """The same for asyncio."""


def master(found: Sentinels, spec: BrokerSpec, options: dict[str, Any]) -> redis.Redis:
    """A blocking client; `options` are those of its connections."""
    asking = {**_asking(found), "retry": Retry(NoBackoff(), 0)}
    manager = Sentinel(found.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    pool: dict[str, Any] = {} if spec.pool is None else {"connection_pool_class": WaitingPool}
    told = {**pool, **_connections(found, spec), **options}
    made: redis.Redis = manager.master_for(found.master, **told)  # type: ignore[no-untyped-call]
    return made


def master_async(found: Sentinels, spec: BrokerSpec, options: dict[str, Any]) -> redis.asyncio.Redis:
    """The same for asyncio."""
    asking = {**_asking(found), "retry": AsyncRetry(NoBackoff(), 0)}
    manager = asynchronous.Sentinel(found.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    pool: dict[str, Any] = {} if spec.pool is None else {"connection_pool_class": WaitingPoolAsync}
    made: redis.asyncio.Redis = manager.master_for(found.master, **pool, **_connections(found, spec), **options)
    return made


def _asking(found: Sentinels) -> dict[str, Any]:
    return {**found.own, "socket_timeout": ASK_SECONDS, "socket_connect_timeout": ASK_SECONDS}


def _connections(found: Sentinels, spec: BrokerSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"db": found.database, "username": found.username, "password": found.password}
    return told if spec.pool is None else {**told, "max_connections": spec.pool, "timeout": 5.0}
