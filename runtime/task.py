"""The one wrapper around every function: claim, run, write the end. What Celery calls when a message arrives."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from billiard.common import terminate_handler_fired
from celery import Celery, Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded, TaskRevokedError

from runtime import admission, chain, gather, scripts
from runtime.attempt import Attempt, Written, claim, finish, repeat, suspend
from runtime.blobs import RESULT_LIMIT, result_name
from runtime.config import Function
from runtime.context import Suspended
from runtime.deployment import Deployment
from runtime.encode import encode_result
from runtime.errors import BatchFailure, ObjectMissing, StoreDenied, StoreDown, TundishError
from runtime.failure import describe_error, speaks_against
from runtime.invocation_request import REQUEST
from runtime.invoker import Invoker, PortsFactory
from runtime.message import HEADER
from runtime.requeue import requeue
from runtime.retry import decide
from runtime.submit import Call, prepare

LOST_LIMIT = 3
"""Attempts that may end with their worker before an invocation is called poison (at least this many)."""

log = logging.getLogger("tundish.task")


class Runner:
    """Runs invocations in this process. One per worker; the client makes its connections after the fork."""

    def __init__(self, client: redis.Redis, deployment: Deployment, worker: str, ports: PortsFactory) -> None:
        self._client, self._deployment, self._worker = client, deployment, worker
        self._invoker, self._blobs = Invoker(client, deployment, ports), ports.blobs
        self._retention = deployment.settings.project.retention
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)

    def load(self, queue: str) -> None:
        """Load the functions of a queue now: a child that is forked later runs the code that its elders run."""
        self._invoker.load(queue)

    def run(self, name: str, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One delivery of one message. Returns the plain result for programs that keep results in Celery's way."""
        spec = self._deployment.find(name).spec
        if not _ours(request):
            self._record(name, request, args, kwargs)
        attempt = claim(self._client, request.id, self._worker, spec, self._retention)
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
            dead = {"error": json.dumps(told), "attempts": str(attempt.lost)}
            state = "failed" if attempt.flag("split") else "dead"
            self._after(spec, attempt, finish(self._client, spec, attempt, state, dead, self._retention))
            log.error("%s[%s] %s", name, request.id, message)
            raise Ignore
        started = time.monotonic()
        if gather.MEMBERS in attempt.record:
            self._run_gathered(spec, attempt)
            return None
        try:
            result = encode_result(self._invoker.call(spec, attempt))
            fields = self._stored(attempt.id, result)
        except Suspended as pause:
            suspend(self._client, attempt, pause.fan, self._retention)
            log.info("%s[%s] waits for its children", name, request.id)
            raise Ignore from None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            self._failed(spec, attempt, error, time.monotonic() - started)
            if isinstance(error, Exception):
                raise
            # sys.exit or a cancelled task ends this call, not the worker.
            raise TundishError(f"{name} ended with {type(error).__name__}") from error
        try:
            written = finish(self._client, spec, attempt, "succeeded", fields, self._retention)
        except SoftTimeLimitExceeded:  # it came while the result was on its way; the fence makes a second try safe
            written = finish(self._client, spec, attempt, "succeeded", fields, self._retention)
        if written:
            log.info("%s[%s] %s in %.3f s", name, request.id, written.state, time.monotonic() - started)
            self._after(spec, attempt, written)
            if written.state == "cancelled":
                raise TaskRevokedError(f"{name}[{request.id}] was cancelled")
        else:
            log.warning("%s[%s] finished, but another attempt had taken over; its result stands", name, request.id)
        return json.loads(result) if attempt.flag("foreign") else None

    def _run_gathered(self, spec: Function, carrier: Attempt) -> None:
        """One call of the handler for many invocations; each gets its own end."""
        if carrier.number > 1:  # the process that had it is gone
            gather.scatter(self._client, self._deployment, carrier.id, carrier.fence, holder=True)
            return
        started = time.monotonic()
        members = gather.begin(self._client, self._deployment, carrier, self._worker)
        ends = gather.Ends(
            self._client, self._deployment, spec, lambda task, value: self._stored(task, encode_result(value))
        )
        bad, written, ready, items = False, [], [], []
        for member in members:
            try:
                items.append(self._invoker.item(spec, member))
                ready.append(member)
            except TundishError as error:  # its arguments are wrong, or cannot be had
                written.append(ends.failed(member, error))
        try:
            if ready:
                written += ends.results(ready, self._invoker.call_gathered(spec, gather.heir(carrier, ready), items))
        except BatchFailure as failure:
            written += ends.partial(ready, failure)
        except Suspended:
            refusal = TundishError(f"{spec.name} is gathered and cannot wait for calls of its own; submit them instead")
            written += [ends.failed(member, refusal) for member in ready]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # sys.exit too ends this call, not the worker
            if terminate_handler_fired():  # the parent ends this process, and says what becomes of the call
                raise
            bad = speaks_against(error)
            written += [ends.failed(member, error) for member in ready]
            log.error("%s[%s] failed for %d: %s", spec.name, carrier.id, len(ready), describe_error(error)["summary"])
        gates = gather.end(self._client, spec, carrier, bad=bad)
        log.info("%s[%s] %d gathered in %.3f s", spec.name, carrier.id, len(members), time.monotonic() - started)
        with contextlib.suppress(redis.RedisError, TundishError):
            gather.pump(self._client, self._deployment, spec.name, int(carrier.text("priority")))
        for one in (Written("", "", tuple(gates)), *written):
            self._after(spec, carrier, one)

    def _stored(self, task_id: str, result: bytes) -> dict[str, str | bytes]:
        """The fields that hold a result: itself, or where it is if it is large (and the store is there)."""
        if len(result) > RESULT_LIMIT:
            with contextlib.suppress(StoreDown, StoreDenied, ObjectMissing):
                self._blobs.put(result_name(task_id), result)
                return {"result_ref": result_name(task_id)}
        return {"result": result}

    def _failed(self, spec: Function, attempt: Attempt, error: BaseException, seconds: float) -> None:
        """Record a failed attempt; raises what tells Celery that it will be repeated, or that nothing is to be said."""
        if terminate_handler_fired():  # the parent ends this process, and says what becomes of the call
            raise error
        told, bad = describe_error(error), speaks_against(error)
        allowed, split = not attempt.flag("no_retry"), attempt.flag("split")
        decision = decide(spec.retries, attempt.number, error, allowed=allowed, dice=self._dice, split=split)
        label = f"{spec.name}[{attempt.id}]"
        if decision.state == "retrying":
            written = repeat(self._client, spec, attempt, decision, told, self._retention, bad=bad)
        else:
            fields = {"error": json.dumps(told)}
            written = finish(self._client, spec, attempt, decision.state, fields, self._retention, bad=bad)
        if not written:
            raise Ignore from error
        self._after(spec, attempt, written)
        if written.state == "retrying":
            text = "%s failed (%s), attempt %d; again in %.1f s"
            log.warning(text, label, told["summary"], attempt.number, decision.delay)
            raise Retry(message=told["summary"], exc=error, when=decision.delay) from error
        if written.state == "cancelled":
            log.info("%s cancelled after %.3f s", label, seconds)
            raise TaskRevokedError(f"{label} was cancelled") from error
        log.error("%s %s after %.3f s: %s", label, written.state, seconds, told["summary"])

    def _after(self, spec: Function, attempt: Attempt, written: Written) -> None:
        """Send what follows at once; if this fails, the upkeep in the beat process does it."""
        with contextlib.suppress(redis.RedisError, TundishError):
            if written.parent:
                requeue(self._client, self._deployment, written.parent)
            for gate in written.gates:
                admission.admit_next(self._client, self._deployment, gate)
            targets = {spec.name} if attempt.flag("chained") else set()
            if written.state != "retrying":
                targets |= {
                    target for target in (spec.on_success and spec.on_success.function, spec.on_failure) if target
                }
            for target in targets - {"dead_letter"}:
                chain.pump(self._client, self._deployment, target)

    def _record(self, name: str, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Record a message that another Celery program sent, on receipt."""
        arguments = dict(kwargs)
        if args:
            arguments = self._invoker.handler(self._deployment.find(name).spec)[1].bind(args, kwargs)
        call = Call(name, arguments, trigger="celery", id=request.id, root=request.root_id, parent=request.parent_id)
        prepared = prepare(self._deployment, call, time.time_ns() // 1_000_000)
        # Only the record: the message is here already.
        scripts.run(self._client, "record", (), [*prepared.arguments, "foreign", 1])


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

    body.__name__ = "body"  # Celery compiles it; the task goes by its own name, which need not be an identifier
    return body


def _ours(request: Any) -> bool:
    headers = getattr(request, "headers", None) or {}
    return HEADER in headers or getattr(request, HEADER, None) is not None
