"""Objects are read ahead of the one whose turn it is, so that nobody waits for the store while there is work."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from runtime.context import ObjectEvent

from ._members import OBJECT_LIMIT, READERS, Member, check_size

OBJECTS = 128
"""Objects that are read ahead, or being read."""

BYTES = 64 * 2**20
"""Of all of them together, as the events tell their sizes."""

TOGETHER, SMALL = 32, 64 * 2**10
"""So many objects of at most so many bytes are read in one trip, which takes a third of the processor time of each."""

FEW = 16
"""The same where there are no more than the readers have read by then: several are at it at once."""


def ahead(members: Sequence[Member]) -> Generator[Member, None, None]:
    """The members in order, each of them read. Raises StoreDown and StoreDenied."""
    if sum(member.unread is not None for member in members) < 2:
        yield from (member.read() for member in members)
        return
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="objects")
    try:
        reading: deque[tuple[Future[list[Member]], int, int]] = deque()
        held = count = 0
        for group in _groups(members):
            size = sum(map(_size, group))
            while reading and (count + len(group) > OBJECTS or held + size > BYTES):
                future, done, freed = reading.popleft()
                count, held = count - done, held - freed
                yield from future.result()
            reading.append((pool.submit(_read, group), len(group), size))
            count, held = count + len(group), held + size
        while reading:
            yield from reading.popleft()[0].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _groups(members: Sequence[Member]) -> Iterator[list[Member]]:
    """The members in order: small objects of a bucket together, each other one alone."""
    most = min(TOGETHER, max(1, OBJECTS // READERS), max(FEW, len(members) // READERS))
    group = list[Member]()
    for member in members:
        if group and (len(group) == most or not _small(member) or member.bucket != group[0].bucket):
            yield group
            group = []
        group.append(member)
        if not _small(member):
            yield group
            group = []
    if group:
        yield group


def _read(group: list[Member]) -> list[Member]:
    if len(group) > 1 and (store := group[0].unread) is not None:
        found = store.get_many(group[0].bucket, [member.key for member in group], limit=SMALL)
        return [member.read(one) for member, one in zip(group, found, strict=True)]
    return [member.read() for member in group]


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


def _small(member: Member) -> bool:
    return member.unread is not None and _size(member) <= SMALL
