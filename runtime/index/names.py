"""The names of the indexes that a store holds."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.context import Store
from runtime.index import layout


def stored(store: Store) -> list[str]:
    """Those with at least one batch or version, sorted."""
    return sorted({name for prefix in (layout.EMBEDDINGS, layout.INDEXES) for name in _under(store, prefix)})


def _under(store: Store, prefix: str) -> Iterator[str]:
    """One page per name: the listing goes on after everything that belongs to it ('~' sorts after our names)."""
    last, start = "", ""
    while item := next(iter(store.list(store.bucket, prefix, start_after=start)), None):
        name = item.key[len(prefix) :].partition("/")[0]
        if name == last:
            break
        yield name
        last, start = name, f"{prefix}{name}/~"
