"""How fast a bucket is listed: ours against minio-py's `list_objects`, in turn, on the same SeaweedFS.

Run it with `make bench B=listing`. `answered_alone` is what the server gives when its pages are asked for one after
the other and not read at all. Rates are objects a second.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.common import report
from runtime.host.free_ports import Ports
from runtime.store.port import MinioStore
from runtime.system import services
from tests.conftest import running

OBJECTS = 20_000
ROUNDS = 15
BUCKET = "many"
_TOKEN = re.compile(rb"<NextContinuationToken>(.*?)<")


def fill(store: MinioStore) -> None:
    store.ensure_bucket(BUCKET)
    with ThreadPoolExecutor(8) as pool:
        names = (f"{number // 1000:04d}/file {number:07d}.txt" for number in range(OBJECTS))
        list(pool.map(lambda name: store.put(BUCKET, name, name.encode()), names))


def rate(objects: Callable[[], Iterable[object]]) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in objects())
    assert count == OBJECTS, count
    return count / (time.perf_counter() - started)


def answers(store: MinioStore) -> Iterable[object]:
    """The rows of every page, unread."""
    token = ""
    while True:
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", "prefix": ""}
        page: bytes = store._execute(
            "GET", BUCKET, query_params=query | ({"continuation-token": token} if token else {})
        ).data
        yield from range(page.count(b"<Contents>"))
        found = _TOKEN.search(page)
        if found is None:
            return
        token = found[1].decode()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        service, settings = services.seaweedfs(home, Ports(home), services.load_credentials(home))
        with running(service):
            store = MinioStore(settings)
            fill(store)
            ours, peer, alone = [], [], []
            for _ in range(ROUNDS):
                ours.append(rate(lambda: store.list(BUCKET)))
                peer.append(rate(lambda: store._client.list_objects(BUCKET, recursive=True)))
                alone.append(rate(lambda: answers(store)))
    report("listed", ours, "objects/s", peer=peer, peer_name="minio-py list_objects")
    report("answered_alone", alone, "objects/s", peer=peer, peer_name="minio-py list_objects")


if __name__ == "__main__":
    main()
