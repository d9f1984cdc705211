"""An object far larger than what may be in memory goes through the gateway, a bucket trigger and a worker.

`python -m tests.test_large_objects MEGABYTES FOLDER` does it with any size, and prints what each process took.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.host.free_ports import Ports
from runtime.system import services
from tests.conftest import running
from tests.workers import environment, kill, until, worker

MEGABYTES = 200
MOST_MEGABYTES = 100
"""More than this no process may take on top of what it had at rest, whatever the object's size."""

# It copies what it is called for: one large object in, another one out.
CODE = """
import hashlib, tempfile
from runtime.context import Context, ObjectEvent

def copy(objects: list[ObjectEvent], *, context: Context) -> None:
    for found in objects:
        with tempfile.TemporaryFile() as file:
            context.store.download(found.bucket, found.key, file)
            length = file.tell()
            file.seek(0)
            context.store.put_stream("copies", found.key, file, length, metadata={"from": found.etag})

def rest(*, context: Context) -> None:
    context.store.put("copies", "rest", b"")
"""
YAML = """
version: 1
queues: {light: {concurrency: 1}}
limits: {upload: 10GiB}
defaults: {queue: light, timeout: 1h}
functions:
  rest: {handler: code.py:rest, triggers: [{http: {}}]}
  copy: {handler: code.py:copy, triggers: [{bucket: large}], writes: [copies]}
"""


class Endless(io.RawIOBase):
    """So many megabytes, none of them like another, and their hash."""

    def __init__(self, megabytes: int) -> None:
        self._block, self._left, self._number = bytes(range(256)) * 4096, megabytes, 0
        self._rest = b""
        self.hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        if not self._rest and self._left:
            self._left, self._number = self._left - 1, self._number + 1
            self._rest = self._number.to_bytes(8, "big") + self._block[8:]
            self.hash.update(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Memory:
    """What a process and its children have taken at most, in megabytes, above what they had at `rest`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.at_rest = self._most()

    def taken(self) -> int:
        return self._most() - self.at_rest

    def _most(self) -> int:
        return max(_field(pid, "VmHWM") for pid in _family(self._pid)) // 1024


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _field(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def started(module: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-P", "-m", module], env=environ, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)


def pass_through(folder: Path, broker_url: str, store: StoreSettings, megabytes: int) -> dict[str, int]:
    """Upload, be triggered, download, upload and download again; returns the megabytes that each process took."""
    (folder / "code.py").write_text(CODE)
    file = folder / "functions.yaml"
    file.write_text(YAML)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    connections = {
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
        "TUNDISH_FILE": str(file),
        "TUNDISH_HOME": str(folder / "home"),
        "TUNDISH_PORT": str(port),
    }
    environ = environment(broker_url, connections)
    url = f"http://127.0.0.1:{port}"
    http = urllib3.PoolManager(retries=False, timeout=600.0)

    def call(method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return http.request(method, url + path, **options)

    def ready() -> bool:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            return call("GET", "/healthz").status == 200
        return False

    def copied() -> bool:
        told = call("GET", "/documents/large/big.bin").json()
        assert told["status"] != "failed", told
        return bool(told["status"] == "completed")

    with (
        started("gateway", environ) as gateway,
        started("triggers", environ) as triggers,
        worker(file, broker_url, "light", environ=connections) as working,
    ):
        until(ready)
        from runtime.store.port import MinioStore

        MinioStore(store).ensure_bucket("copies")
        call("PUT", "/buckets/large/small", body=b"x")
        assert call("POST", "/function/rest").status == 200
        until(lambda: call("GET", "/documents/large/small").json()["status"] == "completed")
        memory = {"gateway": Memory(gateway.pid), "triggers": Memory(triggers.pid), "worker": Memory(working.pid)}

        data, size = Endless(megabytes), megabytes * 2**20
        told = call("PUT", "/buckets/large/big.bin", body=data, headers={"Content-Length": str(size)})
        assert told.status == 200 and told.json()["size"] == size, told.data
        until(copied, 3000.0)
        found = hashlib.sha256()
        answer = call("GET", "/buckets/copies/big.bin", preload_content=False)
        for chunk in answer.stream(2**20):
            found.update(chunk)
        assert found.digest() == data.hash.digest()
        assert MinioStore(store).head("copies", "big.bin").metadata["from"] == told.json()["etag"]
        return {name: one.taken() for name, one in memory.items()}


def test_an_object_larger_than_memory_may_be_is_streamed(
    broker_url: str, redis_client: object, store_settings: StoreSettings, tmp_path: Path
) -> None:
    taken = pass_through(tmp_path, broker_url, store_settings, MEGABYTES)
    assert max(taken.values()) <= MOST_MEGABYTES < MEGABYTES, taken


def main(megabytes: int, parent: str) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as folder, contextlib.ExitStack() as stack:
        home, ports = Path(folder) / "services", Ports(Path(folder))
        credentials = services.load_credentials(home)
        valkey, url = services.valkey(home, ports, credentials)
        weed, store = services.seaweedfs(home, ports, credentials)
        stack.enter_context(running(valkey))
        stack.enter_context(running(weed))
        broker.connect(url).ping()
        print(json.dumps({"megabytes": megabytes} | pass_through(Path(folder), url, store, megabytes)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
