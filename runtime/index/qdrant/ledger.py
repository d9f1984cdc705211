"""Which collections were made for an index: a small object in the store for each, written before there is one.

Nothing else says that a collection is ours. So what another program, or another system, keeps in the same Qdrant is
never touched, whatever it is called.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

from runtime.context import Store
from runtime.errors import ObjectMissing
from runtime.index import layout

NOTE_SECONDS = 600.0
"""So often it is said that a collection is still being filled: cleanup takes one for left behind after an hour."""


@dataclass(frozen=True, slots=True)
class Made:
    """A collection. `epoch` is the first that it has; `purpose` is what it was made for. `modified`: when it was
    written down, by the store's clock."""

    collection: str
    epoch: int
    purpose: str
    modified: float = 0.0


def alias(index: str) -> str:
    """The name under which the collection of an index's current version is found in Qdrant."""
    return f"tundish_{index}"


def begin(store: Store, index: str, epoch: int, purpose: str) -> Made:
    """Write down a collection that is about to be made. Its name is one that nobody else has."""
    made = Made(f"{alias(index)}_{epoch}_{uuid.uuid4().hex[:8]}", epoch, purpose)
    note(store, index, made)
    return made


def note(store: Store, index: str, made: Made) -> None:
    """Write it down; once more, that it is still being filled."""
    store.put(store.bucket, _key(index, made.collection), json.dumps(asdict(made)).encode())


def listed(store: Store, index: str) -> Iterator[Made]:
    """Every collection that was made and not forgotten."""
    for item in list(store.list(store.bucket, _prefix(index))):
        name = item.key[len(_prefix(index)) :].removesuffix(".json")
        with suppress(ObjectMissing):  # forgotten since
            told = json.loads(store.get(store.bucket, item.key).data)
            yield Made(name, int(told["epoch"]), str(told["purpose"]), item.modified)


def forget(store: Store, index: str, collection: str) -> None:
    store.delete(store.bucket, _key(index, collection))


def _prefix(index: str) -> str:
    return layout.root(index) + "collections/"


def _key(index: str, collection: str) -> str:
    return f"{_prefix(index)}{collection}.json"
