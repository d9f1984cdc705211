"""MinIO's listen stream: an open GET on which the server writes a line for every change of one bucket.

No wiring and no delay, but no replay either: what happens while nobody listens is told to nobody. Also spoken by
Silo and RustFS. The connection itself is triggers/sources/listen_stream.py.
"""

from __future__ import annotations

from runtime.config.settings import StoreSettings
from triggers.sources import listen_stream, s3_records
from triggers.sources.base import Desk, Hint
from triggers.sources.reading import document, take


def parse(body: bytes) -> list[Hint]:
    """One line, `{"Records": […]}`. MinIO does not escape the keys in it, RustFS does."""
    return s3_records.hints(take(document(body), "Records"), escaped=None)


class MinioListen:
    """Listens to one bucket; returns when it is over, raises Broken when the stream ends or falls silent."""

    def __init__(self, settings: StoreSettings, bucket: str) -> None:
        self._settings, self._bucket = settings, bucket

    def run(self, desk: Desk) -> None:
        with listen_stream.connect(self._settings, self._bucket) as stream:
            # Only a byte, not the headers alone, shows that the server flushes what it writes.
            lines = stream.read()
            desk.begun()
            while True:
                if lines:
                    desk.put(lines)
                if desk.over():
                    return
                lines = stream.read()
