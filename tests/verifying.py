"""A bucket, the index made of it, and `tundish index verify`, on a real store and broker."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import redis
from click.testing import CliRunner

from runtime.buckets.entry import Entry
from runtime.buckets.watch import watches
from runtime.cli.main import cli
from runtime.config.load import load_settings
from runtime.config.settings import StoreSettings
from runtime.context import Row
from runtime.index import manifest
from runtime.index.engines import open_index
from runtime.index.manifest import Manifest
from runtime.index.port import FaissIndex
from tests.indexing import fresh_store, vector
from tests.workers import SAMPLES

YAML = """
version: 1
queues: {{default: {{}}}}
functions:
  embed:
    handler: functions/objects.py:note
    queue: default
    triggers: [{{bucket: {bucket}, index: default, prefix: "docs/", suffix: [.txt]}}]
"""


class World:
    """A bucket, the index made of it, and the command that compares the two."""

    def __init__(self, settings: StoreSettings, broker_url: str, client: redis.Redis, folder: Path) -> None:
        self.store, self.client, self.bucket = fresh_store(settings), client, f"docs-{uuid.uuid4().hex[:12]}"
        self.store.ensure_bucket(self.bucket)
        self.index: FaissIndex = FaissIndex(self.store, client, folder / "cache")
        shutil.copytree(SAMPLES / "buckets" / "functions", folder / "functions")
        (folder / "functions.yaml").write_text(YAML.format(bucket=self.bucket))
        self.environ = {
            "TUNDISH_FILE": str(folder / "functions.yaml"),
            "TUNDISH_HOME": str(folder),
            "TUNDISH_BUCKET": self.store.bucket,
            "CELERY_BROKER_URL": broker_url,
            "MINIO_ENDPOINT": settings.endpoint,
            "MINIO_ACCESS_KEY": settings.access_key,
            "MINIO_SECRET_KEY": settings.secret_key,
        }
        self.project = load_settings(self.environ).project
        (self.watch,) = watches(self.project)

    def take_engine(self, url: str, key: str = "") -> None:
        """From now on the index is Qdrant's, at `url`."""
        with Path(self.environ["TUNDISH_FILE"]).open("a") as file:
            file.write(f"indexes: {{default: {{engine: qdrant, url: '{url}', api_key: '${{QDRANT_KEY:-}}'}}}}\n")
        self.environ["QDRANT_KEY"] = key
        self.project = load_settings(self.environ).project
        folder = Path(self.environ["TUNDISH_HOME"])
        self.index = open_index(lambda: self.project, self.store, self.client, folder / "cache")

    def put(self, key: str, text: str = "") -> str:
        """An object; returns its etag."""
        return self.store.put(self.bucket, key, (text or key).encode())

    def embed(self, **etags: str) -> str:
        """A batch, and a ledger that says done, of keys (without `docs/` and `.txt`) with their etags; three chunks
        each. An empty etag: it is removed. Returns the batch's id."""
        first = self.index.next_seq("default", len(etags))
        rows = []
        for seq, (name, etag) in enumerate(etags.items(), first):
            key = f"docs/{name}.txt"
            if not etag:
                rows.append(Row(self.bucket, key, "", seq, "delete"))
            rows += [Row(self.bucket, key, etag, seq, chunk=n, text=f"{key} {n}") for n in range(3) if etag]
            self.ledger(key, Entry("done" if etag else "removed", etag, seq, "created" if etag else "removed"))
        vectors = np.array([vector(row.text) for row in rows if row.op == "put"], np.float32).reshape(-1, 16)
        batch = uuid.uuid4().hex * 2
        self.index.write_batch("default", batch, rows, vectors, "model")
        return batch

    def ledger(self, key: str, entry: Entry) -> None:
        self.client.hset(self.watch.ledger, key, entry.encode())

    def settled(self, *names: str) -> str:
        """Objects that are in the bucket and in the index; returns the batch's id."""
        batch = self.embed(**{name: self.put(f"docs/{name}.txt") for name in names})
        self.index.build("default")
        return batch

    def verify(self, *words: str) -> tuple[int, str]:
        """Exit code and output of the command."""
        done = CliRunner().invoke(cli, ["index", "verify", *words], obj=self.environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done.exit_code, done.output

    def found(self) -> dict[str, str]:
        """What differs: the key (without `docs/` and `.txt`) or nothing for the index itself, and the kind."""
        code, output = self.verify("--json")
        told = json.loads(output)
        (report,) = told["indexes"]
        assert told["ok"] == report["ok"] == (code == 0) == (not report["findings"])
        for kind, count in report["counts"].items():
            assert count == sum(finding["kind"] == kind for finding in report["findings"])
        return {
            finding["key"].removeprefix("docs/").removesuffix(".txt"): finding["kind"] for finding in report["findings"]
        }

    def newest(self) -> Manifest:
        found = manifest.newest(self.store, "default")
        assert found
        return found

    def publish(self, **changes: Any) -> None:
        """A version that is like the newest but for something."""
        made = manifest.successor(self.newest(), dataclasses.replace(self.newest(), digest="", **changes))
        manifest.write_hint(self.store, manifest.commit(self.store, made))
