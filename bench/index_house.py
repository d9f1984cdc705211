"""Where an index of a benchmark lies: a broker, a store and a state folder of its own, as plain data."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis

from bench.index_data import Corpus
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.config.settings import Settings, StoreSettings
from runtime.host.free_ports import Ports
from runtime.host.niceness import step_back
from runtime.index import layout
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from runtime.system import services

INDEX = "default"
_FILLERS = 4


@dataclass(frozen=True, slots=True)
class House:
    """One index, `default`, in a bucket of its own. Builder and reader share the cache in `home`, as on one host."""

    broker_url: str
    store: Mapping[str, Any]
    home: str

    def environ(self) -> dict[str, str]:
        store = StoreSettings.model_validate(self.store)
        return {
            "CELERY_BROKER_URL": self.broker_url,
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
            "TUNDISH_BUCKET": store.bucket,
        }

    def settings(self, environ: Mapping[str, str], port: int = 0) -> Settings:
        return load_settings({**environ, **self.environ()}, home=Path(self.home), port=port)

    @property
    def cache(self) -> Path:
        return Path(self.home, "index-cache")

    def client(self) -> redis.Redis:
        return connect(self.broker_url)

    def objects(self) -> MinioStore:
        return MinioStore(StoreSettings.model_validate(self.store))

    def index(self) -> FaissIndex:
        return FaissIndex(self.objects(), self.client(), self.cache)

    def reader(self) -> IndexReader:
        return IndexReader(self.objects(), self.cache)

    def stored(self) -> dict[str, int]:
        """Every object of the index and its bytes; batches are not part of it."""
        store = self.objects()
        return {item.key: item.size for item in store.list(store.bucket, layout.root(INDEX))}

    def forget(self) -> None:
        """Remove every version, here and in the store; the batches stay."""
        store = self.objects()
        names = list(self.stored())
        with ThreadPoolExecutor(_FILLERS) as pool:
            list(pool.map(lambda name: store.delete(store.bucket, name), names))
        shutil.rmtree(self.cache, ignore_errors=True)


def fill(house: dict[str, Any], corpus: dict[str, Any], start: int, end: int, batch_rows: int) -> dict[str, Any]:
    """Rows `start` to `end` as committed batches."""
    index, data = House(**house).index(), Corpus(**corpus)
    seq = index.next_seq(INDEX, end - start)

    def one(first: int) -> str:
        last = min(first + batch_rows, end)
        rows = data.rows(first, last, seq + first - start)
        return index.write_batch(INDEX, f"b{first:09d}", rows, data.vectors(first, last), "bench")

    with ThreadPoolExecutor(_FILLERS) as pool:
        return {"batches": len(list(pool.map(one, range(start, end, batch_rows))))}


@contextlib.contextmanager
def servers(folder: Path | None = None) -> Iterator[House]:
    """A broker and a store that run for as long as the block, with all they hold in a temporary folder."""
    from tests.conftest import running

    with tempfile.TemporaryDirectory(dir=folder, prefix="tundish-bench-") as made:
        home = Path(made)
        ports, credentials = Ports(home), services.load_credentials(home)
        broker, url = services.valkey(home, ports, credentials)
        store, settings = services.seaweedfs(home, ports, credentials)
        with running(broker), running(store) as process:
            tasks = Path(f"/proc/{process.pid}/task")
            for thread in tasks.iterdir() if tasks.exists() else (Path(str(process.pid)),):
                step_back(store.nice, int(thread.name))
            yield House(url, settings.model_dump(), str(home / "homes"))


def house_of(servers: House, name: str) -> House:
    """An empty house of these servers."""
    made = House(servers.broker_url, {**servers.store, "bucket": f"bench-{name}"}, str(Path(servers.home, name)))
    Path(made.home).mkdir(parents=True)
    store = made.objects()
    store.ensure_bucket(store.bucket)
    return made


def plain(thing: House | Corpus) -> dict[str, Any]:
    """For a process of its own."""
    return asdict(thing)
