"""The store of `tundish up` wakes the triggers by its webhook, and is believed only then."""

from __future__ import annotations

import io

from minio import Minio

from runtime.broker.connection import connect
from runtime.buckets import source_state
from runtime.buckets.source_state import SourceState
from tests.system import System
from tests.workers import until


def test_the_embedded_store_is_recognised_and_wakes(system: System) -> None:
    """A file that is written straight to the store, by another S3 client."""
    client = connect(system.connections["CELERY_BROKER_URL"])
    store = Minio(
        system.connections["MINIO_ENDPOINT"],
        system.connections["MINIO_ACCESS_KEY"],
        system.connections["MINIO_SECRET_KEY"],
        secure=False,
    )

    def state() -> SourceState | None:
        return source_state.read(client, ["documents"]).get("documents")

    until(lambda: (found := state()) and found.kind == "seaweedfs")
    store.put_object("documents", "woken.bin", io.BytesIO(b"x"), 1)  # no function takes it
    until(lambda: (found := state()) and found.woken and found.heard > 0)
    store.remove_object("documents", "woken.bin")
    client.close()
