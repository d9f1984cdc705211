"""The one wrapper around every function: claim, run, write the end. What Celery calls when a message arrives."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded

from runtime import chain, scripts
from runtime.attempt import Attempt, claim, finish, repeat
from runtime.config import Function
from runtime.context import Context, Parent, Ports
from runtime.deployment import Deployment
from runtime.encode import encode_result
from runtime.errors import HandlerError, InvalidArguments, TundishError
from runtime.invocation_request import REQUEST
from runtime.loader import load_handler
from runtime.message import HEADER
from runtime.retry import decide
from runtime.signature import Signature
from runtime.submit import Call, prepare

LOST_LIMIT = 3
"""Attempts that may end with their worker before an invocation is called poison (at least this many)."""

log = logging.getLogger("tundish.task")


class PortsFactory(Protocol):
    """Makes the ports of one attempt; `calls` made through them carry the attempt's root and id."""

    def __call__(self, *, parent: str, root: str, tenant: str) -> Ports: ...


class Runner:
    """Runs invocations in this process. One per worker; the client makes its connections after the fork."""

    def __init__(self, client: redis.Redis, deployment: Deployment, worker: str, ports: PortsFactory) -> None:
        self._client, self._deployment, self._worker, self._ports = client, deployment, worker, ports
        self._handlers: dict[str, tuple[Callable[..., Any], Signature]] = {}
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)

    def load(self, queue: str) -> None:
        """Load the functions of a queue now: a child that is forked later runs the code that its elders run.

        One that does not load is left for its calls to fail on: the others must not suffer.
        """
        for deployed in self._deployment.functions.values():
            if deployed.spec.queue == queue:
                try:
                    self._handler(deployed.spec)
                except HandlerError as error:
                    log.error("%s is not available: %s", deployed.spec.name, error)

    def run(self, name: str, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One delivery of one message. Returns the plain result for programs that keep results in Celery's way."""
        spec = self._deployment.find(name).spec
        foreign = not _ours(request)
        if foreign:
            self._record(name, request, args, kwargs)
        attempt = claim(self._client, request.id, self._worker)
        if isinstance(attempt, str):
            log.info("%s[%s] not run again: %s", name, request.id, attempt)
            raise Ignore
        if attempt.lost >= max(LOST_LIMIT, spec.retries.max + 1):
            message = (
                f"the worker process died {attempt.lost} times while running this, and it is not tried again; look for "
                "a crash in a library, os._exit, or memory that ran out (the worker's log has the exit code)"
            )
            told = {"type": "WorkerLost", "message": message, "summary": message}
            # This attempt did not run.
            fields = {"error": json.dumps(told), "attempts": str(attempt.lost)}
            finish(self._client, spec, attempt, "dead", fields)
            log.error("%s[%s] %s", name, request.id, message)
            raise Ignore
        started = time.monotonic()
        try:
            result = encode_result(self._call(spec, attempt))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            self._failed(spec, attempt, error, time.monotonic() - started)
            if isinstance(error, Exception):
                raise
            # sys.exit or a cancelled task ends this call, not the worker.
            raise TundishError(f"{name} ended with {type(error).__name__}") from error
        try:
            kept = finish(self._client, spec, attempt, "succeeded", {"result": result})
        except SoftTimeLimitExceeded:  # it came while the result was on its way; the fence makes a second try safe
            kept = finish(self._client, spec, attempt, "succeeded", {"result": result})
        if kept:
            log.info("%s[%s] succeeded in %.3f s", name, request.id, time.monotonic() - started)
            self._pump(spec, attempt)
        else:
            log.warning("%s[%s] finished, but another attempt had taken over; its result stands", name, request.id)
        return json.loads(result) if foreign else None

    def _call(self, spec: Function, attempt: Attempt) -> Any:
        handler, signature = self._handler(spec)
        arguments = signature.validate(attempt.arguments())
        if signature.takes_context:
            arguments["context"] = self._context(spec, attempt)
        with _environment(spec):
            result = handler(**arguments)
            return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    def _handler(self, spec: Function) -> tuple[Callable[..., Any], Signature]:
        if spec.name not in self._handlers:
            function = load_handler(spec.handler, self._deployment.settings.root)
            self._handlers[spec.name] = function, Signature(function)
        return self._handlers[spec.name]

    def _context(self, spec: Function, attempt: Attempt) -> Context:
        parents = (
            Parent(parent["id"], parent["function"], json.loads(parent["result"])) for parent in attempt.parents()
        )
        tenant, root = attempt.text("tenant"), attempt.text("root")
        return Context(
            id=attempt.id,
            function=spec.name,
            ports=self._ports(parent=attempt.id, root=root, tenant=tenant),
            attempt=attempt.number,
            tenant=tenant,
            trigger=attempt.text("trigger"),
            root_id=root,
            parents=tuple(parents),
            deadline=None if spec.timeout is None else time.time() + spec.timeout,
            log=logging.getLogger(f"tundish.function.{spec.name}"),
        )

    def _failed(self, spec: Function, attempt: Attempt, error: BaseException, seconds: float) -> None:
        """Record a failed attempt; raises what tells Celery that it will be repeated, or that nothing is to be said."""
        told = describe_error(error)
        allowed = not attempt.flag("no_retry")
        decision = decide(spec.retries, attempt.number, error, allowed=allowed, dice=self._dice)
        label = f"{spec.name}[{attempt.id}]"
        if decision.state == "retrying":
            if not repeat(self._client, attempt, decision, told):
                raise Ignore from error
            text = "%s failed (%s), attempt %d; again in %.1f s"
            log.warning(text, label, told["summary"], attempt.number, decision.delay)
            raise Retry(message=told["summary"], exc=error, when=decision.delay) from error
        if not finish(self._client, spec, attempt, decision.state, {"error": json.dumps(told)}):
            raise Ignore from error
        log.error("%s %s after %.3f s: %s", label, decision.state, seconds, told["summary"])
        self._pump(spec, attempt)

    def _pump(self, spec: Function, attempt: Attempt) -> None:
        """Send what follows at once; if this fails, the upkeep in the beat process does it."""
        targets = {spec.name} if attempt.flag("chained") else set()
        if spec.on_success:
            targets.add(spec.on_success.function)
        if spec.on_failure != "dead_letter":
            targets.add(spec.on_failure)
        with contextlib.suppress(redis.RedisError, TundishError):
            for target in targets:
                chain.pump(self._client, self._deployment, target)

    def _record(self, name: str, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Record a message that another Celery program sent, on receipt."""
        arguments = dict(kwargs)
        if args:
            arguments = self._handler(self._deployment.find(name).spec)[1].bind(args, kwargs)
        call = Call(name, arguments, trigger="celery", id=request.id, root=request.root_id, parent=request.parent_id)
        prepared = prepare(self._deployment, call, time.time_ns() // 1_000_000)
        # Only the record: the message is here already.
        fields = [*prepared.arguments[3:], "foreign", 1]
        scripts.run(self._client, "record", prepared.keys[:3], [*prepared.arguments[:2], *fields])


def register_tasks(app: Celery, deployment: Deployment, runner: Runner | None) -> None:
    """Register every function of the deployment under its key in functions.yaml. Without a runner: names only."""
    for name, deployed in deployment.functions.items():
        spec = deployed.spec
        app.task(
            _body(name, runner),
            name=name,
            bind=True,
            base=_RecordedTask,
            shared=False,
            typing=False,
            time_limit=spec.timeout,
            soft_time_limit=spec.soft_timeout,
            queue=spec.queue,
        )


class _RecordedTask(Task):  # type: ignore[misc]
    abstract = True
    Request = REQUEST
    acks_late = True
    reject_on_worker_lost = True
    max_retries = None
    # The wrapper has logged and recorded the failure; Celery need not print the traceback again.
    throws = (Exception,)


def _body(name: str, runner: Runner | None) -> Callable[..., Any]:
    def body(self: Any, *args: Any, **kwargs: Any) -> Any:
        if runner is None:
            raise TundishError(f"{name} runs in a worker of Tundish; send it with apply_async or send_task")
        return runner.run(name, self.request, args, kwargs)

    body.__name__ = name
    return body


def describe_error(error: BaseException) -> dict[str, Any]:
    """What a record keeps of an exception: type, message, traceback, and the bad fields where there are some."""
    message = str(error) or type(error).__name__
    if isinstance(error, SoftTimeLimitExceeded):
        message = "the soft time limit was reached"
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": message,
        "summary": f"{type(error).__name__}: {message}"[:500],
        "traceback": "".join(traceback.format_exception(error))[-20_000:],
    }
    if isinstance(error, InvalidArguments):
        told["fields"] = [{"field": field.field, "message": field.message} for field in error.errors]
    return told


def _ours(request: Any) -> bool:
    headers = getattr(request, "headers", None) or {}
    return HEADER in headers or getattr(request, HEADER, None) is not None


async def _awaited(result: Any) -> Any:
    return await result


@contextlib.contextmanager
def _environment(spec: Function) -> Iterator[None]:
    """`env` and `secrets` for the time of one call; only pools that run one call at a time get here with any."""
    if not spec.env and not spec.secrets:
        yield
        return
    added = {**spec.env, **{name: file.read_text().rstrip("\n") for name, file in spec.secrets.items()}}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
