"""A bucket of many objects that are all done: the time and the memory of comparing it with the ledger.

The bucket is real (SeaweedFS, bench/bucket_many.py), the ledger holds an entry for each as a worker leaves it. Then a
`triggers` process starts and lists: measured is until its listing is complete, its peak memory, and the ledger's in
Valkey. The peer of the time is minio-py's `list_objects` of the same bucket, which compares nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from minio import Minio

from bench import bucket_many
from bench.bucket_many import BUCKET
from bench.bucket_started import environment
from bench.common import ROOT
from bench.keyspace import used_memory
from runtime import keys
from runtime.broker.connection import connect
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.config.load import load_settings
from runtime.config.settings import StoreSettings
from runtime.host.free_ports import Ports
from runtime.invocations.submit import new_id
from runtime.store.port import MinioStore
from runtime.system import services
from tests.conftest import running

_WAIT_SECONDS = 1800.0
_YAML = """\
version: 1
functions:
  note: {handler: note.py:note, triggers: [{bucket: many, source: poll, rescan: 1h}]}
"""


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ports, credentials = Ports(home), services.load_credentials(home)
        valkey, url = services.valkey(home, ports, credentials)
        weed, store = services.seaweedfs(home, ports, credentials)
        with running(valkey), running(weed):
            bucket_many.fill(home, weed, store, count)
            resync(home, url, store, count)


def resync(home: Path, url: str, store: StoreSettings, count: int) -> None:
    (home / "note.py").write_text("def note(objects): ...\n")
    file = home / "functions.yaml"
    file.write_text(_YAML)
    environ = {**os.environ, **environment(store), "CELERY_BROKER_URL": url, "TUNDISH_HOME": str(home / "state")}
    [watch] = watches(load_settings(environ, file=file).project)
    with connect(url) as client:
        empty = used_memory(client)
        if (entered := enter(client, MinioStore(store), watch)) != count:
            raise SystemExit(f"the bucket holds {entered} objects, not {count}")
        ledger = used_memory(client) - empty
        alone = listed(store)
        seconds, memory = triggers(file, environ, client, watch, count)
        calls = len(list(client.scan_iter(keys.invocation("*"), count=1000)))
    if calls:
        raise SystemExit(f"{calls} functions were called although nothing had changed")
    mib = 2**20
    tell("resync_time", seconds, "s", count, peer=alone, peer_name="minio-py list_objects")
    tell("resync_memory_triggers", memory / mib, "MiB", count)
    tell("resync_memory_ledger", ledger / mib, "MiB", count)
    tell("resync_memory", (memory + ledger) / mib, "MiB", count)


def tell(metric: str, ours: float, unit: str, count: int, *, peer: float = 0.0, peer_name: str = "") -> None:
    line: dict[str, Any] = {"metric": metric, "ours": round(ours, 2), "unit": unit, "n": count}
    if peer:
        line |= {"peer": round(peer, 2), "peer_name": peer_name, "ratio": round(ours / peer, 3)}
    print(json.dumps(line), flush=True)


def enter(client: redis.Redis, store: MinioStore, watch: Watch) -> int:
    """An entry for every object: done, by an invocation that had a batch of it. Returns how many there are."""
    objects = store.list(BUCKET)
    for batch in iter(lambda: list(itertools.islice(objects, 64)), []):
        task_id = new_id()
        entries = {
            info.key: Entry("done", info.etag, seq, "created", info.size, task_id, at=info.modified).encode()
            for seq, info in enumerate(batch, 1)
        }
        client.hset(watch.ledger, mapping=entries)  # type: ignore[arg-type]
    return int(client.hlen(watch.ledger))


def listed(settings: StoreSettings) -> float:
    """Seconds of minio-py's own listing."""
    client = Minio(settings.endpoint, settings.access_key, settings.secret_key, secure=False, region=settings.region)
    began = time.perf_counter()
    for _ in client.list_objects(BUCKET, recursive=True):
        pass
    return time.perf_counter() - began


def triggers(file: Path, environ: dict[str, str], client: redis.Redis, watch: Watch, count: int) -> tuple[float, float]:
    """Seconds until a new `triggers` process has compared everything, and its peak memory in bytes."""
    command = [sys.executable, "-P", "-m", "triggers"]
    log = (file.parent / "triggers.log").open("wb")
    began = time.time()
    process = subprocess.Popen(command, env={**environ, "TUNDISH_FILE": str(file)}, stdout=log, stderr=log, cwd=ROOT)
    try:
        while True:
            told = client.get(keys.listing(watch.name, BUCKET))
            found: dict[str, float] = json.loads(told) if isinstance(told, bytes) else {}
            if found.get("ended", 0.0) >= began and found["objects"] >= count:
                return found["ended"] - began, peak(process.pid)
            if process.poll() is not None or time.time() > began + _WAIT_SECONDS:
                raise SystemExit((file.parent / "triggers.log").read_text())
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def peak(pid: int) -> float:
    """The most memory that a process has held, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/status has no VmHWM")
