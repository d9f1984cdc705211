"""How many messages a worker may have: the lean channel's count of what is out, instead of kombu's book of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.transport import virtual

from runtime.attempts.taking import NOTHING
from runtime.worker.channel_letters import again

if TYPE_CHECKING:
    from runtime.worker.channel import Channel

MOST = 100
"""Messages that one pop brings at most: remote control and the other queues want their turn, too."""


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

    def free(self) -> int:
        """How many processes of the consumer have nothing to do."""
        return max(0, int(self.prefetch_count) // self.channel.ahead - self._out())

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
        message.list, message.begun = self.channel.source, self.channel.begun
        receiver = self.channel.receiver
        # Where none begins ahead of a free process, whatever has begun has one.
        message.handed = receiver is None or receiver.taking.oldest is None
        if message.begun:
            message._decoded_cache = NOTHING
        self._delivered[delivery_tag] = message

    def ack(self, delivery_tag: str) -> None:
        self._delivered.pop(delivery_tag, None)
        self.channel.has_room()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._delivered.pop(delivery_tag, None)
        if requeue and message is not None:
            self.channel.put_back([again(message)])
        self.channel.has_room()

    def restore_unacked(self) -> None:
        self.channel.give_back()

    def restore_unacked_once(self, stderr: Any = None) -> None:
        self._on_collect.cancel()
        self.channel.give_back()
