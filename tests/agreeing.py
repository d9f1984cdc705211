"""What the ledger of a bucket trigger says against what the store says, with a worker played by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.buckets.entry import Entry
from runtime.store.port import MinioStore
from tests.triggering import House, until

Build = Callable[..., House]
"""Makes a House from options of its trigger."""


def entries(house: House) -> dict[str, Entry]:
    stored: Any = house.client.hgetall(house.watch.ledger)
    return {key.decode(): Entry.decode(raw) for key, raw in stored.items()}


def agree(house: House) -> dict[str, str]:
    """Play the worker until the ledger says of every key what the store says of it; returns the etags by key."""

    def step() -> bool:
        house.end_all()
        stored = {info.key: info.etag for info in MinioStore(house.store_settings).list(house.bucket)}
        wanted = {key: etag for key, etag in stored.items() if not key.endswith("/")}
        known = entries(house)
        there = {key: entry.etag for key, entry in known.items() if entry.event == "created"}
        settled = all(entry.state in ("done", "removed") and not entry.again for entry in known.values())
        found.update(stored)
        return settled and there == wanted

    found: dict[str, str] = {}
    until(step)
    found.clear()
    assert step()
    return found


def quiet(house: House) -> None:
    """Wait until everything that happened before now has been seen."""
    name = f"control-{len(entries(house))}"
    house.put(name)
    house.finish(name)
    if house.trigger.rescan and house.trigger.rescan < 1:
        house.settle_listing()
    agree(house)


def about(house: House, key: str) -> list[str]:
    """The events of one key, in the order of their seq."""
    return [event for event, name in house.changes() if name == key]


def etags(house: House, key: str) -> list[str]:
    objects = [one for call in house.calls() for one in call.arguments["objects"] if one["key"] == key]
    return [one["etag"] for one in sorted(objects, key=lambda one: one["seq"])]
