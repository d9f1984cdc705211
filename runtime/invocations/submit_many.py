"""Submitting many calls in one step of the broker, which writes them to its disk together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis.asyncio

from runtime.broker import replication
from runtime.broker.connection import translated
from runtime.broker.scripts import Argument
from runtime.deployment.deployment import Deployment
from runtime.errors import KeyReused, LimitReached
from runtime.invocations.submit import Accepted, Call, accepted_of, now_ms, prepare

if TYPE_CHECKING:
    from runtime.broker.wire import Wire

TOGETHER = 32
"""Calls in one step: the broker answers nobody else for the 2 ms that they take."""


async def accept_many_async(
    client: redis.asyncio.Redis, deployment: Deployment, calls: Sequence[Call], wire: Wire | None = None
) -> tuple[list[Accepted], KeyReused | LimitReached | None]:
    """Record and queue calls in their order, at most TOGETHER: those before the first that is refused, and why it is.

    Raises BrokerDown, with which nobody knows how many of them were accepted, and FunctionNotFound.
    """
    arguments: list[Argument] = []
    for call in calls:
        own = prepare(deployment, call, now_ms()).arguments
        arguments += [len(own), *own]
    with translated():
        replicas = deployment.settings.project.broker.replicas
        answers: list[Any] = await replication.run_async(client, "submit_many", arguments, replicas, wire)
    accepted: list[Accepted] = []
    for answer in answers:
        try:
            accepted.append(accepted_of(answer))
        except (KeyReused, LimitReached) as refusal:
            return accepted, refusal
    return accepted, None
