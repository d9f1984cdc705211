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

_SHAPE = "it has another shape than what this source sends"

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
            return self._junk(source, body, f"there is no such source; known are {', '.join(PARSERS)}")
        try:
            hints = parser(body)
            for hint in hints:
                hint.bucket.encode(), hint.key.encode()
        except UnicodeEncodeError as error:
            # A lone surrogate names no object, and no key in Redis.
            return self._junk(source, body, f"it names {error.object[:200]!r}, which is not valid Unicode")
        except ValueError as error:
            return self._junk(source, body, str(error))
        except (LookupError, TypeError, AttributeError, RecursionError):  # a message must not stop the triggers
            return self._junk(source, body, _SHAPE)
        return hints

    def _junk(self, source: str, body: bytes, reason: str) -> list[Hint]:
        self.unusable[source] += 1
        reason = reason.encode(errors="backslashreplace").decode()  # it may quote what came
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
