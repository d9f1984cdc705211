"""Functions for the tests of bucket triggers; most of these play the worker of `note` themselves."""

from __future__ import annotations

from runtime.context import Context, ObjectEvent


def note(objects: list[dict[str, object]], index: str = "default") -> None:
    """Takes objects."""


def picky(objects: list[ObjectEvent], *, context: Context) -> int:
    """Fails as a whole for one object that it does not like."""
    for one in objects:
        if one.event == "created" and context.store.get(one.bucket, one.key).data == b"bad":
            raise ValueError(f"{one.key} is bad")
    return len(objects)


def echo(objects: list[ObjectEvent], *, context: Context) -> None:
    """Writes under its own trigger: every object leads to another one."""
    for one in objects:
        if one.event == "created":
            data = context.store.get(one.bucket, one.key).data
            context.store.put(one.bucket, f"{one.key}.again", data + b"!")


def restless(objects: list[ObjectEvent], *, context: Context) -> None:
    """Writes over what it was called for."""
    for one in objects:
        if one.event == "created":
            context.store.put(one.bucket, one.key, context.store.get(one.bucket, one.key).data + b"!")


def never(objects: list[ObjectEvent]) -> dict[str, object]:
    """Leaves everything for another time, always."""
    return {"deferred": [{"bucket": one.bucket, "key": one.key} for one in objects]}
