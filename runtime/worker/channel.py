"""The lean channel: kombu's Redis transport without its book of what is unacknowledged. The records know that.

What differs from kombu, and nothing else does (pub/sub, events, remote control and reconnecting are kombu's own):

- One round trip brings as many messages as the consumer may still have, from the lists of the highest priorities that
  have any, queues in turn, and begins with those for which a process is free. A blocking pop waits for a token that
  every submission leaves (or for a message, where another program sent it); the script behind it takes
  (runtime/attempts/taking.py). Without a receiver the pop itself brings the messages (`BLMPOP … COUNT`).
- Acknowledging costs no round trip: what is out is counted in memory. It is marked with the worker's name by
  runtime/worker/receiver.py; when the worker is gone the reaper queues it again. So there is no visibility timeout.
- What was received and not started goes back to the head of its list when the consumer stops.

It stands on kombu's inner methods. tests/test_channel_internals.py fails when one of them changes.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from queue import Empty
from time import monotonic
from typing import Any

import redis
from kombu.transport import redis as stock
from kombu.utils.json import dumps
from redis.exceptions import NoScriptError, OutOfMemoryError

from runtime import keys
from runtime.attempts.taking import DROPPED, Begun, Taken
from runtime.broker import scripts
from runtime.worker.channel_letters import is_running, letter_of, opened
from runtime.worker.channel_qos import MOST, QoS
from runtime.worker.receiver import Letter, Receiver, put_back

_TURN_SECONDS = 0.01
"""How long messages are handed on before the event loop sees to other things."""

log = logging.getLogger("tundish.channel")


class Channel(stock.Channel):  # type: ignore[misc]
    """Takes many messages at once. `receiver` is set by the worker (runtime/worker/channel_step.py)."""

    QoS = QoS
    receiver: Receiver | None = None
    ahead = 1
    """Messages that the consumer may have for each of its processes."""
    source = ""
    """The list from which the message came that is being delivered."""
    begun: Begun | None = None
    """Its attempt, if it has begun."""
    _script_known = False
    _asked: Sequence[str] = ()
    """The lists that a script takes from behind the pop that is on its way; empty: there is no such script."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._letters: deque[Letter] = deque()
        super().__init__(*args, **kwargs)

    @property
    def waiting(self) -> int:
        """Messages that were received and not handed to the consumer yet."""
        return len(self._letters)

    @property
    def stopping(self) -> bool:
        return self.receiver is not None and self.receiver.stopping

    def out(self) -> int:
        """How many messages were received and have not ended."""
        return int(self.qos._out())

    def held(self) -> list[str]:
        """Ids of the invocations whose messages are out. Any thread may ask."""
        out = [message.headers.get("id") for message in list(self.qos._delivered.values())]
        out += [letter.payload["headers"].get("id") for letter in list(self._letters)]
        return [str(task_id) for task_id in out if task_id]

    def begun_ids(self) -> list[str]:
        """Ids of those that are out and have begun. Any thread may ask."""
        out = [message.begun.id for message in list(self.qos._delivered.values()) if message.begun]
        return out + [letter.begun.id for letter in list(self._letters) if letter.begun]

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        count = min(MOST, self.qos.room())
        if not queues or not count:
            return
        lists = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        waits = timeout or self.brpop_timeout or 0
        connection = self.client.connection
        begin = self.receiver if self._knows_script() else None
        self._in_poll, self._brpop_sent_at = connection, monotonic()
        if begin is None:
            self._asked = ()
            connection.send_command("BLMPOP", waits, len(lists), *lists, "RIGHT", "COUNT", count)
            return
        self._asked = lists
        names = [*map(keys.wake, queues), *lists]
        pop = scripts.packed("BLMPOP", waits, len(names), *names, "RIGHT", "COUNT", 1)
        take = scripts.packed(*begin.taking.words(queues[0], lists, count, self.qos.free()))
        connection.send_packed_command((pop + take,))

    def _brpop_read(self, **options: Any) -> bool:
        connection, taken = self.client.connection, None
        try:
            answer = self.client.parse_response(connection, "BLMPOP", **options)
            if self._asked:
                taken = self._read_taken(connection)
        except self.connection_errors:
            connection.disconnect()
            raise
        except redis.ResponseError:
            connection.disconnect()  # what else is in it belongs to this one
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if answer and answer[0].decode() not in map(keys.wake, self._queue_cycle.items):
            # Nobody had left a token, so this one is older than what the script behind the pop has taken.
            self._receive_letters(answer[0].decode(), answer[1])
            if taken:
                self._receive_taken(taken, self.qos.room())
        elif taken:
            self._send_ahead(taken)
            self._receive_taken(taken)
        else:
            raise Empty
        self.deliver()
        return True

    def _knows_script(self) -> bool:
        """Whether the broker has the script, which only its hash is sent of."""
        if self.receiver and not self._script_known:
            try:
                self.client.script_load(scripts.source("take"))
                self._script_known = True
            except redis.RedisError as error:
                log.warning("messages are taken without beginning with them (%s)", error)
        return self._script_known

    def _read_taken(self, connection: Any) -> list[Taken]:
        assert self.receiver  # noqa: S101
        try:
            return self.receiver.taking.read(self.client.parse_response(connection, "EVALSHA"), self._asked)
        except NoScriptError:  # the broker was emptied; it is told again
            self._script_known = False
            return []

    def _send_ahead(self, taken: Sequence[Taken]) -> None:
        """One that is alone is sent on before anything is made of its message."""
        send, (one, *others) = self.receiver and self.receiver.send_ahead, taken
        if not send or not one.begun or others or self.out() or self._closing or self.stopping:
            return
        if one.list.rsplit(self.sep, 1)[0] in self._active_queues:
            send(one.begun, one.raw)

    def _receive_taken(self, taken: Sequence[Taken], most: int = MOST) -> None:
        """Take what was taken by script: for what has not begun the record or the mark is still to be made. More than
        `most` go back, the newest of them."""
        assert self.receiver  # noqa: S101
        letters, others = list[Letter](), list[Letter]()
        for one in taken:
            queue = one.list.rsplit(self.sep, 1)[0]
            if one.word in DROPPED:
                log.info("a message of %s is dropped: its call is not to be run (%s)", queue, one.word)
            elif letter := opened(one.list, queue, one.raw, one.begun):
                letters.append(letter)
                if one.word == "plain":
                    others.append(letter)
        self._queue_cycle.rotate(taken[-1].list.rsplit(self.sep, 1)[0])
        if others:
            gone = set(map(id, others)) - set(map(id, self.receiver.take(others, begun=False)))
            letters = [letter for letter in letters if id(letter) not in gone]
        wanted = [letter for letter in letters if letter.queue in self._active_queues and not self._closing][:most]
        self._letters.extend(wanted)
        if len(wanted) < len(letters):
            kept = set(map(id, wanted))
            self._return([letter for letter in letters if id(letter) not in kept])

    def _return(self, letters: Sequence[Letter]) -> None:
        """Put what was received, oldest first, back where it was: the newest first, so that the others go before it."""
        for begun, found in groupby(reversed(letters), key=lambda letter: letter.begun is not None):
            part = list(found)[::-1]
            if begun and self.receiver:
                self.receiver.unclaim(part)
            else:
                self.put_back([(letter.list, dumps(letter.payload)) for letter in part])

    def _receive_letters(self, source: str, raws: Sequence[bytes]) -> None:
        """Take what there is room for; the rest (the prefetch count fell, the queue was cancelled) goes back."""
        queue = source.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        wanted = queue in self._active_queues and not self._closing
        room = self.qos.room() if wanted else 0
        if raws[room:]:
            self.put_back([(source, raw) for raw in raws[room:]])
        letters = [letter for raw in raws[:room] if (letter := opened(source, queue, raw))]
        if self.receiver:
            letters = self.receiver.take(letters, begun=len(letters) <= self.qos.free())
        self._letters.extend(letters)

    def deliver(self) -> bool:
        """Hand on what was received. A pool may run one before it returns: then the others wait for their turn."""
        delivered, began = False, monotonic()
        while self._letters and not self.stopping:
            letter = self._letters.popleft()
            if letter.queue not in self._active_queues:  # cancelled meanwhile
                self._return([letter])
                continue
            self.source, self.begun = letter.list, letter.begun
            self.connection._deliver(letter.payload, letter.queue)
            delivered = True
            if not self._letters or self.connection.loop is None:
                break
            if monotonic() - began > _TURN_SECONDS:
                self.connection.loop.call_soon(self.deliver)
                break
        return delivered

    def give_back(self) -> None:
        """Put everything that was received and is not running back at the head of its list."""
        running = self.receiver.running() if self.receiver else frozenset()
        letters, delivered = list(self._letters), self.qos._delivered
        self._letters.clear()
        self._return(letters)
        back = [(tag, one) for tag, one in list(delivered.items()) if not is_running(one, running)]
        self._return([letter_of(one) for tag, one in back if delivered.pop(tag, None) is not None])

    def put_back(self, messages: Sequence[tuple[str, str | bytes]]) -> None:
        """Put messages, oldest first, at the head of their lists."""
        if self.receiver:
            self.receiver.put_back(messages)
        elif messages:
            put_back(self._create_client(), messages)

    def has_room(self) -> None:
        """A message was acknowledged: wake a consumer that waits for nothing else."""
        if not self._in_poll and self.connection is not None:
            self.connection.wake()

    def _basic_cancel(self, consumer_tag: str) -> Any:
        result = super()._basic_cancel(consumer_tag)
        if not self.active_queues:
            self._end_poll()
        return result

    def close(self) -> None:
        self._closing = True
        if not self.closed:
            self._end_poll()
        super().close()

    def _end_poll(self) -> None:
        """Wait (a second at most) for the pop that is on its way, so that nothing is left in the socket."""
        if not self._in_poll:
            return
        try:
            self._brpop_read()
        except (Empty, *self.connection_errors):
            self._in_poll = None

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except OutOfMemoryError:
            # A worker must start at the memory limit, too; its own messages need no entry in this table.
            log.warning("the broker is at its memory limit: queue %s is served, but not listed in it", queue)

    def maybe_refresh_binding_expiry(self) -> None:
        with contextlib.suppress(OutOfMemoryError):  # it tries again every second
            super().maybe_refresh_binding_expiry()
