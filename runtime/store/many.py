"""Several objects at once, where they cannot be read in one trip on one connection: each on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.context import StoredObject
from runtime.errors import BadInput, ObjectMissing

_AT_ONCE = 8


def completed(
    get: Callable[[str], StoredObject], keys: Sequence[str], found: Sequence[StoredObject | None]
) -> list[StoredObject | None]:
    """`found`, with what is None in it asked for by `get`; None stays what is not there or too large for it.

    Raises what else `get` raises, for the first one in the order of `keys`.
    """
    missing = [key for key, one in zip(keys, found, strict=True) if one is None]
    if not missing:
        return list(found)

    def ask(key: str) -> StoredObject | None:
        try:
            return get(key)
        except (ObjectMissing, BadInput):
            return None

    if len(missing) == 1:
        asked = iter([ask(missing[0])])
    else:
        with ThreadPoolExecutor(min(_AT_ONCE, len(missing)), thread_name_prefix="get-many") as pool:
            asked = iter(list(pool.map(ask, missing)))
    return [next(asked) if one is None else one for one in found]
