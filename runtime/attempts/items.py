"""The items of a generator on their way: to Redis for those who wait and watch, and into a file for the result.

A thread of the attempt's own writes what has gathered while it wrote before: the first item goes at once, a fast
generator's go together. The generator is held back when more than a little is on its way, or when a waiting caller
takes its items more slowly than they are made. `put` says when nobody wants any more.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import redis

from runtime.attempts.attempt import OUTAGE_SECONDS, Attempt
from runtime.broker import scripts

ITEM_LIMIT = 4 * 2**20
"""Bytes of one item's JSON."""
KEPT_ITEMS, KEPT_BYTES = 10_000, 2**20
"""What Redis holds of one call besides what its caller has not taken; older items are in the result only."""
KEPT_SECONDS = 3600
"""How long it holds them after the newest."""
LIST_LIMIT = 2**30
"""Bytes that the result of a generator may have."""
PATIENCE_SECONDS = 15.0
"""A waiting caller whose gateway is not heard of for so long is gone."""

_AHEAD_ITEMS, _AHEAD_BYTES = 1000, 2**20
"""How far a generator may be ahead: of the broker, and of a caller who waits for its items."""
_LOOK_SECONDS = 0.05
_IN_MEMORY = 2**20
_DAY = 86400

log = logging.getLogger("tundish.task")


@dataclass(frozen=True, slots=True)
class Collected:
    """All items of a generator as a JSON list of `size` bytes. `delivered`: a caller got them as they came."""

    file: BinaryIO
    size: int
    delivered: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One item as it is kept: `id` is its entry's, `number` counts from 1 in its attempt, `data` is JSON."""

    id: str
    attempt: int
    number: int
    data: bytes

    @property
    def at(self) -> int:
        """When it was written, in ms since the epoch."""
        return int(self.id.partition("-")[0])


def decode(entry: tuple[bytes, Any]) -> Item:
    """An item from an entry, as the client library or a script answers it."""
    name, fields = entry
    told: Mapping[bytes, bytes] = (
        fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=True))
    )
    return Item(name.decode(), int(told[b"attempt"]), int(told[b"n"]), told[b"data"])


class Items:
    """The items of one attempt. `leave` is called when its caller is gone."""

    def __init__(self, client: redis.Redis, attempt: Attempt, timeout: float | None, leave: Callable[[], None]) -> None:
        self._client, self._attempt, self._leave = client, attempt, leave
        self._life = int(timeout or _DAY) + KEPT_SECONDS  # counted from every write anew
        self._file: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (it is handed on)
        self._size = self._count = self._sent = 0
        self._delivered = attempt.flag("streamed")
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._untaken: deque[int] = deque()
        """Sizes of the items that the waiting caller has not taken; the newest is number `_sent`."""
        self._kept: deque[int] = deque()
        self._kept_bytes, self._full_once = 0, False
        self._turn = threading.Condition()
        self._closing, self._unwanted = False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="items", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> bool:
        """Take one item. False: nobody wants more, end now. Waits where the generator is far ahead.

        Raises TypeError for an item or a list that is too large, and what the broker raised for too long.
        """
        self._count += 1
        if len(data) > ITEM_LIMIT:
            self._refuse(f"item {self._count} has {len(data)} bytes of JSON; {ITEM_LIMIT} are possible")
        self._keep(data)
        with self._turn:
            while not self._room() and not self._over:
                self._turn.wait()
            if self._error:
                raise self._error
            self._pending.append(data)
            self._pending_bytes += len(data)
            self._turn.notify_all()
            return not self._unwanted

    def close(self) -> Collected:
        """All items were made. Returns when all are written."""
        self.end()
        if self._error:
            raise self._error
        self._file.write(b"null" if self._size > LIST_LIMIT else b"]" if self._size else b"[]")
        size = self._file.tell()
        self._file.seek(0)
        return Collected(self._file, size, self._delivered)

    def end(self) -> None:
        """Write what there is, and no more."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        self._thread.join()

    @property
    def full(self) -> bool:
        """Whether `put` would wait."""
        return not self._room()

    @property
    def _over(self) -> bool:
        return self._unwanted or self._error is not None

    def _room(self) -> bool:
        return len(self._pending) < _AHEAD_ITEMS and self._pending_bytes < _AHEAD_BYTES

    def _keep(self, data: bytes) -> None:
        """Into the list, which is the result."""
        self._size += len(data) + 1
        if self._size <= LIST_LIMIT:
            self._file.write((b"," if self._count > 1 else b"[") + data)
        elif not self._delivered:
            self._refuse(f"its items have more than {LIST_LIMIT} bytes together")
        else:  # who waited has them; the record says nothing of them
            self._file.seek(0)
            self._file.truncate()

    def _refuse(self, what: str) -> None:
        raise TypeError(f"{what}: put large things into the store, and yield their keys")

    def _run(self) -> None:
        try:
            while True:
                with self._turn:
                    while not (self._pending or self._closing):
                        self._turn.wait()
                    batch = self._batch()
                if not batch:
                    return
                self._write(batch)
                while self._caller_is_behind() and not self._over and not self._closing:
                    with self._turn:
                        self._turn.wait(_LOOK_SECONDS)
                    self._write([])
        except BaseException as error:  # noqa: BLE001 (the generator's thread raises it)
            self._error = error
        finally:
            with self._turn:
                self._turn.notify_all()

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._pending and len(batch) < _AHEAD_ITEMS and size < _AHEAD_BYTES:
            batch.append(self._pending.popleft())
            size += len(batch[-1])
        self._pending_bytes -= size
        self._turn.notify_all()
        return batch

    def _caller_is_behind(self) -> bool:
        return self._delivered and (len(self._untaken) > _AHEAD_ITEMS or sum(self._untaken) > _AHEAD_BYTES)

    def _write(self, batch: list[bytes]) -> None:
        if self._over:
            return
        given: list[scripts.Argument] = [self._attempt.id, self._attempt.fence, self._attempt.number, self._sent]
        given += [self._most_kept(batch), self._life, int(PATIENCE_SECONDS * 1000), *batch]
        verdict, taken = self._through_outage(given)
        self._sent += len(batch)
        if self._delivered:
            self._untaken.extend(map(len, batch))
            for _ in range(len(self._untaken) - max(0, self._sent - int(taken))):
                self._untaken.popleft()
        if verdict == b"gone":
            with contextlib.suppress(redis.RedisError):
                self._leave()
        if verdict != b"ok":
            self._unwanted = True

    def _most_kept(self, batch: list[bytes]) -> int:
        """How many entries the stream may have with these: large ones push others out, also of attempts before."""
        most = KEPT_ITEMS
        for data in batch:
            self._kept.append(len(data))
            self._kept_bytes += len(data)
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popleft()
                self._full_once = True
        if self._full_once:
            most = min(most, len(self._kept))
        return max(most, len(self._untaken) + len(batch))

    def _through_outage(self, given: list[scripts.Argument]) -> Any:
        """A broker that is away holds the generator back; a write that was done already is not done twice."""
        give_up, pause = time.monotonic() + OUTAGE_SECONDS, 0.1
        while True:
            try:
                return scripts.run(self._client, "items_add", (), given)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("%s yields, but the broker is away (%s)", self._attempt.id, type(error).__name__)
                time.sleep(pause)
                pause = min(2.0, pause * 2)
