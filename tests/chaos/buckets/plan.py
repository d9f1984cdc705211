"""What is done to the bucket: a list of deeds, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LANES = 8
"""Clients that work side by side. A key belongs to one of them, so it is known which change of it was the last."""

_SHELVES = ("", "plain/", "two words/", "größe+100%/", "a/b/c/")
_WORDS = ("heron", "lantern", "quarry", "meadow", "copper", "violin", "harbour", "saddle", "pepper", "granite")


@dataclass(frozen=True, slots=True)
class Deed:
    """One change of one object: `content` is written, or the object removed where it is None."""

    number: int
    key: str
    content: bytes | None
    way: Literal["store", "gateway"]
    lane: int


def deeds(count: int, seed: int) -> Iterator[Deed]:
    """Uploads, overwrites (with something new, the same again, or an older content) and removals, four to a key;
    at the end what is unreadable is written anew, so that there may be a text in the index for every object."""
    dice = random.Random(seed)
    pool = max(LANES, count // 4)
    written: dict[int, list[bytes]] = {}
    there: dict[int, bytes] = {}
    for number in range(count):
        which = dice.randrange(pool)
        content = _content(dice, which, number, written.get(which, []), there.get(which))
        if content is None:
            there.pop(which, None)
        else:
            there[which] = content
            written.setdefault(which, []).append(content)
        yield _deed(dice, which, number, content)
    for number, which in enumerate([which for which, content in there.items() if not content], start=count):
        yield _deed(dice, which, number, _text(dice, which, number))


def _deed(dice: random.Random, which: int, number: int, content: bytes | None) -> Deed:
    way: Literal["store", "gateway"] = "store" if dice.random() < 0.5 else "gateway"
    return Deed(number, key_of(which), content, way, which % LANES)


def key_of(which: int) -> str:
    return f"{_SHELVES[which % len(_SHELVES)]}note {which}.{'md' if which % 3 else 'txt'}"


def _content(dice: random.Random, which: int, number: int, written: list[bytes], there: bytes | None) -> bytes | None:
    """What is under the key next, and None for nothing."""
    kinds = {"new": 55, "removed": 25 if there is not None else 5, "older": 12, "same": 5, "empty": 3}
    (kind,) = dice.choices(list(kinds), list(kinds.values()))
    if kind == "removed":
        return None
    if kind == "same" and there is not None:
        return there
    if kind == "older" and written:
        return dice.choice(written)
    # What is empty cannot be indexed: the text that was there leaves the index.
    return b"" if kind == "empty" else _text(dice, which, number)


def _text(dice: random.Random, which: int, number: int) -> bytes:
    """Mostly one chunk; one in five has several."""
    words = dice.choices(_WORDS, k=400 if dice.random() < 0.2 else dice.randint(5, 40))
    return f"Change {number} of note {which}: {' '.join(words)}.".encode()
