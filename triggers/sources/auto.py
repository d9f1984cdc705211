"""`source: auto`: what the server says about itself, and which source follows from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from runtime.config.settings import StoreSettings
from runtime.errors import BadInput, StoreDenied
from runtime.store import client as store_client
from runtime.store.errors import translated

# MinIO and its relatives name a target arn:minio:sqs:REGION:ID:KIND in the bucket's notification configuration.
_ARN = re.compile(rb"arn:(?:minio|rustfs|silo):sqs:[^:<]*:[^:<]*:(webhook|redis)\b")


def pick(server: str, targets: Collection[str], *, listens: bool) -> str:
    """The source for a bucket: `server` is the Server header, `targets` are the kinds of its notification targets.

    `listens` says whether the server may speak the listen protocol; nobody knows before it was tried.
    """
    if "seaweedfs" in server.lower():
        return "seaweedfs"
    if listens:
        return "minio_listen"
    for kind in ("webhook", "redis"):
        if kind in targets:
            return f"minio_{kind}"
    return "poll"


class Server:
    """Questions to one store. Raises StoreDown, StoreDenied, and ObjectMissing where there is no such bucket."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings

    def name(self, bucket: str) -> str:
        """What it calls itself, or an empty string."""
        return str(self._ask("HEAD", bucket, {}).headers.get("Server", ""))

    def targets(self, bucket: str) -> set[str]:
        """The kinds of targets in the bucket's notification configuration (webhook, redis), as far as it is shown."""
        try:
            told: bytes = self._ask("GET", bucket, {"notification": ""}).data
        except (StoreDenied, BadInput):  # a key without s3:GetBucketNotification; a server without notifications
            return set()
        return {kind.decode() for kind in _ARN.findall(told)}

    def _ask(self, method: str, bucket: str, query: Mapping[str, str]) -> Any:
        with translated(self._settings.endpoint, bucket):
            return store_client.client(self._settings)._execute(method, bucket, query_params=dict(query))
