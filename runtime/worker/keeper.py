"""The worker's parent process beside Celery: it says who is alive, holds what, keeps the leases, and stops calls."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis
from celery.worker import state

from runtime import keys
from runtime.attempts import gather
from runtime.attempts.attempt import LEASE_MS, Attempt, finish, repeat, stopped
from runtime.attempts.tally import nobody
from runtime.broker import scripts
from runtime.broker.presence import TTL_SECONDS, Presence
from runtime.deployment import environments
from runtime.deployment.deployment import Deployment, Follower
from runtime.errors import TimeLimitExceeded, TundishError
from runtime.invocations.cancel import cancel
from runtime.invocations.retry import decide
from runtime.worker.errands import Errands
from runtime.worker.handing_back import hand_back
from runtime.worker.member_events import MemberEvents
from runtime.worker.receiver import Receiver
from runtime.worker.revocations import REASON, Revocations
from runtime.worker.stopping import Stopping

if TYPE_CHECKING:
    from runtime.worker.endings import Endings
    from runtime.worker.meters import Meters

_TURN_SECONDS = 0.25
_AWAY_SECONDS = 1.0
MARK_SECONDS = 3600.0
"""How often a worker says that it uses its environment."""


class Keeper:
    """One per worker, in its parent process. InvocationRequest calls it from the event loop, which must never wait:
    what has to be written in Redis is left to a thread."""

    def __init__(
        self,
        client: redis.Redis,
        deployment: Deployment,
        worker: str,
        follower: Follower | None = None,
        pid: int | None = None,
        meters: Meters | None = None,
    ) -> None:
        self._client, self._deployment, self._worker, self._follower = client, deployment, worker, follower
        self._meters, self._tally = meters, meters.ended if meters else nobody
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)
        self.receiver = Receiver(client, deployment, worker, running=lambda: set(_ids(state.active_requests)))
        self.presence = Presence(client, "worker", worker, extra=self._beat, pid=pid)
        self.endings: Endings | None = None
        """Where its event loop writes ends."""
        self.stopping = Stopping()
        self._revocations = Revocations(client, deployment)
        self.errands = Errands()
        self._members = MemberEvents(client, self.errands.put)
        self._marked = float("-inf")
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._watch_stops, name="stopping", daemon=True)

    def start(self) -> None:
        self.presence.start()
        self.errands.start()
        self._watch.start()

    def stop(self) -> None:
        """Write what is left to write, and take this worker's name off the list."""
        self._over.set()
        self.errands.stop()
        self.presence.stop()

    def hand_back(self) -> None:
        """The time that this worker had to stop is over: others run what it runs, and its functions are ended here."""
        for task_id in _ids(state.active_requests):
            if hand_back(self._client, self._deployment, self._worker, task_id):
                self.stopping.ask(task_id, cancelled=False, in_turn=False)

    def busy(self) -> bool:
        """Whether anything still runs."""
        return bool(_ids(state.active_requests) or self._ending())

    def told(self, name: str, task_id: str, event: str, send: Callable[..., object]) -> None:
        """Somebody listens, and has heard of this call; those that are gathered into it are told of here."""
        deployed = self._deployment.functions.get(name)
        if deployed and deployed.spec.gather:
            self._members.hear(event, name, task_id, send)

    def lost(self, name: str, task_id: str) -> None:
        """A child died with this invocation. Said at once: the message is on its way to the next child."""
        scripts.run(self._client, "release", (), [task_id, self._worker])

    def timed_out(self, name: str, task_id: str, limit: float) -> None:
        """The hard limit passed and the child is being killed: decide what comes next in its place."""
        self.errands.put(lambda: self._write_timeout(name, task_id, limit))

    def terminate(self, name: str, task_id: str, *, at_once: bool) -> None:
        """A revoke said terminate."""

        def errand() -> None:
            cancel(self._client, self._deployment, task_id, REASON)
            self.stopping.ask(task_id, at_once=at_once)

        self.errands.put(errand)

    def revoked(self, name: str, task_id: str) -> None:
        """Celery gives this delivery up: it was revoked, or its child was killed because it had to stop."""
        self._revocations.received(task_id)
        retention = self._deployment.settings.project.retention

        def errand() -> None:
            if stopped(self._client, retention, task_id, self._worker):
                self._tally(Attempt(task_id, 0, 0, {}), name, "cancelled", -1.0, "")

        self.errands.put(errand)

    def _write_timeout(self, name: str, task_id: str, limit: float) -> None:
        record: Any = self._client.hgetall(keys.invocation(task_id))
        if record.get(b"state") != b"running" or record.get(b"worker") != self._worker.encode():
            return
        seconds, rest = self._client.time()
        if seconds + rest / 1e6 - int(record[b"started"]) / 1000 < limit - 1.0:
            return  # a newer attempt, begun here after an outage that outlived the lease of the one that is killed
        attempt = Attempt(task_id, int(record[b"fence"]), int(record[b"attempts"]), record)
        spec, retention = self._deployment.find(name).spec, self._deployment.settings.project.retention
        message = f"{name} ran longer than its timeout of {limit:g} s and was stopped"
        if gather.MEMBERS in record:
            gather.fail(self._client, self._deployment, spec, attempt, TimeLimitExceeded(message), self._tally)
            return
        told = {"type": "TimeLimitExceeded", "message": message, "summary": message}
        allowed, split = not attempt.flag("no_retry"), attempt.flag("split")
        error = TimeoutError(message)
        decision = decide(spec.retries, attempt.number, error, allowed=allowed, dice=self._dice, split=split)
        if decision.state == "retrying":
            written = repeat(self._client, spec, attempt, decision, told, retention)
        else:
            fields = {"error": json.dumps(told)}
            written = finish(self._client, spec, attempt, decision.state, fields, retention, bad=True)
        if written:
            self._tally(attempt, name, written.state, limit, told["type"])

    def _beat(self) -> None:
        """With every heartbeat: what this worker has received, and the leases of what it runs."""
        if self._follower:
            self._follower.look()
        if time.monotonic() - self._marked >= MARK_SECONDS:
            self._marked = time.monotonic()
            environments.mark_used()
        received = {*self.receiver.held(), *_ids(state.reserved_requests)}
        scripts.run(self._client, "hold", [keys.held(self._worker)], [TTL_SECONDS, 1, *received])
        if running := {*_ids(state.active_requests), *self.receiver.begun(), *self._ending()}:
            self._stop(scripts.run(self._client, "renew", (), [self._worker, LEASE_MS, *running]))

    def _ending(self) -> list[str]:
        return self.endings.ids() if self.endings else []

    def _stop(self, ids: list[bytes]) -> None:
        """Stop calls that were cancelled, or that another worker runs by now."""
        for task_id in (name.decode() for name in ids):
            reason, worker = self._client.hmget(keys.invocation(task_id), "stop", "worker")
            self.stopping.ask(task_id, cancelled=reason is not None and worker == self._worker.encode())

    def _watch_stops(self) -> None:
        """Hear of stops at once (a heartbeat finds what was not heard), see what was revoked, do what is due."""
        ears: redis.client.PubSub | None = None
        while not self._over.is_set():
            try:
                if ears is None:
                    ears = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                    ears.subscribe(keys.STOP_CHANNEL)
                heard: Any = ears.get_message(timeout=_TURN_SECONDS)
                if heard and heard["type"] == "message":
                    self.stopping.ask(heard["data"].decode())
                self._revocations.look()
            except (redis.RedisError, TundishError):
                if ears is not None:
                    ears.close()
                ears = None
                self._over.wait(_AWAY_SECONDS)
            self.stopping.step()
            if self._meters:
                self._meters.turn()


def _ids(requests: object) -> list[str]:
    """Ids in one of Celery's sets, which its own thread changes while this one reads."""
    for _ in range(10):
        try:
            return [request.id for request in list(requests)]  # type: ignore[call-overload]
        except RuntimeError:  # the set changed size
            continue
    return []
