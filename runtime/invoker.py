"""Calling a handler: its code, its arguments, its context."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgpack
import redis

from runtime.attempt import Attempt
from runtime.blobs import Blobs
from runtime.calls import Origin
from runtime.capture import Capture, life_seconds
from runtime.config import Function
from runtime.context import Context, Parent, Ports
from runtime.deployment import Deployment
from runtime.environment import variables
from runtime.errors import BatchFailure, HandlerError
from runtime.gathered_signature import ITEM, GatheredSignature
from runtime.loader import load_handler
from runtime.output import Output
from runtime.signature import Signature
from runtime.stop_flag import StopFlag

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
        self._capture = Capture(client, life_seconds(deployment.settings))
        self._handlers: dict[str, tuple[Callable[..., Any], Signature]] = {}

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
        arguments = signature.validate(self._given(attempt))
        with self._capture.attempt(attempt.id, spec.name, attempt.number) as output:
            if signature.takes_context:
                arguments["context"] = self._context(spec, attempt, output)
            return _run(spec, lambda: handler(**arguments))

    def item(self, spec: Function, attempt: Attempt) -> Any:
        """The item that a member gives to a gathered call. Raises InvalidArguments."""
        return self.handler(spec)[1].validate(self._given(attempt))[ITEM]

    def call_gathered(self, spec: Function, attempt: Attempt, items: Sequence[Any]) -> Any:
        """Run a handler that takes a list, once."""
        handler, signature = self.handler(spec)
        assert isinstance(signature, GatheredSignature)  # noqa: S101
        with self._capture.attempt(attempt.id, spec.name, attempt.number) as output:
            return _run(spec, lambda: signature.call(handler, items, self._context(spec, attempt, output)))

    def handler(self, spec: Function) -> tuple[Callable[..., Any], Signature]:
        """A function and its signature. Raises HandlerError."""
        if spec.name not in self._handlers:
            function = load_handler(spec.handler, self._deployment.settings.root)
            signature = GatheredSignature(function) if spec.gather else Signature(function)
            self._handlers[spec.name] = function, signature
        return self._handlers[spec.name]

    def _given(self, attempt: Attempt) -> dict[str, Any]:
        reference = attempt.text("arguments_ref")
        if not reference:
            return attempt.arguments()
        found: dict[str, Any] = msgpack.unpackb(self._ports.blobs.get(reference), raw=False, strict_map_key=False)
        return found

    def _context(self, spec: Function, attempt: Attempt, output: Output) -> Context:
        tenant, root, trace = (attempt.text(name) for name in ("tenant", "root", "trace"))
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
        )
        return Context(
            id=attempt.id,
            function=spec.name,
            ports=self._ports(origin),
            attempt=attempt.number,
            tenant=tenant,
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
        )

    def _parent(self, told: Mapping[str, Any]) -> Parent:
        reference = told.get("result_ref")
        result = self._ports.blobs.get(reference) if reference else told["result"]
        return Parent(told["id"], told["function"], json.loads(result))


def _run(spec: Function, call: Callable[[], Any]) -> Any:
    with variables(spec):
        result = call()
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result
