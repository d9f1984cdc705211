"""Listing a bucket page by page, as fast as the server gives pages.

A server needs several times as long for a page as we do to read it. So the next page is asked for as soon as its
token is seen in the text of this one, and comes while this one is parsed and worked on. minio's own iterator asks
for one after the other, and spends four times as long on a page as the server does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from html import unescape

from runtime.context import ObjectInfo
from runtime.errors import StoreDown
from runtime.store.names import KEY_BYTES
from runtime.store.page import parse

PAGE = 1000
"""Keys a page: the most that S3 gives."""
FRESH_SECONDS = 2.0
"""A page that came ahead and had to wait longer than this is asked for again: a listing should tell what is."""

_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")


class Pages:
    """The pages of one listing; `fetch` makes one ListObjectsV2 request (parameters → XML), in a thread as well.

    At most two pages are in memory.
    """

    def __init__(self, fetch: Callable[[Mapping[str, str]], bytes], bucket: str, parameters: Mapping[str, str]) -> None:
        self._fetch, self._bucket, self._parameters = fetch, bucket, parameters
        self._thread: ThreadPoolExecutor | None = None
        self._guess = ""
        self._ahead: Future[tuple[bytes, float]] | None = None

    def __iter__(self) -> Iterator[ObjectInfo]:
        """Every object, in the order of the server. Raises what `fetch` raises, and StoreDown for nonsense."""
        token = ""
        try:
            while True:
                page = self._take(token)
                self._look_ahead(page)
                found, following = parse(self._bucket, page)
                del page
                yield from found
                if not following:
                    yield from self._below(found)
                    return
                if following == token:
                    raise StoreDown(f"The store lists bucket {self._bucket!r} in circles: it gave the same page twice.")
                token = following
        finally:
            if self._thread is not None:
                self._thread.shutdown(wait=False, cancel_futures=True)

    def _below(self, last: Sequence[ObjectInfo]) -> Iterator[ObjectInfo]:
        """What is below the name of the last object, if the last page is full.

        SeaweedFS lists `a/b` after `a`. Where a page is full with `a` and nothing but these follow, it says that there
        is no more. On other servers nothing can be there, and one request is lost.
        """
        if len(last) < int(self._parameters.get("max-keys", PAGE)):
            return
        prefix = last[-1].key.rstrip("/") + "/"
        if len(prefix.encode()) >= KEY_BYTES:
            return
        given = {info.key for info in last}  # of a versioned bucket it lists `a/b` before `a`
        below = Pages(self._fetch, self._bucket, {**self._parameters, "prefix": prefix, "start-after": prefix})
        yield from (info for info in below if info.key not in given)

    def _look_ahead(self, page: bytes) -> None:
        """Ask for the page that seems to follow. Only a guess: what counts is what parsing this one says."""
        seen = _TOKEN.search(page)
        self._guess, self._ahead = unescape(seen[1].decode()) if seen else "", None
        if seen:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="listing")
            self._ahead = self._thread.submit(self._ask, self._guess)

    def _take(self, token: str) -> bytes:
        if self._ahead is not None and self._guess == token:
            page, came = self._ahead.result()
            if time.monotonic() - came < FRESH_SECONDS:
                return page
        return self._ask(token)[0]

    def _ask(self, token: str) -> tuple[bytes, float]:
        page = self._fetch({**self._parameters, **({"continuation-token": token} if token else {})})
        return page, time.monotonic()
