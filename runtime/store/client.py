"""The minio client with our timeouts and retries."""

from __future__ import annotations

from typing import Any

from runtime.config.settings import StoreSettings
from runtime.errors import StoreDown
from runtime.store.library import load

CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0


def client(settings: StoreSettings) -> Any:
    """A `minio.Minio`; no request is sent yet. Raises StoreDown for an endpoint that cannot be one."""
    load()
    import urllib3
    from minio import Minio

    # Connecting is tried for about a second; a request that was sent and not answered only once more.
    retries = urllib3.Retry(
        total=4,
        connect=3,
        read=1,
        backoff_factor=0.1,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), maxsize=32, retries=retries
    )
    try:
        return Minio(
            settings.endpoint,
            settings.access_key,
            settings.secret_key,
            secure=settings.secure,
            region=settings.region,
            http_client=pool,
        )
    except ValueError as error:
        raise StoreDown(f"MINIO_ENDPOINT {settings.endpoint!r} is not host:port ({error}).") from error
