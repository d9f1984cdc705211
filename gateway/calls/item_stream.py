"""The answer to a caller who waits for a generator: its items as they come, as NDJSON or as server-sent events.

The status is that of the first item; a call that fails before it is answered like any other. A failure after it
is told as the last thing (a problem document as the last line, or the event `error`), and an NDJSON answer is cut off,
so that no program takes a part for the whole. A caller who leaves stops the generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.calls import outcome
from gateway.calls.accepting import Taken, submit
from gateway.calls.item_feed import BrokenOff, ItemFeed, TimeOver
from gateway.calls.waiting import longest_wait, replay
from gateway.state import Gateway
from gateway.web import accepts
from gateway.web.call_headers import Wishes
from gateway.web.problems import problem
from gateway.web.streams import HEARTBEAT_SECONDS, event
from runtime.attempts.items import Item
from runtime.deployment.deployment import Deployed
from runtime.deployment.upload_hints import STREAM
from runtime.errors import BrokerDown
from runtime.invocations.cancel import cancel_async
from runtime.invocations.invocation import Invocation, read_async
from runtime.invocations.submit import Call

CALLER_GONE = "its caller has gone"


def wanted(deployed: Deployed, request: Request, wishes: Wishes) -> str | None:
    """As what the items of a call go to its caller one by one; None: it gets one answer, or none."""
    if not (deployed.returns and deployed.returns.get(STREAM)) or wishes.later or wishes.wait is not None:
        return None
    found = accepts.chosen(request.headers, accepts.STREAMS)
    return None if found == accepts.JSON else found


async def stream(
    request: Request, gateway: Gateway, deployed: Deployed, work: Call, wishes: Wishes, kind: str
) -> Response:
    """Submit a call that has its id, and answer with its items."""
    task_id, longest = str(work.id), longest_wait(deployed)
    work = replace(work, reply_to=gateway.id, retry=False, streamed=True, deadline=time.time() + longest)
    with contextlib.ExitStack() as stack:
        wake = stack.enter_context(gateway.replies.follow(task_id))
        first = await submit(gateway, work)
        if first.replayed:
            request.state.call_id = first.id
            return await replay(gateway, work, Taken(first.id, replayed=True), wishes)
        feed = ItemFeed(gateway, task_id, wake, time.monotonic() + longest)
        return ItemStream(gateway, deployed, task_id, feed, kind, stack.pop_all())


class ItemStream(Response):
    """One answer. Whatever ends it, the call has ended or is stopped."""

    def __init__(
        self,
        gateway: Gateway,
        deployed: Deployed,
        task_id: str,
        feed: ItemFeed,
        kind: str,
        stack: contextlib.ExitStack,
    ) -> None:
        # A proxy in front must not gather what is sent.
        headers = {"X-Call-Id": task_id, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=kind)
        del self.headers["content-length"]
        self._gateway, self._name, self._task_id, self._feed = gateway, deployed.spec.name, task_id, feed
        self._events, self._stack, self._begun = kind == accepts.EVENT_STREAM, stack, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._answer(scope, receive, send))
        beside = [asyncio.create_task(_left(receive)), asyncio.create_task(self._feed.be_there())]
        if self._events:
            beside.append(asyncio.create_task(self._signs(send)))
        try:
            await asyncio.wait([work, beside[0]], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            self._stack.close()
            if not work.done():
                await self._stop(CALLER_GONE)
            await _cancelled(work, *beside)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with contextlib.aclosing(self._feed.pages()) as pages:
                async for page in pages:
                    await self._send(send, b"".join(map(self._item, page)))
        except TimeOver:
            await self._stop(outcome.TIME_OVER)
            failure = problem(504, f"{self._name} has not ended in time; the call was stopped.", call_id=self._task_id)
        except BrokenOff as error:
            await self._stop(str(error))
            failure = problem(503 if not self._feed.taken else 500, str(error), call_id=self._task_id)
        else:
            record = await self._ended()
            if record is not None and record.state == "succeeded":
                await self._send(send, self._end(record), more=False)
                return
            gone = "The record of the call is gone; what became of it is not known."
            failure = outcome.answer(record) if record else problem(500, gone, call_id=self._task_id)
        if not self._begun:
            failure.headers.update({name: value for name, value in self.headers.items() if name == "traceparent"})
            await failure(scope, receive, send)
        elif self._events:
            await self._send(send, event("error", "", bytes(failure.body)), more=False)
        else:  # without a last chunk: the connection is cut
            await self._send(send, bytes(failure.body) + b"\n")

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": data, "more_body": more})

    def _item(self, item: Item) -> bytes:
        return b"id: %s\ndata: %s\n\n" % (item.id.encode(), item.data) if self._events else item.data + b"\n"

    def _end(self, record: Invocation) -> bytes:
        if not self._events:
            return b""
        told = {"task_id": record.id, "items": self._feed.taken, "attempts": record.attempts}
        return event("end", "", to_json({**told, "duration_seconds": record.seconds}))

    async def _signs(self, send: Send) -> None:
        """Comments for whoever would take a silent connection for a dead one."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if self._begun:
                await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})

    async def _ended(self) -> Invocation | None:
        """The record of a call that has ended. Raises BrokerDown."""
        return await read_async(self._gateway.redis, self._task_id)

    async def _stop(self, reason: str) -> None:
        # A broker that is away: the worker notices that nobody takes its items.
        with contextlib.suppress(BrokerDown):
            await cancel_async(self._gateway.redis, self._gateway.deployment, self._task_id, reason)


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    """End tasks. Redis' client can take a cancellation for a timeout, and go on: it is told again."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1.0)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # that of the answer itself was raised


async def _left(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
