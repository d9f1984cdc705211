"""Posting the answers of invocations to the URLs that their callers named, in every `beat` process.

At least once, and by one sender at a time: an answer that is taken keeps its place in the list under a lease. Another
sender gets it when that has run out, because the first one is gone.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from runtime.broker import scripts
from runtime.callbacks.answer import message
from runtime.callbacks.post import post
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations.invocation import decode
from runtime.security import callback_sign
from runtime.security.callback_address import Target, parse, refuse_addresses

THREADS = 4
EACH_HOST = 2
"""Answers that one process posts to one host at a time: a slow receiver leaves room for the others."""

LEASE_MS = 90_000
"""Longer than the longest timeout of a try. It is renewed when the name is resolved, which has no timeout."""

PAUSES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 900.0, 900.0)
"""Seconds before each repetition, 51 minutes in all; a successful record is kept for an hour."""

JITTER = 0.1
CIRCUIT = (10, 60_000, 30_000)
"""So many failures of one host within this time (ms) leave its answers waiting for that time (ms)."""

IDLE_SECONDS = 0.25
BROKEN_SECONDS = 2.0
_LOOK, _ROUNDS = 500, 20
_NO_MORE = 410
log = logging.getLogger("tundish.callbacks")


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that is this process's to post."""

    id: str
    token: str
    url: str
    host: str
    attempt: int
    ended: int
    """When the invocation ended, in ms: it may be put back to work and end again."""


class _Gone(Exception):
    """Another sender has it, or it is over."""


class Callbacks:
    """The sender of one process. `run` takes what is due; threads of its own post it."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._client, self._deployment = client, deployment
        self._busy: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._dice = random.Random()  # noqa: S311 (spreads delays, keeps no secrets)
        self._key: bytes | None = None

    def replace(self, deployment: Deployment) -> None:
        """After a reload."""
        self._deployment = deployment

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop, then wait for what is under way, a little."""
        said = False
        while not stop.is_set():
            pause = IDLE_SECONDS
            try:
                self.step()
                said = False
            except (redis.RedisError, BrokerDown) as error:
                if not said:
                    log.warning("callbacks wait: %s", error)
                said, pause = True, BROKEN_SECONDS
            if self._wake.wait(pause):
                self._wake.clear()
        self.wait(1.0)

    def step(self) -> None:
        """Begin to post what is due, as far as there are threads for it. Raises RedisError."""
        for _ in range(_ROUNDS):
            with self._changed:
                busy = list(self._busy.elements())
            if len(busy) >= THREADS:
                return
            token = uuid.uuid4().hex
            numbers = (LEASE_MS, THREADS - len(busy), _LOOK, EACH_HOST)
            more, *found = scripts.run(self._client, "callback_claim", (), [token, *numbers, *busy])
            for at in range(0, len(found), 5):
                task_id, url, host = (part.decode() for part in found[at : at + 3])
                self._begin(Taken(task_id, token, url, host, int(found[at + 3]), int(found[at + 4])))
            if not more:
                return

    def wait(self, seconds: float) -> bool:
        """Until nothing is under way here; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy.total(), seconds)

    def _secret(self) -> bytes:
        if self._key is None:
            settings = self._deployment.settings
            secret = settings.callback_secret or callback_sign.kept_secret(settings.home)
            self._key = callback_sign.key_of(secret)
        return self._key

    def _begin(self, taken: Taken) -> None:
        with self._changed:
            self._busy[taken.host] += 1
        threading.Thread(target=self._deliver, args=(taken,), name="callback", daemon=True).start()

    def _deliver(self, taken: Taken) -> None:
        try:
            try:
                status, failure = self._attempt(taken)
            except _Gone:
                return
            except (OSError, ValueError) as error:
                status, failure = 0, f"{taken.host}: {error or type(error).__name__}"
            self._settle(taken, status, failure)
        except (redis.RedisError, BrokerDown) as error:
            log.warning("%s: what became of its callback cannot be written: %s", taken.id, error)
        finally:
            with self._changed:
                self._busy -= Counter([taken.host])
                self._changed.notify_all()
            self._wake.set()

    def _attempt(self, taken: Taken) -> tuple[int, str]:
        """The status that the receiver answered, and what is wrong with it. Raises OSError, ValueError, _Gone."""
        spec, key = self._deployment.settings.project.callbacks, self._secret()
        target = parse(taken.url, spec.allow)
        addresses = resolve(target, spec.allow)
        # Resolving a name may take any time; from here on this try is shorter than its lease.
        fields = scripts.run(self._client, "callback_renew", (), [taken.id, taken.token, LEASE_MS])
        record = decode(taken.id, dict(zip(fields[::2], fields[1::2], strict=True)))
        if record is None:
            raise _Gone
        body, headers = message(record)
        signature = callback_sign.headers(key, f"{taken.id}_{taken.ended}", int(time.time()), body)
        status = post(target, addresses, body, headers | signature, spec.timeout)
        if 200 <= status < 300:
            return status, ""
        hint = "; redirects are not followed" if 300 <= status < 400 else ""
        return status, f"{taken.host} answered {status}{hint}"

    def _settle(self, taken: Taken, status: int, failure: str) -> None:
        pause = pause_after(taken.attempt, self._dice)
        state = "pending"
        if not failure:
            state = "delivered"
        elif status == _NO_MORE or pause is None:
            state = "refused" if status == _NO_MORE else "given up"
            log.error("%s: its callback is %s after attempt %d: %s", taken.id, state, taken.attempt, failure)
        else:
            log.warning("%s: attempt %d of its callback failed: %s", taken.id, taken.attempt, failure)
        # A host that answers is alive, whatever it thinks of the answer.
        bad = bool(failure) and (status in (0, 429) or status >= 500)
        told: list[scripts.Argument] = [taken.id, taken.token, taken.ended, taken.host, taken.attempt]
        told += [state, failure[:500], int((pause or 0) * 1000), int(bad), *CIRCUIT]
        scripts.run(self._client, "callback_settle", (), told)


def resolve(target: Target, allowed: Sequence[str]) -> list[str]:
    """The addresses of a target that may be connected to. Raises OSError, and ValueError where there is none."""
    found: list[Any] = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return refuse_addresses(target.host, dict.fromkeys(str(entry[4][0]) for entry in found), allowed)


def pause_after(attempt: int, dice: random.Random) -> float | None:
    """Seconds until the next attempt; None when that was the last one."""
    if attempt > len(PAUSES):
        return None
    return PAUSES[attempt - 1] * (1 + dice.uniform(-JITTER, JITTER))
