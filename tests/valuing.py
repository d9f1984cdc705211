"""A gateway that streams for real, with workers, over tests/samples/values."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import urllib3

from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore
from tests.streaming import Served, served
from tests.workers import SAMPLES, deployment, worker

FILE = SAMPLES / "values" / "functions.yaml"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


def connections(store: StoreSettings) -> dict[str, str]:
    return {
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
    }


@contextlib.contextmanager
def house(broker_url: str, store: StoreSettings, *queues: str) -> Iterator[Served]:
    """A gateway in this process, and a worker for each queue."""
    extra = connections(store)
    MinioStore(store).ensure_bucket(store.bucket)
    with contextlib.ExitStack() as stack:
        for queue in queues:
            stack.enter_context(worker(FILE, broker_url, queue, environ=extra))
        yield stack.enter_context(served(deployment(FILE, broker_url, extra)))


def post(web: Served, path: str, body: Any = None, **options: Any) -> urllib3.BaseHTTPResponse:
    """One call. `body` is JSON unless `options` bring a body of another kind."""
    headers = dict(options.pop("headers", {}))
    if "fields" not in options and isinstance(body, dict | list):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    if body is not None:
        options["body"] = body
    return urllib3.request("POST", web.url + path, headers=headers, retries=False, timeout=60.0, **options)


@contextlib.contextmanager
def opened(web: Served, function: str, arguments: Any, accept: str = NDJSON) -> Iterator[urllib3.BaseHTTPResponse]:
    """A call whose answer is read as it comes; leaving the block closes the connection."""
    with urllib3.PoolManager() as pool:
        answer = pool.request(
            "POST",
            f"{web.url}/function/{function}",
            body=json.dumps(arguments).encode(),
            headers={"Content-Type": "application/json", "Accept": accept},
            preload_content=False,
            retries=False,
            timeout=60.0,
        )
        try:
            yield answer
        finally:
            answer.close()
