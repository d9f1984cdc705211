"""What a worker has received: marked with its name, and recorded where another program sent it.

Between a message's way out of its list and its attempt nothing but the worker has it. The mark (`keys.held`) says which
worker that is; the heartbeat renews it (runtime/worker/keeper.py), and when the worker is gone the reaper queues the
invocation again. That needs a record: a message of another Celery program gets one here, on receipt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import redis

from runtime import keys
from runtime.attempts.taking import Begun, Taking
from runtime.broker import scripts
from runtime.broker.presence import TTL_SECONDS
from runtime.deployment.deployment import Deployment
from runtime.worker import foreign

log = logging.getLogger("tundish.channel")


class Letter(NamedTuple):
    """A message on its way to the consumer: the list it lay in, the queue of that list, and the message itself."""

    list: str
    queue: str
    payload: dict[str, Any]
    begun: Begun | None = None
    """Its attempt, where it was begun when the message was taken."""


class Holder(Protocol):
    """Whoever knows what is out: the channel."""

    def held(self) -> list[str]: ...

    def begun_ids(self) -> list[str]: ...

    def out(self) -> int: ...


class Receiver:
    """One per worker, in its parent process. It outlives the channels of broken connections."""

    def __init__(
        self, client: redis.Redis, deployment: Deployment, worker: str, running: Callable[[], Collection[str]]
    ) -> None:
        """`running` answers the ids that the pool has begun with."""
        self._client, self._deployment, self._worker = client, deployment, worker
        self.running = running
        self.taking = Taking(deployment, worker)
        self._channel: Holder | None = None
        self._homeless: list[tuple[str, str | bytes]] = []
        self.send_ahead: Callable[[Begun, bytes], None] | None = None
        """Told of a call that was taken and has the worker to itself, and of its message."""
        self.stopping = False
        """The worker was told to stop: nothing more is begun."""

    def open(self, channel: Holder) -> None:
        """A new channel consumes from now on: what could not be put back before goes back now."""
        self._channel = channel
        homeless, self._homeless = self._homeless, []
        self.put_back(homeless)

    def held(self) -> list[str]:
        """Ids of what was received and has not ended. Any thread may ask."""
        return self._channel.held() if self._channel else []

    def begun(self) -> list[str]:
        """Ids of what was begun when it was taken, and has not ended. Any thread may ask."""
        return self._channel.begun_ids() if self._channel else []

    def alone(self) -> bool:
        """Whether no more than one message is out."""
        return self._channel is not None and self._channel.out() == 1

    def take(self, letters: Sequence[Letter], *, begun: bool) -> list[Letter]:
        """Mark and record what was received; answers what is to be delivered now (what has an eta waits elsewhere).

        `begun`: each is begun with at once. Then its record says who has it, and the heartbeat marks what is slow.
        """
        now = time.time()
        strangers = {index: found for index, letter in enumerate(letters) if (found := self._stranger(letter, now))}
        ids = [str(letter.payload["headers"].get("id")) for letter in letters]
        try:
            if not strangers:
                if not begun:
                    scripts.run(self._client, "hold", [keys.held(self._worker)], [TTL_SECONDS, 0, *ids])
                return list(letters)
            with self._client.pipeline(transaction=False) as pipe:
                pipe.eval(scripts.source("hold"), 1, keys.held(self._worker), TTL_SECONDS, 0, *ids)
                for _, record in strangers.values():
                    pipe.eval(scripts.source("record"), 0, *record)
                pipe.execute()
        except (redis.ConnectionError, redis.TimeoutError):
            # Ours are in a record, and the next heartbeat marks them. The others exist nowhere but here.
            self.put_back([(letters[index].list, foreign.text(letters[index].payload)) for index in strangers])
            return [letter for index, letter in enumerate(letters) if index not in strangers]
        except redis.ResponseError as error:
            log.warning("what was received could not be recorded (%s); it is recorded when it runs", error)
            return list(letters)
        later = {index for index, (found, _) in strangers.items() if found.delay(now)}
        for index in strangers.keys() - later:
            letters[index].payload["headers"].pop("eta", None)  # it is over; Celery would plan it all the same
        return [letter for index, letter in enumerate(letters) if index not in later]

    def put_back(self, messages: Iterable[tuple[str, str | bytes]]) -> None:
        """Put messages, oldest first, at the head of their lists: now, or as soon as the broker is back."""
        back = list(messages)
        try:
            put_back(self._client, back)
        except redis.RedisError as error:
            log.warning("%d messages go back when the broker answers again (%s)", len(back), type(error).__name__)
            self._homeless += back

    def unclaim(self, letters: Iterable[Letter]) -> None:
        """Give up attempts that were begun when their messages were taken, and put the messages back, oldest first. In
        an outage their leases run out, and the upkeep queues them."""
        found = [(letter.list, letter.begun.id, foreign.text(letter.payload)) for letter in letters if letter.begun]
        if not found:
            return
        words = [word for _, task_id, raw in found for word in (task_id, raw)]
        try:
            scripts.run(self._client, "unclaim", [name for name, _, _ in found], [self._worker, *words])
        except redis.RedisError as error:
            log.warning("%d calls go on when their leases have run out (%s)", len(found), type(error).__name__)

    def _stranger(self, letter: Letter, now: float) -> tuple[foreign.Foreign, list[scripts.Argument]] | None:
        """A call of another program with its record; None for ours, and for what the function itself must refuse."""
        found = foreign.read(letter.payload)
        if found is None or found.function not in self._deployment.functions:
            return None
        try:
            return found, foreign.record(self._deployment, found, now)
        except OverflowError:
            return None


def put_back(client: redis.Redis, messages: Sequence[tuple[str, str | bytes]]) -> None:
    """Put messages, oldest first, at the head of their lists, even at the memory limit."""
    if messages:
        scripts.run(client, "put_back", [name for name, _ in messages], [raw for _, raw in messages])
