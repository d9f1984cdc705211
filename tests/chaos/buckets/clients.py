"""Clients that change objects while everything around them is killed. They ask again until they are answered."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import urllib3
from minio import Minio
from minio.error import MinioException

from runtime.config.settings import StoreSettings
from tests.chaos.buckets.plan import LANES, Deed

BUCKET = "documents"
PATIENCE_SECONDS = 180.0

TROUBLE = (urllib3.exceptions.HTTPError, MinioException, OSError)


@dataclass(frozen=True, slots=True)
class Done:
    """A deed and its answer: asked for from `began` on, answered `at` (epoch seconds); `refused` is what was told
    last where no answer came."""

    deed: Deed
    began: float
    at: float
    tries: int
    refused: str = ""


class Clients:
    """One thread a lane; together they take at least `lasting` seconds."""

    def __init__(self, url: str, store: StoreSettings, todo: Sequence[Deed], *, lasting: float) -> None:
        self._url, self._s3 = url, connect(store)
        self._pause = lasting * LANES / len(todo)
        self._http = urllib3.PoolManager(maxsize=LANES, retries=False, timeout=urllib3.Timeout(5.0, read=60.0))
        lanes = [[deed for deed in todo if deed.lane == lane] for lane in range(LANES)]
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in lanes]
        self._lock = threading.Lock()
        self.done: list[Done] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, lane: Sequence[Deed]) -> None:
        for deed in lane:
            time.sleep(self._pause)
            done = self._fulfil(deed)
            with self._lock:
                self.done.append(done)

    def _fulfil(self, deed: Deed) -> Done:
        began, tries = time.time(), 0
        while True:
            tries += 1
            refused = self._ask(deed)
            if not refused or time.time() - began > PATIENCE_SECONDS:
                return Done(deed, began, time.time(), tries, refused)
            time.sleep(0.2)

    def _ask(self, deed: Deed) -> str:
        """Try once; why it was not done, empty when it was."""
        try:
            if deed.way == "gateway":
                return self._at_gateway(deed)
            put(self._s3, deed.key, deed.content)
        except TROUBLE as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _at_gateway(self, deed: Deed) -> str:
        url = f"{self._url}/buckets/{BUCKET}/{quote(deed.key)}"
        method = "DELETE" if deed.content is None else "PUT"
        answer = self._http.request(method, url, body=deed.content)
        return "" if answer.status in (200, 201, 204) else f"{answer.status} {answer.data[:200]!r}"


def connect(store: StoreSettings) -> Minio:
    """An S3 client of other people, that does not try again by itself."""
    http = urllib3.PoolManager(maxsize=LANES, retries=False, timeout=urllib3.Timeout(5.0, read=30.0))
    return Minio(
        store.endpoint, store.access_key, store.secret_key, secure=False, region=store.region, http_client=http
    )


def put(s3: Minio, key: str, content: bytes | None) -> None:
    """Write an object straight to the store, or remove it. Raises TROUBLE."""
    if content is None:
        s3.remove_object(BUCKET, key)
    else:
        s3.put_object(BUCKET, key, io.BytesIO(content), len(content))
