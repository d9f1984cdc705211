"""What lies in a broker's database, by families of keys: how many keys, and how many members in them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import redis

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VARIABLE = re.compile(rf"{_ID}(?::\d+)?|[0-9a-f]{{64}}|\d{{4}}-\d\d-\d\dT[\d:.]+Z")
_COUNTS = {b"hash": "hlen", b"zset": "zcard", b"set": "scard", b"list": "llen", b"stream": "xlen"}


def family(name: str) -> str:
    """`tundish:inv:3f6c…` is of the family `tundish:inv:*`: what ids, digests and instants tell apart."""
    return _VARIABLE.sub("*", name).replace("\x06\x16", ".")


def families(client: redis.Redis) -> dict[str, tuple[int, int]]:
    """Keys and members (fields, entries; 1 for a string) by family."""
    names = list(client.scan_iter("*", count=1000))
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        kinds = pipe.execute()
        for name, kind in zip(names, kinds, strict=True):
            getattr(pipe, _COUNTS.get(kind, "exists"))(name)
        sizes = pipe.execute()
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, size in zip(names, sizes, strict=True):
        entry = found[family(name.decode(errors="replace"))]
        entry[0] += 1
        entry[1] += size
    return {name: (keys, members) for name, (keys, members) in sorted(found.items())}


def used_memory(client: redis.Redis) -> int:
    """Bytes, as the server counts them."""
    told: Any = client.info("memory")
    return int(told["used_memory"])
