"""The gateway's outbox at work: calls are written down while the broker is away, and delivered when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import redis

from runtime.broker.connection import connect
from runtime.config.limits import OutboxSpec
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown, BrokerFull, OutboxFull
from runtime.invocations.submit import Call
from runtime.outbox.delivery import deliver
from runtime.outbox.journal import framed
from runtime.outbox.kept_call import Kept
from runtime.outbox.outbox import Outbox

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
LOOK_SECONDS = 5.0
"""How often boxes of gateways that are gone are looked for."""

_ROUND = 100
log = logging.getLogger("tundish.outbox")


class Courier:
    """One for each gateway. `run` works for as long as the gateway does; `keep` is for requests."""

    def __init__(self, folder: Path, broker_url: str, deployment: Callable[[], Deployment]) -> None:
        self.outbox = Outbox(folder)
        self.away = False
        """The broker did not answer lately: calls that may wait are written down without asking it again."""
        self._deployment = deployment
        self._client = connect(broker_url)
        self._wake = asyncio.Event()
        self._pending: list[tuple[Kept, bytes, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self._trouble = ""

    async def keep(self, call: Call) -> None:
        """Write a call down that has an id; returns when it is on disk. Raises OutboxFull.

        Calls that come while others are being written share the next sync.
        """
        deployment = self._deployment()
        spec = deployment.find(call.function).spec
        kept = Kept(call, time.time(), spec.queue, spec.priority if call.priority is None else call.priority)
        data = kept.pack()
        self._check(deployment.settings.project.outbox, framed(len(data)))
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((kept, data, written))
        self._pending_bytes += framed(len(data))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    def broker_is_away(self) -> None:
        self.away = True
        self._wake.set()

    async def find(self, task_id: str) -> Kept | None:
        """A call that waits here."""
        if task_id not in self.outbox:
            return None
        return await anyio.to_thread.run_sync(self.outbox.find, task_id)

    async def start(self) -> None:
        """Take over what gateways that are gone left behind, before the first request asks for it."""
        await anyio.to_thread.run_sync(self._adopt)

    async def run(self) -> None:
        """Deliver whatever waits. The broker is asked more and more seldom while it is away."""
        pause, said = FIRST_PAUSE_SECONDS, False
        while True:
            if not self.away and not self.outbox.calls:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
            self._wake.clear()
            try:
                await anyio.to_thread.run_sync(self._round)
            except (BrokerDown, redis.RedisError, OSError) as error:
                if isinstance(error, BrokerFull | OSError):  # that says nothing of a broker that is away
                    self.away = False
                if not said:
                    log.warning("calls that may wait are kept in %s: %s", self.outbox.folder, error)
                said = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                if said and not self.outbox.calls:
                    log.info("every call that waited in %s is delivered", self.outbox.folder)
                    said = False
                self.away, pause = False, FIRST_PAUSE_SECONDS

    async def close(self) -> None:
        """Leave what waits to the next gateway."""
        self._closing = True
        if self._writer is not None:
            await asyncio.wait([self._writer])
        await anyio.to_thread.run_sync(self.outbox.close)
        self._client.close()

    def verdict(self) -> dict[str, Any]:
        """For /readyz: whether another call would find room, and how many wait."""
        calls, used = self.outbox.calls, self.outbox.size
        detail = f"{calls} calls wait for the broker" if calls else ""
        try:
            self._check(self._deployment().settings.project.outbox, 0)
        except OutboxFull as error:
            return {"ready": False, "detail": str(error), "calls": calls, "bytes": used}
        return {"ready": True, "detail": detail, "calls": calls, "bytes": used}

    def collect(self) -> Iterator[Metric]:
        """For /metrics."""
        from prometheus_client.metrics_core import GaugeMetricFamily  # for a scrape only

        yield GaugeMetricFamily("tundish_outbox_calls", "Calls that wait for the broker.", self.outbox.calls)
        yield GaugeMetricFamily("tundish_outbox_bytes", "Bytes of the outbox on disk.", self.outbox.size)

    def _adopt(self) -> None:
        try:
            found, trouble = self.outbox.adopt(), ""
        except OSError as error:
            found, trouble = 0, str(error)
        if found:
            log.warning("%d calls of a gateway that is gone wait in %s", found, self.outbox.folder)
        if trouble and trouble != self._trouble:
            log.error("the outbox in %s cannot be read: %s", self.outbox.folder, trouble)
        self._trouble = trouble

    def _round(self) -> None:
        """Deliver some calls, oldest first. Raises BrokerDown, redis.RedisError, OSError."""
        self._adopt()
        if not self.outbox.calls and self.away:
            self._client.ping()
        for _ in range(_ROUND):
            waiting = None if self._closing else self.outbox.oldest()
            if waiting is None:
                return
            deliver(self._client, self._deployment(), waiting)
            self.outbox.done(waiting)
            self.away = False

    def _check(self, limits: OutboxSpec, size: int) -> None:
        calls, used = self.outbox.calls + len(self._pending), self.outbox.size + self._pending_bytes
        if calls >= limits.max_calls or used + size > limits.max_bytes:
            raise OutboxFull(
                f"The broker is away, and the outbox has no room for more: {calls} calls wait ({used} bytes; "
                "outbox.max_calls and outbox.max_bytes in functions.yaml). Try again when the broker is back."
            )

    async def _write(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            failure: OutboxFull | None = OutboxFull()
            try:
                await anyio.to_thread.run_sync(self.outbox.add, [(kept.id, data) for kept, data, _ in batch])
                failure = None
            except OSError as error:
                failure = OutboxFull(
                    f"The broker is away, and the outbox in {self.outbox.folder} cannot be written "
                    f"({error.strerror or error}). Try again when the broker is back."
                )
                log.error("%s", failure)
            finally:
                self._pending_bytes -= sum(framed(len(data)) for _, data, _ in batch)
                for _, _, written in batch:
                    if written.done():  # its request is gone
                        continue
                    if failure is None:
                        written.set_result(None)
                    else:
                        written.set_exception(failure)
            self._wake.set()
