"""What every source of bucket notifications has in common: a body goes in, hints come out.

A hint only says "look there". It is never believed: the store decides what happened. So a source may deliver
too much, too late, twice or out of order; what it fails to deliver is found by the listing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to `key` in `bucket`.

    `folder` stands for anything below `key` (a folder was removed or renamed as a whole): only a listing can tell.
    """

    bucket: str
    key: str
    kind: Literal["object", "folder"] = "object"


Parser = Callable[[bytes], list[Hint]]
"""One source's reader. Raises ValueError, KeyError or TypeError on what it cannot use."""
