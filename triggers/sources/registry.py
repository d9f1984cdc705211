"""Raw notifications in, hints out, whatever the source sends."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from triggers.sources import gateway, minio_listen, minio_redis, minio_webhook, seaweedfs
from triggers.sources.base import Hint, Parser

log = logging.getLogger("tundish.triggers")

PARSERS: dict[str, Parser] = {
    "seaweedfs": seaweedfs.parse,
    "minio": minio_webhook.parse,
    "minio_listen": minio_listen.parse,
    "minio_redis": minio_redis.parse,
    "gateway": gateway.parse,
}


Letters = Callable[[str, bytes, str], None]
"""Keeps what nobody can use: source, body, reason."""


class Sources:
    """Reads the notifications of every source. Junk is counted in `unusable` by source, given to `letters` and said
    once, never raised."""

    def __init__(self, letters: Letters | None = None) -> None:
        self.unusable: Counter[str] = Counter()
        self._letters = letters

    def parse(self, source: str, body: bytes) -> list[Hint]:
        parser = PARSERS.get(source)
        if parser is None:
            return self._junk(source, body, f"no such source; known are {', '.join(PARSERS)}")
        try:
            hints = parser(body)
            for hint in hints:
                hint.bucket.encode(), hint.key.encode()  # a lone surrogate names no object, and no key in Redis
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._junk(source, body, f"{type(error).__name__}: {error}")
        return hints

    def _junk(self, source: str, body: bytes, reason: str) -> list[Hint]:
        self.unusable[source] += 1
        if self.unusable[source] == 1:
            log.warning(
                "a notification of the source %r cannot be used (%s); it begins with %r. Nothing is lost: the listing "
                "finds what it was about. It is kept, see tundish buckets events; further ones are not said.",
                source,
                reason,
                body[:120],
            )
        if self._letters is not None:
            self._letters(source, body, reason)
        return []
