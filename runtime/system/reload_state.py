"""The last reload of a system, for the dashboard and the command line: one key in Redis."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import connect
from runtime.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Reload:
    """`at`: when it began, in seconds since the epoch; `ok`: whether all of it was taken over; `queues`: where."""

    at: float
    seconds: float
    ok: bool
    message: str
    files: Sequence[str] = ()
    queues: Sequence[str] = ()


def record(settings: Settings, done: Reload) -> None:
    """Remember it; a broker that is away only means that nobody reads of it."""
    with contextlib.suppress(redis.RedisError), connect(settings.broker_url) as client:
        client.set(keys.RELOAD, json.dumps(asdict(done)))


def read(raw: Any) -> Reload | None:
    """What is in the key; None where nothing was ever reloaded."""
    return Reload(**json.loads(raw)) if raw else None
