"""Taking messages and beginning their attempts in one step of the broker (lua/take.lua).

A worker's parent process does it, for as many messages as it has processes free. So the process that runs a call need
not ask for it, and with `appendfsync always` the beginning of an attempt is written together with its submission.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import redis

from runtime import keys
from runtime.attempts.attempt import LEASE_MS, Attempt
from runtime.broker import scripts
from runtime.broker.presence import TTL_SECONDS
from runtime.deployment.deployment import Deployed, Deployment
from runtime.invocations import admission
from runtime.invocations.invocation import limits

NOTHING: Any = ((), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
"""What is read of the body of a message that has begun, for its arguments are in its record: positional and named
arguments, and what follows."""

DROPPED = frozenset({"missing", "ended", "held", "waiting"})
"""Words for a message whose call is not to be run: it has no record, is over, another worker's, or waits elsewhere."""

FRESH_SECONDS = LEASE_MS / 2000
"""How long a beginning counts that nobody has looked at since: far less than its lease."""


QUICK_SECONDS = 0.02
"""Calls of a function that takes less than this are begun while others run that are as quick: they wait for a moment,
and the process that comes to them need not ask for them."""

_FORGET = 0.9


class Begun(NamedTuple):
    """An attempt that was begun when its message was taken; `at` by this host's monotonic clock, in seconds.

    `fields` are its record, names and values in turn: it goes to another process, and this is quickly packed.
    """

    id: str
    fields: tuple[bytes, ...]
    at: float

    def record(self) -> dict[bytes, bytes]:
        return dict(zip(self.fields[::2], self.fields[1::2], strict=True))

    def function(self) -> str:
        return self.record()[b"function"].decode()

    def attempt(self) -> Attempt:
        record = self.record()
        return Attempt(self.id, int(record[b"fence"]), int(record[b"attempts"]), record)

    def valid(self, client: redis.Redis, worker: str) -> bool:
        """Whether it is still this worker's. Asked of the broker only where some time has passed (the machine slept,
        no process was free after all)."""
        if time.monotonic() - self.at < FRESH_SECONDS:
            return True
        arguments: list[scripts.Argument] = [self.id, worker, self.attempt().fence, LEASE_MS]
        return bool(scripts.run(client, "still", (), arguments))


class Taken(NamedTuple):
    """A message and the list it lay in. `word` as in lua/take.lua; `begun` where that is 'run'."""

    list: str
    raw: bytes
    word: str
    begun: Begun | None


class Taking:
    """How one worker takes."""

    def __init__(self, deployment: Deployment, worker: str) -> None:
        self._deployment, self._worker = deployment, worker
        self._known: tuple[Mapping[str, Deployed], str] | None = None
        self._functions, self._open = "\n", tuple[str, ...]()
        self._paces: dict[str, float] = {}
        self.oldest: Callable[[], float] | None = None
        """How long the oldest call has run that runs here, in seconds; None where nothing is to be begun ahead."""
        self.version = ""
        """Of the code that this worker runs."""

    def words(self, queue: str, lists: Sequence[str], most: int, free: int) -> list[scripts.Argument]:
        """The command that takes up to `most` messages and begins with up to `free` of them."""
        names = [keys.held(self._worker), keys.wake(queue), *lists]
        sha = scripts.sha(scripts.source("take"))
        life = limits(self._deployment.settings.project.retention)
        settings: list[scripts.Argument] = [self._worker, LEASE_MS, *life, self.version]
        return ["EVALSHA", sha, len(names), *names, *settings, most, free, TTL_SECONDS, *self._of(queue, most > free)]

    def ran(self, function: str, seconds: float) -> None:
        """A call of a function has ended here: it is as slow as its slowest one of late."""
        self._paces[function] = max(seconds, self._paces.get(function, 0.0) * _FORGET)

    def read(self, answer: Any, lists: Sequence[str]) -> list[Taken]:
        """What such a command has answered."""
        return [_taken(lists[entry[0]], *entry[1:]) for entry in answer]

    def _of(self, queue: str, more: bool) -> tuple[str, str]:
        """Functions with their policies, and those of them that are begun ahead of a free process. Gathered calls are
        begun where they are run, and those that take places at gates when they can run."""
        functions = self._deployment.functions
        if self._known is None or self._known[0] is not functions or self._known[1] != queue:
            found = [one.spec for one in functions.values() if one.spec.queue == queue and not one.spec.gather]
            policies = [(spec.name, admission.policy(spec)) for spec in found]
            self._functions = "\n" + "".join(f"{name}\n{policy}\n" for name, policy in policies)
            self._open = tuple(name for name, policy in policies if not policy)
            self._known = functions, queue
        if not more or self.oldest is None or self.oldest() >= QUICK_SECONDS:
            return self._functions, ""
        quick = (f"\n{name}\n" for name in self._open if self._paces.get(name, 1.0) < QUICK_SECONDS)
        return self._functions, "".join(quick)


def _taken(source: str, task_id: bytes, raw: bytes, word: bytes, record: Sequence[bytes] = ()) -> Taken:
    begun = Begun(task_id.decode(), tuple(record), time.monotonic()) if word == b"run" else None
    return Taken(source, raw, word.decode(), begun)
