"""From rows to the table of their terms: collected row by row, sorted at once, and laid out as attributes.py says."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import ne
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.index import terms

MAGIC = b"TNDATTR1"
_REMEMBERED = 65_536
Numbers = NDArray[np.unsignedinteger[Any]]
Entry = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """Sorted terms of some fields: their bytes together, the length of each, and (run, number of the term) pairs
    in the order of the terms."""

    data: bytes
    lengths: Numbers
    runs: Numbers
    numbers: Numbers


class Collector:
    """Takes rows in order. Neighbours with the same attributes (the chunks of a document) are one run."""

    def __init__(self) -> None:
        self._count = 0
        self._starts = array("I")
        self._keys: list[str] = []
        self._times = array("d")
        # Terms of all other fields, few different ones: the numbers of each run, one run after the other.
        self._known: dict[bytes, int] = {}
        self._held, self._numbers = array("I"), array("I")
        # The same texts come again and again: the numbers of their terms, by name and text.
        self._own: dict[Entry, tuple[int, ...]] = {}
        self._noted: dict[Entry, tuple[int, ...]] = {}
        self._buckets: dict[str, tuple[int, ...]] = {}
        self._tenants: dict[str, tuple[int, ...]] = {}

    def extend(self, rows: Iterable[tuple[str, str, dict[str, Any], str]]) -> None:
        """The next rows: bucket, key, meta and tenant of each."""
        last: tuple[str, str, dict[str, Any], str] | None = None
        count = self._count
        for row in rows:
            if row != last:
                self._starts.append(count)
                self._keys.append(row[1])
                # What is equal is not always alike: 1 and true are. Only rows of texts are told by comparing.
                last = row if self._begin(row[0], row[2], row[3]) else None
            count += 1
        self._count = count

    def _begin(self, bucket: str, meta: dict[str, Any], tenant: str) -> bool:
        """A new run; whether its metadata are texts only."""
        noted, plain, time = self._noted, True, math.nan
        found = self._buckets.get(bucket) or self._buckets.setdefault(bucket, self._new(terms.of_bucket(bucket)))
        found += self._tenants.get(tenant) or self._tenants.setdefault(tenant, self._new(terms.of_tenant(tenant)))
        for entry in meta.items():
            name, value = entry
            if name == "modified":
                time = terms.modified(value)
            elif name == "metadata":
                if isinstance(value, dict):
                    own = self._named(value)
                    found, plain = found + own[0], plain and own[1]
            elif isinstance(value, str):
                found += noted.get(entry) or self._remembered(noted, entry, terms.noted(name, value))
            else:
                plain, found = False, found + self._new(terms.noted(name, value))
        self._times.append(time)
        self._held.append(len(found))
        self._numbers.extend(found)
        return plain

    def _named(self, metadata: dict[str, Any]) -> tuple[tuple[int, ...], bool]:
        found: tuple[int, ...] = ()
        plain = True
        for entry in metadata.items():
            if isinstance(entry[1], str):
                found += self._own.get(entry) or self._remembered(self._own, entry, terms.of_meta(*entry))
            else:
                plain, found = False, found + self._new(terms.of_meta(*entry))
        return found, plain

    def _remembered(self, known: dict[Entry, tuple[int, ...]], entry: Entry, found: Iterator[bytes]) -> tuple[int, ...]:
        if len(known) == _REMEMBERED:
            known.clear()
        numbers = known[entry] = self._new(found)
        return numbers

    def _new(self, found: Iterator[bytes]) -> tuple[int, ...]:
        return tuple(self._known.setdefault(term, len(self._known)) for term in found)

    def packed(self) -> bytes:
        """What was collected, for `merge`."""
        arrays = [one.tobytes() for one in (self._starts, self._times, self._held, self._numbers)]
        data: bytes = msgpack.packb([self._count, self._keys, list(self._known), *arrays])
        return data

    def merge(self, data: bytes) -> None:
        """The next rows, as another one packed them."""
        count, keys, known, starts, times, held, numbers = msgpack.unpackb(data)
        self._starts.frombytes((np.frombuffer(starts, np.uint32) + np.uint32(self._count)).tobytes())
        self._keys += keys
        self._times.frombytes(times)
        self._held.frombytes(held)
        here = np.array([self._known.setdefault(term, len(self._known)) for term in known], np.uint32)
        self._numbers.frombytes(here[np.frombuffer(numbers, np.uint32)].tobytes())
        self._count += count

    def pieces(self) -> list[bytes | memoryview]:
        """The table, to be written piece by piece."""
        starts = np.frombuffer(self._starts, np.uint32)
        sizes = np.diff(starts, append=np.uint32(self._count))
        sections = [self._others(), self._by_key(), self._by_time()]
        places = np.zeros((sum(len(section.lengths) for section in sections) + 1, 2), np.uint64)
        np.cumsum(np.concatenate([section.lengths for section in sections]), out=places[1:, 0])
        held = [np.bincount(one.numbers, sizes[one.runs], len(one.lengths)) for one in sections]
        np.cumsum(np.concatenate(held).astype(np.uint64), out=places[1:, 1])
        rows = [_spread(starts[section.runs], sizes[section.runs]).data for section in sections]
        head = np.array([self._count, len(places) - 1, places[-1, 1], places[-1, 0]], np.uint64)
        return [MAGIC, head.data, places.data, *rows, *(section.data for section in sections)]

    def _others(self) -> Section:
        names = sorted(self._known)
        # Short numbers are sorted without comparing.
        rank: Numbers = np.empty(len(names), np.uint16 if len(names) < 2**16 else np.uint32)
        rank[[self._known[name] for name in names]] = np.arange(len(names))
        numbers = rank[np.frombuffer(self._numbers, np.uint32)]
        order = np.argsort(numbers, kind="stable")
        held = np.frombuffer(self._held, np.uint32)
        runs = np.repeat(np.arange(len(held), dtype=np.uint32), held)[order]
        return Section(b"".join(names), np.fromiter(map(len, names), np.uint64, len(names)), runs, numbers[order])

    def _by_key(self) -> Section:
        # Texts sort as their UTF-8 does.
        order = np.array(sorted(range(len(self._keys)), key=self._keys.__getitem__), np.uint32)
        keys = [self._keys[run] for run in order.tolist()]
        new = np.ones(len(keys), bool)
        new[1:] = np.fromiter(map(ne, islice(keys, 1, None), keys), bool, max(0, len(keys) - 1))
        if not new.all():
            keys = [keys[place] for place in np.flatnonzero(new)]
        letter = terms.KEY.decode()
        named = "".join([letter, letter.join(keys)]) if keys else ""
        sizes = map(len, keys) if named.isascii() else (len(terms.encoded(key)) for key in keys)
        lengths = np.fromiter(sizes, np.uint64, len(keys)) + np.uint64(1)
        return Section(terms.encoded(named), lengths, order, np.cumsum(new, dtype=np.uint32) - np.uint32(1))

    def _by_time(self) -> Section:
        times = np.array(self._times, np.float64) + 0.0
        runs = np.flatnonzero(~np.isnan(times))
        values, numbers = np.unique(times[runs], return_inverse=True)
        bits = values.view(np.uint64)
        bits = np.where(bits >> np.uint64(63), ~bits, bits ^ np.uint64(1 << 63))
        data = np.empty((len(values), 9), np.uint8)
        data[:, 0] = terms.TIME[0]
        data[:, 1:] = bits.astype(">u8").view(np.uint8).reshape(-1, 8)
        order = np.argsort(numbers, kind="stable")
        lengths = np.full(len(values), 9, np.uint64)
        return Section(data.tobytes(), lengths, runs[order].astype(np.uint32), numbers[order].astype(np.uint32))


def _spread(starts: Numbers, sizes: Numbers) -> NDArray[np.uint32]:
    """The rows of runs, one run after the other."""
    if (sizes == 1).all():
        return starts.astype(np.uint32)
    before = np.cumsum(sizes, dtype=np.int64) - sizes
    rows = np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))
    return rows.astype(np.uint32)
