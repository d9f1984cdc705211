"""Raw notifications in, hints out, whatever the source sends."""

from __future__ import annotations

import logging
from collections import Counter

from triggers.sources import gateway, minio_webhook, seaweedfs
from triggers.sources.base import Hint, Parser

log = logging.getLogger("tundish.triggers")

PARSERS: dict[str, Parser] = {
    "seaweedfs": seaweedfs.parse,
    "minio": minio_webhook.parse,
    "gateway": gateway.parse,
}


class Sources:
    """Reads the notifications of every source. Junk is counted in `unusable` by source and said once, never raised."""

    def __init__(self) -> None:
        self.unusable: Counter[str] = Counter()

    def parse(self, source: str, body: bytes) -> list[Hint]:
        parser = PARSERS.get(source)
        if parser is None:
            return self._junk(source, f"no such source; known are {', '.join(PARSERS)}")
        try:
            hints = parser(body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._junk(source, f"{type(error).__name__}: {error}; it begins with {body[:120]!r}")
        if not all(isinstance(hint.bucket, str) and isinstance(hint.key, str) for hint in hints):
            return self._junk(source, f"bucket and key are no strings; it begins with {body[:120]!r}")
        return hints

    def _junk(self, source: str, reason: str) -> list[Hint]:
        self.unusable[source] += 1
        if self.unusable[source] == 1:
            log.warning(
                "a notification of the source %r cannot be used (%s). Nothing is lost: the listing finds what "
                "it was about. Further ones are only counted.",
                source,
                reason,
            )
        return []
