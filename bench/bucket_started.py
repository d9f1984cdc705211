"""Seconds from the PUT until the function begins, for each source that can wake a bucket trigger.

The peer is what one writes by hand: `put_object`, then plain Celery's `delay()`, until the task begins; same broker and
store, in turn with the gateway's uploads. MinIO cannot run everywhere, so its notifications are played: as soon as the
store has answered, the message that MinIO would send is posted to the gateway, pushed to the list, or told by the test
server of the listen protocol, through which every request of that run goes.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
import urllib3
from minio import Minio

from bench.common import System, percentiles, system
from bench.system import plain_celery
from runtime.broker.connection import connect
from runtime.config.settings import StoreSettings
from runtime.host.free_ports import Ports
from runtime.system import services
from tests.conftest import running
from tests.listen_server import ListenServer, live

_WARM_UP = 5
_PAUSE_SECONDS = 0.03
_WAIT_SECONDS = 60.0
_RESCAN_SECONDS = 5.0
_POLLS = 10
"""Uploads that nothing but a listing finds: each takes seconds."""

_CODE = """\
import time

def note(objects, file):
    now = time.time()
    with open(file, "a") as log:
        for one in objects:
            log.write(f"{one['key']} {now}\\n")
"""
_YAML = """\
version: 1
queues: {{q: {{concurrency: 2}}}}
functions:
  note:
    handler: note.py:note
    queue: q
    triggers:
      - {{bucket: woken, source: {source}, with: {{file: {file}}}}}
"""
Wake = Callable[[str], None]


def measure(count: int) -> None:
    with project("auto") as (file, log), system(file) as found:
        peer, ours = by_gateway(found, log, count)
        percentiles("put_to_started_gateway", ours, peer=peer, peer_name="put_object and celery delay()")
        store = client(found)
        percentiles("put_to_started_seaweedfs", many(count, store, log))
    with plain_store() as settings:
        for kind, polls in (("minio_webhook", count), ("minio_redis", count), ("poll", _POLLS)):
            with project(kind) as (file, log), system(file, environment(settings)) as found:
                wake, store = waking(kind, found), client(found)
                spread = _RESCAN_SECONDS if kind == "poll" else 0.0
                percentiles(f"put_to_started_{kind}", many(polls, store, log, wake, spread))
        with ListenServer(live(), upstream=settings.endpoint).running() as server:
            front = settings.model_copy(update={"endpoint": server.settings.endpoint})
            with project("minio_listen") as (file, log), system(file, environment(front)) as found:
                percentiles("put_to_started_minio_listen", many(count, client(found), log))


def by_gateway(found: System, log: Path, count: int) -> tuple[list[float], list[float]]:
    """The peer's seconds and ours, in turn."""
    http, store = urllib3.PoolManager(retries=False, timeout=60.0), client(found)
    store.make_bucket("by-hand")
    theirs, ours = [], []
    with plain_celery(found) as peer:
        for _ in warm(count):
            began = time.time()
            store.put_object("by-hand", name(), io.BytesIO(b"text"), 4)
            theirs.append(peer.clock.delay().get(timeout=60) - began)
            key, began = name(), time.time()
            http.request("PUT", f"{found.url}/buckets/woken/{key}", body=b"text")
            ours.append(started(log, key) - began)
    return theirs[_WARM_UP:], ours[_WARM_UP:]


def many(count: int, store: Minio, log: Path, wake: Wake = lambda _: None, spread: float = 0.0) -> list[float]:
    return [one(store, log, wake, spread) for _ in warm(count)][_WARM_UP:]


def one(store: Minio, log: Path, wake: Wake, spread: float) -> float:
    """Seconds from the PUT, straight to the store, until the function begins.

    Each comes up to `spread` seconds after the one before has ended: at any time between two listings.
    """
    time.sleep(spread * random.random())
    key, began = name(), time.time()
    store.put_object("woken", key, io.BytesIO(b"text"), 4)
    wake(key)
    return started(log, key) - began


def started(log: Path, key: str) -> float:
    """When the function began for this key, in seconds since the epoch: it says so in a file."""
    give_up = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < give_up:
        for line in log.read_text().splitlines()[-4:]:
            written, _, at = line.partition(" ")
            if written == key and at:
                time.sleep(_PAUSE_SECONDS)
                return float(at)
        time.sleep(0.005)
    raise SystemExit(f"nothing was called for {key} within {_WAIT_SECONDS} s")


def waking(kind: str, found: System) -> Wake:
    """Does what MinIO does when an object was written."""
    http = urllib3.PoolManager(retries=False, timeout=60.0)
    broker: redis.Redis = connect(found.environ["CELERY_BROKER_URL"])
    headers = {"Authorization": f"Bearer {found.environ['TUNDISH_EVENT_TOKEN']}"}

    def record(key: str) -> dict[str, object]:
        about = {"bucket": {"name": "woken"}, "object": {"key": key}}
        return {"eventName": "s3:ObjectCreated:Put", "s3": about}

    def webhook(key: str) -> None:
        body = {"EventName": "s3:ObjectCreated:Put", "Key": f"woken/{key}", "Records": [record(key)]}
        http.request("POST", f"{found.url}/events/minio", body=json.dumps(body), headers=headers)

    def pushed(key: str) -> None:
        broker.rpush("minio:events", json.dumps([{"Event": [record(key)], "EventTime": "now"}]))

    return {"minio_webhook": webhook, "minio_redis": pushed}.get(kind, lambda _: None)


def warm(count: int) -> range:
    return range(_WARM_UP + count)


def name() -> str:
    return f"{uuid.uuid4().hex}.txt"


def client(found: System) -> Minio:
    environ = found.environ
    endpoint, access, secret = (environ[f"MINIO_{word}"] for word in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"))
    return Minio(endpoint.removeprefix("http://"), access, secret, secure=False, region="us-east-1")


def environment(store: StoreSettings) -> dict[str, str]:
    return {
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
    }


@contextlib.contextmanager
def project(source: str) -> Iterator[tuple[Path, Path]]:
    """A functions.yaml with one trigger, and the file that its function writes to."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.touch()
        Path(folder, "note.py").write_text(_CODE)
        file = Path(folder, "functions.yaml")
        file.write_text(_YAML.format(source=source, file=log))
        yield file, log


@contextlib.contextmanager
def plain_store() -> Iterator[StoreSettings]:
    """A SeaweedFS that tells nobody of its changes."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        service, settings = services.seaweedfs(home, Ports(home), services.load_credentials(home))
        with running(service):
            yield settings
