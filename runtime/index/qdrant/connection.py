"""Connections to Qdrant: made at the first use, asked with patience, and what goes wrong said in our own words.

Nothing of the key gets into an error: only which index, where, the status, and why a request was refused, bounded.
"""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from runtime.config.engine import EngineSpec
from runtime.errors import EngineDown, IndexUnavailable, ObjectMissing

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between tries; doubled from one to the next, each shortened by chance."""

OVERLOADED = frozenset({408, 425, 429, 500, 502, 503, 504})
NOT_FOUND, REFUSED = 404, frozenset({401, 403})
T = TypeVar("T")
log = logging.getLogger("tundish.index")


class Connection:
    """To the Qdrant of one index. Safe from many threads; a process that forks makes a new one."""

    def __init__(self, index: str, spec: EngineSpec) -> None:
        self.index, self.spec = index, spec

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return urlsplit(self.spec.url).netloc or "(no url)"

    @cached_property
    def client(self) -> QdrantClient:
        """Raises EngineDown where none is configured."""
        from qdrant_client import QdrantClient

        return QdrantClient(**self._options())

    @cached_property
    def asynchronous(self) -> AsyncQdrantClient:
        """The same, for an event loop. Raises EngineDown where none is configured."""
        from qdrant_client import AsyncQdrantClient

        return AsyncQdrantClient(**self._options())

    def ask(self, call: Callable[[], T], *, tries: int = TRIES) -> T:
        """What a call answers; repeated while the server is away or has too much to do.

        Everything that is written may be written twice. Raises EngineDown, ObjectMissing (no such collection) and
        IndexUnavailable (refused).
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return call()
            except self.failures as error:
                tries -= 1
                told, wait = self.told(error)
                if tries <= 0 or not isinstance(told, EngineDown):
                    raise told from None
                log.info("index %s: %s Once more.", self.index, told)
                time.sleep(wait if wait is not None else pause * (0.5 + random.random() / 2))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE)

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What the library raises where a request did not succeed."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        return ApiException, QdrantException, OSError, TimeoutError

    def told(self, error: Exception) -> tuple[Exception, float | None]:
        """An error of the library in our words, and for how long the server asks to be left alone."""
        from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        where = f"Qdrant at {self.place} (index {self.index})"
        if isinstance(error, ResourceExhaustedResponse):
            return EngineDown(f"{where} has too much to do."), min(float(error.retry_after_s), 4 * LONGEST_PAUSE)
        if isinstance(error, ResponseHandlingException):
            reason = type(error.source).__name__
            return EngineDown(f"{where} cannot be reached: {reason}. Check `url`, and that it is running."), None
        if isinstance(error, UnexpectedResponse):
            status = error.status_code or 0
            if status in OVERLOADED:
                return EngineDown(f"{where} answers {status}: it is not ready, or has too much to do."), None
            if status in REFUSED:
                return IndexUnavailable(f"{where} refused the key ({status}). Check `api_key` in functions.yaml."), None
            if status == NOT_FOUND:
                return ObjectMissing(f"{where} has no such collection."), None
            return IndexUnavailable(f"{where} refused a request ({status}): {_reason(error.content)}"), None
        return EngineDown(f"{where} cannot be reached: {type(error).__name__}."), None

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
            del self.__dict__["client"]

    async def aclose(self) -> None:
        if "asynchronous" in self.__dict__:
            client = self.asynchronous
            del self.__dict__["asynchronous"]
            await client.close()

    def _options(self) -> dict[str, Any]:
        if not self.spec.url:
            raise EngineDown(
                f"Index {self.index} is Qdrant's, and functions.yaml does not say where that is: "
                f"indexes: {{{self.index}: {{url: http://HOST:6333}}}}."
            )
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
        parts = urlsplit(self.spec.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # Reading the authorities' certificates takes longer than a search, and plain HTTP has no use for them.
        tls = {} if parts.scheme == "https" else {"verify": False}
        return tls | {
            "url": self.spec.url,
            "port": port,  # of a URL without one the library takes 6333
            "api_key": self.spec.api_key or None,
            "timeout": self.spec.timeout,
            "check_compatibility": False,  # it asks in a thread of its own, and warns on the standard error
        }


def _reason(content: bytes) -> str:
    """What the server says of a request that it refuses: a sentence about the request, bounded."""
    import json

    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(content)["status"]["error"])[:300]
    return "no reason is given."
