"""Objects are read ahead of the one whose turn it is, so that nobody waits for the store while there is work."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from runtime.context import ObjectEvent

from ._members import OBJECT_LIMIT, READERS, Member, check_size

OBJECTS = 64
"""Objects that are read ahead, or being read."""

BYTES = 64 * 2**20
"""Of all of them together, as the events tell their sizes."""


def ahead(members: Sequence[Member]) -> Generator[Member, None, None]:
    """The members in order, each of them read. Raises StoreDown and StoreDenied."""
    if sum(member.unread is not None for member in members) < 2:
        yield from (member.read() for member in members)
        return
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="objects")
    try:
        reading: deque[tuple[Future[Member], int]] = deque()
        held = 0
        for member in members:
            size = _size(member)
            while reading and (len(reading) >= OBJECTS or held + size > BYTES):
                future, freed = reading.popleft()
                held -= freed
                yield future.result()
            reading.append((pool.submit(member.read), size))
            held += size
        while reading:
            yield reading.popleft()[0].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def all_read(members: Sequence[Member]) -> bool:
    """Read what is not yet read; whether there was any. Raises BadInput where all of it is too much to be held."""
    unread = [member for member in members if member.unread is not None]
    size = 0
    for member in ahead(unread):
        size += len(member.data)
        check_size(size)
    return bool(unread)


def _size(member: Member) -> int:
    if member.unread is None:
        return 0
    told = member.source.size if isinstance(member.source, ObjectEvent) else None
    return BYTES // READERS if told is None else min(told, OBJECT_LIMIT)
