"""A migration to Qdrant that is under way: which collection it fills, and goes on with after whatever happened."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

from runtime.context import Store
from runtime.errors import ObjectMissing
from runtime.index import layout


@dataclass(frozen=True, slots=True)
class Move:
    """The collection, the epoch in which it is filled, and the model of the vectors."""

    collection: str
    epoch: int
    model: str


def read(store: Store, index: str) -> Move | None:
    with suppress(ObjectMissing, ValueError, KeyError, TypeError):
        told = json.loads(store.get(store.bucket, _key(index)).data)
        return Move(str(told["collection"]), int(told["epoch"]), str(told["model"]))
    return None


def write(store: Store, index: str, move: Move) -> None:
    store.put(store.bucket, _key(index), json.dumps(asdict(move)).encode(), content_type="application/json")


def forget(store: Store, index: str) -> None:
    store.delete(store.bucket, _key(index))


def collections(store: Store, index: str, since: float) -> set[str]:
    """What is being filled: every call of a migration writes it down anew, so what was not since then is given up."""
    move = read(store, index)
    with suppress(ObjectMissing):
        if move and store.head(store.bucket, _key(index)).modified >= since:
            return {move.collection}
    return set()


def _key(index: str) -> str:
    return layout.root(index) + "moving.json"
