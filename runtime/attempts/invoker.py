"""Calling a handler: its code, its arguments, its context."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgpack
import redis

from runtime.attempts.attempt import Attempt
from runtime.attempts.capture import Capture, life_seconds
from runtime.attempts.generators import collect, collect_async, is_plain, yields, yields_async
from runtime.attempts.items import Items
from runtime.attempts.output import Output
from runtime.attempts.stop_flag import StopFlag
from runtime.callers.ownership import Owners
from runtime.config.settings import Function
from runtime.context import Context, Parent, Ports
from runtime.deployment.async_loop import AsyncLoop
from runtime.deployment.deployment import Deployment
from runtime.deployment.environment import variables
from runtime.deployment.gathered_signature import ITEM, GatheredSignature
from runtime.deployment.loader import load_handler
from runtime.deployment.setups import Setups
from runtime.deployment.signature import Signature
from runtime.errors import BatchFailure, HandlerError
from runtime.file_document import value_of
from runtime.invocations.blobs import Blobs
from runtime.invocations.calls import Origin
from runtime.invocations.cancel import cancel
from runtime.metrics import measures
from runtime.security import redact
from runtime.styles.adapt import adapt
from runtime.values.trace_context import unpacked

log = logging.getLogger("tundish.task")


class PortsFactory(Protocol):
    """Makes the ports of one attempt; calls made through them inherit from it."""

    @property
    def blobs(self) -> Blobs: ...

    def __call__(self, origin: Origin) -> Ports: ...


class Invoker:
    """The handlers of one process, loaded once, and what they are called with."""

    def __init__(self, client: redis.Redis, deployment: Deployment, ports: PortsFactory) -> None:
        self._client, self._deployment, self._ports = client, deployment, ports
        hide = redact.Redactor(redact.known(deployment.settings))
        self._capture = Capture(client, life_seconds(deployment.settings), hide)
        self._handlers: dict[str, tuple[Callable[..., Any], Signature]] = {}
        self._loop = AsyncLoop()
        self._owners = Owners(deployment.settings.project)
        self._setups = Setups(deployment.settings.root, self._loop)

    def load(self, queue: str) -> None:
        """Load the functions of a queue now: a child that is forked later runs the code that its elders run.

        One that does not load is left for its calls to fail on: the others must not suffer.
        """
        for deployed in self._deployment.functions.values():
            if deployed.spec.queue == queue:
                try:
                    self.handler(deployed.spec)
                except HandlerError as error:
                    log.error("%s is not available: %s", deployed.spec.name, error)

    def call(self, spec: Function, attempt: Attempt) -> Any:
        """Run one invocation. Raises whatever the function raises, InvalidArguments and HandlerError."""
        handler, signature = self.handler(spec)
        if isinstance(signature, GatheredSignature):  # it goes alone: a retry, say
            try:
                (result,) = self.call_gathered(spec, attempt, [self.item(spec, attempt)])
            except BatchFailure as failure:
                raise failure.error_of(0) or failure from None
            return result
        arguments = signature.validate(self._given(attempt), self._ports.blobs)
        with self._capture.attempt(attempt.id, spec.name, attempt.number, attempt.text("tenant")) as output:
            state = self._setups.state(spec)
            if signature.takes_context:
                arguments["context"] = self._context(spec, attempt, output, state)
            return _run(spec, self._loop, lambda: handler(**arguments), lambda: self._items(spec, attempt))

    def item(self, spec: Function, attempt: Attempt) -> Any:
        """The item that a member gives to a gathered call. Raises InvalidArguments."""
        return self.handler(spec)[1].validate(self._given(attempt), self._ports.blobs)[ITEM]

    def call_gathered(self, spec: Function, attempt: Attempt, items: Sequence[Any]) -> Any:
        """Run a handler that takes a list, once."""
        handler, signature = self.handler(spec)
        assert isinstance(signature, GatheredSignature)  # noqa: S101
        with self._capture.attempt(attempt.id, spec.name, attempt.number, attempt.text("tenant")) as output:
            context = self._context(spec, attempt, output, self._setups.state(spec))
            return _run(spec, self._loop, lambda: signature.call(handler, items, context), None)

    def handler(self, spec: Function) -> tuple[Callable[..., Any], Signature]:
        """A function and its signature. Raises HandlerError."""
        known = self._handlers.get(spec.name)
        if known is None:
            with variables(spec):  # code that came from elsewhere reads them when it is imported
                function, _ = adapt(load_handler(spec.handler, self._deployment.settings.root), spec.style)
                self._setups.load(spec)
            signature = GatheredSignature(function) if spec.gather else Signature(function)
            known = self._handlers[spec.name] = function, signature
        return known

    def _given(self, attempt: Attempt) -> dict[str, Any]:
        reference = attempt.text("arguments_ref")
        if not reference:
            return attempt.arguments()
        found: dict[str, Any] = msgpack.unpackb(self._ports.blobs.get(reference), raw=False, strict_map_key=False)
        return found

    def _context(self, spec: Function, attempt: Attempt, output: Output, state: Any) -> Context:
        tenant, root, trace = attempt.text("tenant"), attempt.text("root"), unpacked(attempt.text("trace"))
        deadline, event = attempt.seconds("deadline"), attempt.text("event")
        ends = [deadline, None if spec.timeout is None else time.time() + spec.timeout]
        origin = Origin(
            attempt.id,
            root,
            spec.name,
            tenant,
            int(attempt.text("priority") or spec.priority),
            deadline,
            trace or None,
            attempt.hops,
            int(attempt.text("round") or 0),
            attempt.flag("confined"),
        )
        return Context(
            id=attempt.id,
            function=spec.name,
            ports=self._ports(origin),
            attempt=attempt.number,
            tenant=tenant,
            confined=origin.confined,
            owners=self._owners.of,
            trigger=attempt.text("trigger"),
            root_id=root,
            parents=tuple(map(self._parent, attempt.parents())),
            trace=trace,
            event=json.loads(event) if event else None,
            accepted=attempt.seconds("created") or time.time(),
            deadline=min((moment for moment in ends if moment is not None), default=None),
            log=logging.getLogger(f"tundish.function.{spec.name}"),
            stop_asked=StopFlag(self._client, attempt.id, attempt.fence),
            report=output.progress,
            count_in=lambda name, amount: measures.count(
                self._client, measures.COUNTED, {f"{spec.name}\n{name}": amount}
            ),
            state=state,
        )

    def _parent(self, told: Mapping[str, Any]) -> Parent:
        reference = told.get("result_ref")
        result = json.loads(self._ports.blobs.get(reference) if reference else told["result"])
        if told.get("result_type"):
            result = value_of(result, self._ports.blobs)
        return Parent(told["id"], told["function"], result, told.get("state") or "succeeded")

    def _items(self, spec: Function, attempt: Attempt) -> Items:
        def leave() -> None:
            cancel(self._client, self._deployment, attempt.id, "its caller is gone")

        return Items(self._client, attempt, spec.timeout, leave)


def _run(spec: Function, loop: AsyncLoop, call: Callable[[], Any], begin: Callable[[], Items] | None) -> Any:
    """Call a handler, wait for what is to be awaited, and make all items of a generator."""
    with variables(spec):
        result = call()
        if is_plain(result):
            return result
        if inspect.isawaitable(result) or (begin and yields_async(result)):
            return loop.run(_awaited(result, begin))
        return collect(result, begin) if begin and yields(result) else result


async def _awaited(result: Any, begin: Callable[[], Items] | None) -> Any:
    found = await result if inspect.isawaitable(result) else result
    if begin and yields_async(found):
        return await collect_async(found, begin)
    return collect(found, begin) if begin and yields(found) else found
