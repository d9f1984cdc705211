"""What is wrong with arguments, one error a bad field: of a union, what is wrong with the branch that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def errors_of(found: Any) -> Iterator[Any]:
    """An error of jsonschema_rs, or those of the one branch whose type the value has: `{...} | null` gets an object."""
    if found.kind.name != "anyOf":
        yield found
        return
    meant = [branch for branch in found.kind.context if not _is_another_type(branch, list(found.instance_path))]
    if len(meant) != 1:
        yield found
        return
    for error in meant[0]:
        yield from errors_of(error)


def _is_another_type(branch: Any, place: list[str | int]) -> bool:
    return any(error.kind.name in ("type", "const", "enum") and list(error.instance_path) == place for error in branch)
