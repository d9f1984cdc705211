"""Files of a large segment that go to the store one by one, as they are complete, while the next ones are made.

As with vectors that are sent ahead (early.py), the segment's folder gets a name of its own, before its hash is known.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from runtime.context import Store
from runtime.errors import TundishError
from runtime.index import layout

_AT_ONCE = 4


class Sent:
    """Nothing is in the store before the first `send`."""

    def __init__(self, store: Store, index: str, files: Path) -> None:
        """`files`: where they are written."""
        self.folder = uuid.uuid4().hex
        self._store, self._files, self._place = store, files, layout.segment(index, self.folder)
        self._under_way: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sent")

    @property
    def names(self) -> set[str]:
        return set(self._under_way)

    def send(self, name: str) -> None:
        """This file is complete."""
        self._under_way[name] = self._pool.submit(self._send, name)

    def finished(self) -> bool:
        """Waits for all. Raises what the store raises, and leaves nothing there then."""
        try:
            for one in self._under_way.values():
                one.result()
        except BaseException:
            self.give_up()
            raise
        self._pool.shutdown()
        return True

    def give_up(self) -> None:
        """Leave nothing in the store."""
        for one in self._under_way.values():
            one.cancel()
        self._pool.shutdown()
        for name, one in self._under_way.items():
            if not one.cancelled():
                with suppress(TundishError):  # cleanup removes it, too
                    self._store.delete(self._store.bucket, self._place + name)

    def _send(self, name: str) -> None:
        path = self._files / name
        with path.open("rb") as data:
            self._store.put_stream(self._store.bucket, self._place + name, data, path.stat().st_size)
