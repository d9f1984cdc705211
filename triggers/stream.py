"""The stream of raw notifications, read as a consumer group that all `triggers` processes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from runtime import keys

GROUP = "triggers"
DEAD_SECONDS = 15.0
"""A consumer that has not asked for so long is dead; the others take its entries over."""
FORGET_SECONDS = 3600.0
OLDEST = b"0"
"""Before all others: where reading begins."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification as it came in: where from, and its raw body."""

    id: bytes
    source: str
    body: bytes


class Stream:
    """This process's place in the group. Raises redis errors."""

    def __init__(self, client: redis.Redis, consumer: str) -> None:
        self._client, self._consumer = client, consumer

    def join(self) -> None:
        """Make stream and group where they are missing: at start, and after the broker lost its data."""
        try:
            self._client.xgroup_create(keys.EVENTS, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, most: int, block_seconds: float) -> list[Notification]:
        """New notifications, oldest first; waits when there are none."""
        found: Any = self._client.xreadgroup(
            GROUP, self._consumer, {keys.EVENTS: ">"}, count=most, block=int(block_seconds * 1000)
        )
        return _notes([entry for _, entries in found or () for entry in entries])

    def mine(self, after: bytes, most: int) -> tuple[list[Notification], bytes]:
        """What this process has read and not settled, from one id on; and where to go on (OLDEST: that was all)."""
        found: Any = self._client.xreadgroup(GROUP, self._consumer, {keys.EVENTS: after}, count=most)
        entries = [entry for _, entries in found or () for entry in entries]
        if trimmed := [entry_id for entry_id, fields in entries if not fields]:
            self._client.xack(keys.EVENTS, GROUP, *trimmed)
        return _notes(entries), entries[-1][0] if len(entries) >= most else OLDEST

    def acknowledge(self, ids: list[bytes]) -> None:
        """These are settled: they leave the stream, which holds only what is still to be done."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.xack(keys.EVENTS, GROUP, *ids)
            pipe.xdel(keys.EVENTS, *ids)
            pipe.execute()

    def take_over(self, most: int) -> list[Notification]:
        """What dead consumers had received and not settled; consumers that left nothing are forgotten."""
        consumers: Any = self._client.xinfo_consumers(keys.EVENTS, GROUP)
        notes: list[Notification] = []
        for consumer in consumers:
            name, idle = consumer["name"], consumer["idle"] / 1000
            if name == self._consumer.encode() or idle < DEAD_SECONDS or len(notes) >= most:
                continue
            if not consumer["pending"]:
                if idle > FORGET_SECONDS:
                    self._client.xgroup_delconsumer(keys.EVENTS, GROUP, name)
                continue
            left: Any = self._client.xpending_range(keys.EVENTS, GROUP, "-", "+", most - len(notes), name)
            claimed: Any = self._client.xclaim(
                keys.EVENTS,
                GROUP,
                self._consumer,
                min_idle_time=int(DEAD_SECONDS * 1000),
                message_ids=[entry["message_id"] for entry in left],
            )
            notes += _notes(claimed)
        return notes

    def newest(self) -> bytes:
        """The id of the last notification that ever came in."""
        self.join()
        info: Any = self._client.xinfo_stream(keys.EVENTS)
        return bytes(info["last-generated-id"])

    def unsettled(self, up_to: bytes) -> tuple[bytes, bytes] | None:
        """None when every notification up to this id has been settled by whoever received it; else how far they are:
        up to which one they were read, and the oldest that is not settled."""
        self.join()
        groups: Any = self._client.xinfo_groups(keys.EVENTS)
        read = next((group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()), b"0-0")
        pending: Any = self._client.xpending(keys.EVENTS, GROUP)
        oldest = pending["min"] or b""
        if _order(read) >= _order(up_to) and (not oldest or _order(oldest) > _order(up_to)):
            return None
        return min(read, up_to, key=_order), oldest


def _notes(entries: Any) -> list[Notification]:
    # An entry that was trimmed away meanwhile comes without fields.
    return [
        Notification(entry_id, fields.get(b"source", b"").decode(errors="replace"), fields.get(b"body", b""))
        for entry_id, fields in entries
        if fields
    ]


def _order(entry_id: bytes) -> tuple[int, int]:
    stamp, _, count = bytes(entry_id).partition(b"-")
    return int(stamp), int(count or 0)
