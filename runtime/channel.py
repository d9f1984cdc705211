"""The lean channel: kombu's Redis transport without its book of what is unacknowledged. The records know that.

What differs from kombu, and nothing else does (pub/sub, events, remote control and reconnecting are kombu's own):

- One blocking pop brings as many messages as the consumer may still have (`BLMPOP … COUNT`), from the list of the
  highest priority that has any, queues in turn.
- Acknowledging costs no round trip: what is out is counted in memory. It is marked with the worker's name by
  runtime/receiver.py; when the worker is gone the reaper queues it again. So there is no visibility timeout.
- What was received and not started goes back to the head of its list when the consumer stops.

It stands on kombu's inner methods. tests/test_channel_internals.py fails when one of them changes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import redis as stock
from kombu.transport import virtual
from kombu.utils.json import dumps, loads
from redis.exceptions import OutOfMemoryError

from runtime.poller import Poller
from runtime.receiver import Letter, Receiver, put_back

MOST = 100
"""Messages that one pop brings at most: remote control and the other queues want their turn, too."""

_TURN_SECONDS = 0.01
"""How long messages are handed on before the event loop sees to other things."""

log = logging.getLogger("tundish.channel")


class QoS(virtual.QoS):  # type: ignore[misc]
    """Counts the messages that are out. Other threads than the consuming one acknowledge, too."""

    channel: Channel

    def room(self) -> int:
        """How many more messages the consumer may have."""
        if self.channel.stopping:
            return 0
        if not self.prefetch_count:
            return MOST
        return max(0, int(self.prefetch_count) - self._out())

    def begins(self, more: int) -> bool:
        """Whether the consumer has a free process for each of so many more."""
        return self._out() + more <= int(self.prefetch_count) // self.channel.ahead

    def _out(self) -> int:
        return len(self._delivered) + self.channel.waiting

    def can_consume(self) -> bool:
        # The answer to a pop that is on its way is read, whatever became of the prefetch count meanwhile.
        return bool(self.channel._in_poll) or self.room() >= self._worth()

    def _worth(self) -> int:
        """Room for which a round trip is made: half of what may wait behind the calls that run, so that many come at
        once. Any room, where nothing waits."""
        waiting = int(self.prefetch_count) * (self.channel.ahead - 1) // self.channel.ahead
        return max(1, waiting // 2)

    def append(self, message: Any, delivery_tag: str) -> None:
        message.list = self.channel.source
        self._delivered[delivery_tag] = message

    def ack(self, delivery_tag: str) -> None:
        self._delivered.pop(delivery_tag, None)
        self.channel.has_room()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._delivered.pop(delivery_tag, None)
        if requeue and message is not None:
            self.channel.put_back([_again(message)])
        self.channel.has_room()

    def restore_unacked(self) -> None:
        self.channel.give_back()

    def restore_unacked_once(self, stderr: Any = None) -> None:
        self._on_collect.cancel()
        self.channel.give_back()


class Channel(stock.Channel):  # type: ignore[misc]
    """Takes many messages at once. `receiver` is set by the worker (runtime/channel_step.py)."""

    QoS = QoS
    receiver: Receiver | None = None
    ahead = 1
    """Messages that the consumer may have for each of its processes."""
    source = ""
    """The list from which the message came that is being delivered."""

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

    def held(self) -> list[str]:
        """Ids of the invocations whose messages are out. Any thread may ask."""
        out = [message.headers.get("id") for message in list(self.qos._delivered.values())]
        out += [letter.payload["headers"].get("id") for letter in list(self._letters)]
        return [str(task_id) for task_id in out if task_id]

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        count = min(MOST, self.qos.room())
        if not queues or not count:
            return
        lists = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        waits = timeout or self.brpop_timeout or 0
        self.client.connection.send_command("BLMPOP", waits, len(lists), *lists, "RIGHT", "COUNT", count)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            answer = self.client.parse_response(self.client.connection, "BLMPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if not answer:
            raise Empty
        self._receive_letters(answer[0].decode(), answer[1])
        self.deliver()
        return True

    def _receive_letters(self, source: str, raws: Sequence[bytes]) -> None:
        """Take what there is room for; the rest (the prefetch count fell, the queue was cancelled) goes back."""
        queue = source.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        wanted = queue in self._active_queues and not self._closing
        room = self.qos.room() if wanted else 0
        if raws[room:]:
            self.put_back([(source, raw) for raw in raws[room:]])
        letters = [letter for raw in raws[:room] if (letter := _opened(source, queue, raw))]
        if self.receiver:
            letters = self.receiver.take(letters, begun=self.qos.begins(len(letters)))
        self._letters.extend(letters)

    def deliver(self) -> bool:
        """Hand on what was received. A pool may run one before it returns: then the others wait for their turn."""
        delivered, began = False, monotonic()
        while self._letters and not self.stopping:
            letter = self._letters.popleft()
            if letter.queue not in self._active_queues:  # cancelled meanwhile
                self.put_back([(letter.list, dumps(letter.payload))])
                continue
            self.source = letter.list
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
        delivered = self.qos._delivered
        out = [(tag, message) for tag, message in list(delivered.items()) if message.headers.get("id") not in running]
        back = [_again(message) for tag, message in out if delivered.pop(tag, None) is not None]
        back += [(letter.list, dumps(letter.payload)) for letter in self._letters]
        self._letters.clear()
        self.put_back(back)

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


class Transport(stock.Transport):  # type: ignore[misc]
    """`broker_transport` of a worker whose queue has `channel: lean`."""

    Channel = Channel
    loop: Any = None
    """Celery's event loop; None where a pool has none (gevent)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
        self._consuming = threading.get_ident()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.loop = loop
        super().register_with_event_loop(connection, loop)

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        self._consuming = threading.get_ident()
        if any(channel.stopping for channel in self.channels):
            raise TimeoutError  # Celery's loop turns once more after it was told to stop
        if not any(channel.deliver() for channel in list(self.channels)):
            super().drain_events(connection, timeout)

    def wake(self) -> None:
        """Another thread than the consuming one has made room."""
        if threading.get_ident() == self._consuming:
            return
        if self.loop is None:
            self.cycle.ring()
        else:
            self.loop.call_soon(_nothing)


def _nothing() -> None:
    """What an event loop is woken with."""


def _opened(source: str, queue: str, raw: bytes) -> Letter | None:
    """A message as it lies in a list; None, with a word in the log, where it is no message."""
    try:
        payload = loads(raw.decode())
        if isinstance(payload["headers"], dict) and payload["properties"]["delivery_tag"]:
            return Letter(source, queue, payload)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    log.error("dropped from the list %r: %.200r is not a message that Celery sends", source, raw)
    return None


def _again(message: Any) -> tuple[str, str]:
    """A delivered message as it goes back into its list."""
    message._raw["headers"]["redelivered"] = True
    return message.list, dumps(message._raw)
