"""The batches of one index by the model that made them: which folders there are, and what one of them lacks.

A batch that was embedded again has the name of the one it was made from: a look at the names tells what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.context import Store
from runtime.index import batches, layout

PART = "-part-"
"""A large batch is embedded again in parts, `{id}-part-{number}`; the last one has the batch's own name."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Batches that a space lacks, as (space, id), the oldest first; `total` counts those that it has, too.

    `parts`: names in the space, of parts whose batch is not whole yet.
    """

    total: int = 0
    batches: tuple[tuple[str, str], ...] = ()
    parts: frozenset[str] = frozenset()


def spaces(store: Store, index: str) -> Iterator[str]:
    """The index itself, then the index as each other model sees it of which there are batches."""
    yield index
    yield from _tagged(store, index, layout.models(index))


def shadows(store: Store, index: str) -> Iterator[str]:
    """The migrations that have left versions of their own."""
    yield from _tagged(store, index, layout.migrations(index))


def waiting(store: Store, index: str, target: str) -> Waiting:
    """What is committed in any other space of the index, and not in `target`. Time: a listing of all batches."""
    names = _committed(store, target)
    missing: dict[str, tuple[float, str]] = {}
    for space in spaces(store, index):
        listed = _committed(store, space) if space != target else {}
        for name, modified in listed.items():
            base = name.partition(PART)[0]
            # Of parts their batch has all there is to know, wherever it is whole.
            if names.keys().isdisjoint((name, base)) and (name == base or base not in listed):
                missing.setdefault(name, (modified, space))
    order = sorted(missing, key=lambda name: (missing[name][0], name))
    parts = frozenset(name for name in names if PART in name)
    return Waiting(len(names) - len(parts) + len(order), tuple((missing[name][1], name) for name in order), parts)


def _committed(store: Store, space: str) -> dict[str, float]:
    return {name: found.modified for name, found in batches.listing(store, space).items() if found.rows}


def _tagged(store: Store, index: str, prefix: str) -> Iterator[str]:
    """One page for each folder: the listing goes on after everything that belongs to it ('~' sorts after a tag)."""
    start = ""
    while item := next(iter(store.list(store.bucket, prefix, start_after=start)), None):
        tag = item.key[len(prefix) :].partition("/")[0]
        yield layout.of_tag(index, tag)
        start = f"{prefix}{tag}/~"
