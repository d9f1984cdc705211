"""The one wrapper around every function: claim, run, write the end. What Celery calls when a message arrives."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from billiard.common import terminate_handler_fired
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded, TaskRevokedError

from runtime.attempts import gather, received
from runtime.attempts.attempt import NO_MORE, Attempt, Written, claim, finish, packed_end, repeat, suspend
from runtime.attempts.ending import MOST_BYTES, Ending
from runtime.attempts.failure import describe_error, speaks_against
from runtime.attempts.invoker import Invoker, PortsFactory
from runtime.attempts.results import Results
from runtime.attempts.spans import attempt_span, lines_of, member_spans
from runtime.attempts.taking import Begun
from runtime.attempts.tally import Ended, nobody
from runtime.config.settings import Function
from runtime.context import Suspended
from runtime.deployment import code_version
from runtime.deployment.deployment import Deployment, Follower
from runtime.errors import BatchFailure, TundishError
from runtime.invocations import admission, chain
from runtime.invocations.requeue import requeue
from runtime.invocations.retry import decide
from runtime.telemetry import log_fields
from runtime.telemetry.tracing import Tracing

LOST_LIMIT = 3
"""Attempts that may end with their worker before an invocation is called poison (at least this many)."""

log = logging.getLogger("tundish.task")


class Runner:
    """Runs invocations in this process. One per worker; the client makes its connections after the fork."""

    def __init__(
        self,
        client: redis.Redis,
        deployment: Deployment,
        worker: str,
        ports: PortsFactory,
        follower: Follower | None = None,
        queue: str | None = None,
        tally: Ended = nobody,
    ) -> None:
        """`queue` is the one that the worker serves, in whose environment this process runs; `tally` hears of ends."""
        self._client, self._deployment, self._worker, self._queue = client, deployment, worker, queue
        self._follow = follower.look if follower else lambda: None
        self._invoker, self._results = Invoker(client, deployment, ports), Results(ports.blobs)
        self._retention, self._tally = deployment.settings.project.retention, tally
        self.tracing = Tracing(deployment.settings.tracing, f"worker {queue}" if queue else "worker")
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)
        self.version = ""
        """Of the code of the queue that it has loaded."""

    def load(self, queue: str) -> None:
        """Load the functions of a queue now: a child that is forked later runs the code that its elders run."""
        self._invoker.load(queue)
        settings = self._deployment.settings
        self.version = code_version.of_queue(settings.root, settings.project.functions, queue)

    def run(self, name: str, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One delivery of one message. Returns the plain result for programs that keep results in Celery's way."""
        begun = getattr(request, "begun", None)
        if begun is not None:
            begun = Begun(*begun)
            return self.run_begun(begun, begun.attempt())
        self._follow()
        spec = self._deployment.find(name).spec
        with log_fields.about({"task_id": request.id, "function": name}):
            attempt = self._attempt(spec, request, args, kwargs)
        return self._watched(spec, attempt)

    def run_begun(self, begun: Begun, attempt: Attempt, left: list[Ending] | None = None) -> Any:
        """The same for an `attempt` that was begun when its message was taken (runtime/attempts/taking.py).

        Where there is a `left`, an ordinary success is not written but put there, for the worker's parent to write.
        """
        self._follow()
        spec = self._deployment.find(attempt.text("function")).spec
        if not begun.valid(self._client, self._worker):
            with log_fields.about({"task_id": begun.id, "function": spec.name}):
                raise _not_run(spec.name, begun.id, "held")
        return self._watched(spec, attempt, left)

    def ended(self, ending: Ending, written: Written) -> None:
        """What an end was that was left to be written. For the parent's event loop: it does not wait."""
        with log_fields.about(ending.about):
            self._told(ending.attempt(), ending.function, written, ending.seconds)

    def after(self, ending: Ending, written: Written) -> None:
        """Send what follows from such an end."""
        self._after(self._deployment.find(ending.function).spec, ending.attempt(), written)

    def _attempt(self, spec: Function, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Attempt:
        """An attempt that is begun now. Raises Ignore."""
        if not received.ours(request):
            received.record(self._client, self._deployment, self._invoker, spec, request, args, kwargs)
        self._place(spec, request.id)
        found = claim(self._client, request.id, self._worker, spec, self._retention, version=self.version)
        if isinstance(found, str):
            raise _not_run(spec.name, request.id, found)
        return found

    def _watched(self, spec: Function, attempt: Attempt, left: list[Ending] | None = None) -> Any:
        """`_run` with what logs and traces say of it."""
        if not self.tracing.on:
            with lines_of(spec, attempt):
                return self._run(spec, attempt, left)
        with attempt_span(self.tracing, spec, attempt, self._worker) as spanned:
            return self._run(spec, spanned, left)

    def _run(self, spec: Function, attempt: Attempt, left: list[Ending] | None = None) -> Any:
        """One attempt, from its claim to its end, which may be put into `left`."""
        name = spec.name
        if attempt.lost >= LOST_LIMIT and attempt.lost > spec.retries.max:
            message = (
                f"the worker process died {attempt.lost} times while running this, and it is not tried again; look for "
                "a crash in a library, os._exit, or memory that ran out (the worker's log has the exit code)"
            )
            told = {"type": "WorkerLost", "message": message, "summary": message}
            # This attempt did not run.
            dead = {"error": json.dumps(told), "attempts": str(attempt.lost)}
            state = "failed" if attempt.flag("split") else "dead"
            written = finish(self._client, spec, attempt, state, dead, self._retention)
            self._tally(attempt, name, written.state, -1.0, "WorkerLost")
            self._after(spec, attempt, written)
            log.error("%s[%s] %s", name, attempt.id, message)
            raise Ignore
        started = time.monotonic()
        if gather.MEMBERS in attempt.record:
            self._run_gathered(spec, attempt)
            return None
        try:
            fields = self._results.fields(attempt.id, self._invoker.call(spec, attempt), attempt.text("accept"))
        except Suspended as pause:
            log.info("%s[%s] waits for its children", name, attempt.id)
            if suspend(self._client, attempt, pause.fan, self._retention) == NO_MORE:  # the last one was too early
                with contextlib.suppress(redis.RedisError, TundishError):
                    requeue(self._client, self._deployment, attempt.id, states=("waiting",))
            raise Ignore from None
        except BaseException as error:
            self._failed(spec, attempt, error, time.monotonic() - started)
            if isinstance(error, Exception):
                raise
            # sys.exit, a cancelled task or a KeyboardInterrupt (its own: processes ignore Ctrl-C) ends this call alone.
            raise TundishError(f"{name} ended with {type(error).__name__}") from error
        seconds = time.monotonic() - started
        try:
            if left is not None and (ending := self._ending(spec, attempt, fields, seconds)):
                left.append(ending)
                return None
            written = finish(self._client, spec, attempt, "succeeded", fields, self._retention)
        except SoftTimeLimitExceeded:  # it came while the result was on its way; the fence makes a second try safe
            if left:
                return None
            written = finish(self._client, spec, attempt, "succeeded", fields, self._retention)
        self._told(attempt, name, written, seconds)
        if written:
            self._after(spec, attempt, written)
            if written.state == "cancelled":
                raise TaskRevokedError(f"{name}[{attempt.id}] was cancelled")
        return self._results.value(fields) if attempt.flag("foreign") else None

    def _ending(
        self, spec: Function, attempt: Attempt, fields: Mapping[str, str | bytes], seconds: float
    ) -> Ending | None:
        """An end that another process may write; None where it is large, or more than a look follows from it."""
        if spec.on_success or attempt.flag("chained") or attempt.flag("foreign"):
            return None
        command = packed_end(spec, attempt, fields, self._retention)
        if len(command) > MOST_BYTES:
            return None
        moments = {name: attempt.record[name] for name in (b"queued", b"started") if name in attempt.record}
        return Ending(attempt.id, spec.name, command, seconds, moments, dict(log_fields.current()))

    def _told(self, attempt: Attempt, name: str, written: Written, seconds: float) -> None:
        """Count a success, or what became of it, and write its line."""
        if written:
            self._tally(attempt, name, written.state, seconds, "")
            log.info("%s[%s] %s in %.3f s", name, attempt.id, written.state, seconds)
        else:
            log.warning("%s[%s] finished, but another attempt had taken over; its result stands", name, attempt.id)

    def _place(self, spec: Function, task_id: str) -> None:
        """Put a call that waited here when its function got other requirements into the queue of their environment.

        Raises Ignore: then it is not for this process.
        """
        queues = self._deployment.settings.project.queues
        if self._queue is None or self._queue == spec.queue or spec.queue not in queues:
            return
        here = queues[self._queue].requirements if self._queue in queues else ()
        if set(queues[spec.queue].requirements) <= set(here):
            return
        if requeue(self._client, self._deployment, task_id, states=("queued", "running")):
            log.info("%s[%s] put into its queue %s: its requirements are there", spec.name, task_id, spec.queue)
            raise Ignore

    def _run_gathered(self, spec: Function, carrier: Attempt) -> None:
        """One call of the handler for many invocations; each gets its own end."""
        if carrier.number > 1:  # the process that had it is gone
            gather.scatter(self._client, self._deployment, carrier.id, carrier.fence, holder=True)
            return
        begun = gather.begin(self._client, self._deployment, carrier, self._worker)
        with member_spans(self.tracing, spec, carrier, begun) as members:
            self._run_members(spec, carrier, members)

    def _run_members(self, spec: Function, carrier: Attempt, members: Sequence[Attempt]) -> None:
        started = time.monotonic()
        ends = gather.Ends(self._client, self._deployment, spec, self._results.fields, self._tally)
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
        except BaseException as error:  # sys.exit too ends this call, not the worker
            if terminate_handler_fired():  # the parent ends this process, and says what becomes of the call
                raise
            bad = speaks_against(error)
            written += [ends.failed(member, error) for member in ready]
            log.error("%s[%s] failed for %d: %s", spec.name, carrier.id, len(ready), describe_error(error)["summary"])
        gates = gather.end(self._client, spec, carrier, bad=bad)
        log.info("%s[%s] %d gathered in %.3f s", spec.name, carrier.id, len(members), time.monotonic() - started)
        with contextlib.suppress(redis.RedisError, TundishError):
            priority, tenant = int(carrier.text("priority")), carrier.text("tenant")
            gather.pump(self._client, self._deployment, spec.name, priority, tenant)
        for one in (Written("", "", tuple(gates)), *written):
            self._after(spec, carrier, one)

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
        self._tally(attempt, spec.name, written.state, seconds, told["type"])
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


def _not_run(name: str, task_id: str, why: str) -> Ignore:
    log.info("%s[%s] not run again: %s", name, task_id, why)
    return Ignore()
