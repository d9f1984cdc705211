"""The changes of one trigger that wait for their batch, and how they go: recorded, claimed and queued in one step."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import redis

from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from runtime.callers import usage
from runtime.callers.ownership import Owners
from runtime.context import Store
from runtime.deployment.deployment import Deployment
from runtime.index import sequence
from runtime.invocations import submit
from runtime.invocations.blobs import StoreBlobs, by_reference
from runtime.metrics import measures
from runtime.security.principal import DEFAULT_TENANT
from runtime.telemetry.tracing import Tracing
from triggers import batching, ledger
from triggers.decide import Submit
from triggers.inbox import Receipt
from triggers.ledger import Change, Known, Ledger
from triggers.records import arguments_for

IDLE_SECONDS = 1.0
WARN_SECONDS = 60.0
RETRYING_SHARE = 4
"""Batches that wait for a retry do not hold others up: so many times `in_flight` of them are left out of account."""

log = logging.getLogger("tundish.triggers")


@dataclass(slots=True)
class Candidate:
    """A change that waits for its batch. `hops`: functions in a row that led to it; `trace`: that it was written in."""

    before: Known
    action: Submit
    since: float
    hops: int = 0
    trace: str | None = None
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def share(self) -> int:
        """The limit of its batch; a new content has done nothing wrong yet."""
        entry = self.before.entry
        return entry.share if entry and entry.state == "pending" and entry.etag == self.action.etag else 0


class Outgoing:
    """Candidates by key. Raises redis errors, BrokerDown, StoreDown and StoreDenied.

    `refused` is told of keys whose claim was refused because an entry has moved.
    """

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        deployment: Deployment,
        watch: Watch,
        book: Ledger,
        refused: Callable[[str, list[Receipt]], None],
    ) -> None:
        self._client, self._store, self._deployment, self._watch = client, store, deployment, watch
        self._trigger, self._ledger, self._refused = watch.trigger, book, refused
        self._numbers = sequence.Sequence(store, client)
        self._owners = Owners(deployment.settings.project)
        self._counts = bool(deployment.settings.project.tenants) or self._owners.divided
        self._turns, self._served = itertools.count(1), dict[str, int]()
        self._ready: dict[str, Candidate] = {}
        self._cooling: dict[str, tuple[float, list[Receipt]]] = {}
        self._next_warning = 0.0
        self._begun = time.time() - 1.0  # a store may tell whole seconds
        self._tracing = Tracing(deployment.settings.tracing, "triggers")
        self.out: frozenset[str] = frozenset()
        """Invocations that are under way, as far as this process knows."""

    def __len__(self) -> int:
        return len(self._ready) + len(self._cooling)

    def __contains__(self, key: str) -> bool:
        return key in self._ready or key in self._cooling

    def put(
        self,
        key: str,
        before: Known,
        action: Submit,
        hops: int,
        trace: str | None,
        receipts: list[Receipt],
    ) -> None:
        """A change that is to go; one that waits already keeps its place."""
        waiting, now = self._ready.get(key), time.monotonic()
        _, held = self._cooling.pop(key, (now, []))
        if waiting:
            held = held + waiting.receipts
        found = Candidate(before, action, waiting.since if waiting else now, hops, trace, receipts + held)
        if (wait := self._too_hot(found)) > 0:
            self._ready.pop(key, None)
            self._cooling[key] = now + wait, found.receipts
            self._warn(key, now)
        else:
            self._ready[key] = found

    def drop(self, key: str) -> list[Receipt]:
        """This change comes to nothing, or is looked at anew; its receipts."""
        waiting, cooling = self._ready.pop(key, None), self._cooling.pop(key, None)
        return (waiting.receipts if waiting else []) + (cooling[1] if cooling else [])

    def clear(self) -> dict[str, list[Receipt]]:
        """Let everything go; every key with its receipts."""
        names = [*self._ready, *self._cooling]
        return {key: self.drop(key) for key in dict.fromkeys(names)}

    def cooled(self) -> dict[str, list[Receipt]]:
        """Keys that may be called again, to be looked at anew."""
        now = time.monotonic()
        return {key: self.drop(key) for key in [key for key, (at, _) in self._cooling.items() if at <= now]}

    def send(self, retrying: set[str]) -> float:
        """Submit what is ripe; `retrying` are invocations that wait. Returns the seconds until the next batch is."""
        while self._ready:
            tenant, ready = self._next()
            out = self._ledger.out()
            resting = len(out & retrying)
            limit = self._trigger.in_flight + min(resting, RETRYING_SHARE * self._trigger.in_flight)
            cut = batching.cut(
                (batching.Waiting(one.action.size, one.since, one.share) for one in ready.values()),
                self._trigger.batch,
                out=max(0, len(out) - resting),
                in_flight=limit - resting,
                now=time.monotonic(),
                room=self._ledger.budget.room(),
            )
            if not cut.count:
                return IDLE_SECONDS if cut.wait is None else cut.wait
            batch = dict(itertools.islice(ready.items(), cut.count))
            accepted = self._submit(batch, limit, tenant)
            if accepted and self._counts:
                came = [(key, one.action.size) for key, one in batch.items() if one.action.event == "created"]
                usage.hand_out(self._client, tenant, self._trigger.bucket, came)
            if not accepted and not self._moved(batch):
                return IDLE_SECONDS / 10  # another process has taken the last place, or what was left of the budget
            self._served[tenant] = next(self._turns)
            for key, one in batch.items():
                del self._ready[key]
                if accepted:
                    release(one.receipts)
                else:
                    self._refused(key, one.receipts)
            if accepted:
                self._count(batch.values())
        return min([IDLE_SECONDS, *(max(0.0, at - time.monotonic()) for at, _ in self._cooling.values())])

    def _count(self, batch: Collection[Candidate]) -> None:
        """For /metrics. What was written before this process began has waited for that, too: it says nothing."""
        measures.count(self._client, measures.CHANGES, {self._watch.name: len(batch)})
        now = time.time()
        found = [max(0.0, now - one.action.changed) for one in batch if one.action.changed >= self._begun]
        measures.lag(self._client, self._watch.name, self._trigger.bucket, found)

    def _next(self) -> tuple[str, Mapping[str, Candidate]]:
        """The tenant whose turn it is, and its candidates: a call is of one, and many of one hold up no other."""
        if not self._owners.divided:
            return DEFAULT_TENANT, self._ready
        found: dict[str, dict[str, Candidate]] = {}
        for key, one in self._ready.items():
            found.setdefault(self._owners.of(self._trigger.bucket, key), {})[key] = one
        tenant = min(found, key=lambda name: self._served.get(name, 0))
        return tenant, found[tenant]

    def _moved(self, batch: dict[str, Candidate]) -> bool:
        known = self._ledger.read(list(batch))
        return any(now.raw != one.before.raw for now, one in zip(known, batch.values(), strict=True))

    def _submit(self, batch: dict[str, Candidate], limit: int, tenant: str) -> bool:
        """Record the invocation and claim its keys, in one atomic call. False: something has moved, or is full."""
        task_id, now = submit.new_id(), time.time()
        # Reserved before anything is read: a refused claim only leaves a gap.
        first = self._numbers.take(self._watch.index, len(batch))
        numbered = list(zip(itertools.count(first), batch.items()))
        changes = [Change(key, one.before, self._entry(one, seq, task_id, now)) for seq, (key, one) in numbered]
        names, arguments = self._ledger.claim_arguments(task_id, limit, changes)
        call = submit.Call(
            self._watch.function.name,
            self._arguments(changes, now),
            trigger="bucket",
            id=task_id,
            split=len(batch) > 1,
            tenant=tenant,
            hops=max(one.hops for one in batch.values()),
        )
        call = by_reference(call, StoreBlobs(lambda: self._store), self._watch.function)
        self.out |= {task_id}  # before: its end may be told before the answer is here
        traces = list(dict.fromkeys(one.trace for one in batch.values() if one.trace))
        with self._tracing.span(
            f"bucket {self._trigger.bucket}",
            kind="producer",
            parent=traces[0] if traces else None,
            links=traces[1:],
            attributes={"tundish.call.id": task_id, "tundish.trigger": self._watch.name, "tundish.objects": len(batch)},
        ) as span:
            call = replace(call, trace=span.traceparent)
            taken = submit.submit_with(self._client, self._deployment, call, ledger.CLAIM, names, arguments)
            if taken is None:
                span.discard()
        return taken is not None

    def _entry(self, one: Candidate, seq: int, task_id: str, now: float) -> Entry:
        told, before = one.action, one.before.entry
        heat = (before.cooled(now) if before else 0.0) + self._interval
        return Entry("pending", told.etag, seq, told.event, told.size, task_id, at=now, heat=heat, share=one.share)

    def _arguments(self, changes: Sequence[Change], now: float) -> dict[str, object]:
        objects = [
            {
                "bucket": self._trigger.bucket,
                "key": change.key,
                "event": entry.event,
                "etag": entry.etag or None,
                "size": entry.size if entry.event == "created" else None,
                "seq": entry.seq,
            }
            for change in changes
            if (entry := change.after)
        ]
        deployed = self._deployment.find(self._watch.function.name)
        region = self._deployment.settings.store.region
        return arguments_for(deployed, self._trigger, objects, region=region, at=now)

    def _warn(self, key: str, now: float) -> None:
        if now >= self._next_warning:
            self._next_warning = now + WARN_SECONDS
            log.warning(
                "%s: %r changes so often that it would be called more than %d times a minute "
                "(guard.key_runs_per_minute); its changes are gathered",
                self._watch.name,
                key,
                self._trigger.guard.key_runs_per_minute,
            )

    @property
    def _interval(self) -> float:
        return 60 / self._trigger.guard.key_runs_per_minute

    def _too_hot(self, one: Candidate) -> float:
        """Seconds until this key may be called again."""
        entry = one.before.entry
        if entry is None or entry.forced or one.share:
            return 0.0  # asked for by a person, or by a batch that failed
        return entry.cooled(time.time()) + self._interval - 60.0


def release(receipts: Iterable[Receipt]) -> None:
    """What came in with these notifications is settled."""
    for receipt in receipts:
        receipt.settle()
