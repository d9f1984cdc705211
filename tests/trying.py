"""One function of a test's own under a bucket trigger, on real services, with real triggers and a real worker."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from runtime.broker import presence
from runtime.buckets.entry import Entry, State, read
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import read as read_invocation
from runtime.store.port import MinioStore
from tests.workers import deployment, environment, kill, until, upkeep, worker


@dataclass
class Trial:
    """The function `work`, its bucket, and what became of the objects in it."""

    client: redis.Redis
    broker_url: str
    store_settings: StoreSettings
    home: Path
    bucket: str

    @property
    def file(self) -> Path:
        return self.home / "functions.yaml"

    @property
    def store(self) -> MinioStore:
        return MinioStore(self.store_settings)

    @property
    def environ(self) -> dict[str, str]:
        store = self.store_settings
        return {
            "TUNDISH_FILE": str(self.file),
            "TUNDISH_HOME": str(self.home / "state"),
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
        }

    @property
    def deployment(self) -> Deployment:
        return deployment(self.file, self.broker_url, self.environ)

    @property
    def watch(self) -> Watch:
        return watches(self.deployment.settings.project)[0]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The triggers, a worker, and what moves retries, as processes; killed at the end."""
        environ = environment(self.broker_url, self.environ)
        with (
            worker(self.file, self.broker_url, "default", environ=self.environ),
            upkeep(self.client, self.deployment),
        ):
            process = subprocess.Popen([sys.executable, "-P", "-m", "triggers"], env=environ, start_new_session=True)
            try:
                until(lambda: any(one.pid == process.pid and one.ready for one in presence.read(self.client)))
                yield
            finally:
                kill(process)

    def entry(self, key: str, state: State) -> Entry | None:
        """The ledger's entry of a key, once it is in this state."""
        raw: Any = self.client.hget(self.watch.ledger, key)
        found = read(raw)
        return found if found and found.state == state else None

    def result(self, key: str, event: str = "created") -> Any:
        """What the function returned for the last change of a key, once it is done."""
        entry = until(lambda: self.entry(key, "done" if event == "created" else "removed"))
        record = read_invocation(self.client, entry.invocation)
        assert record is not None
        return json.loads(record.result_json or "null")


def trial(
    client: redis.Redis,
    broker_url: str,
    store: StoreSettings,
    home: Path,
    function: Mapping[str, Any],
    trigger: Mapping[str, Any],
) -> Trial:
    """A trial of a function (an entry of `functions:`) under a trigger on a new bucket."""
    made = Trial(client, broker_url, store, home, f"b-{uuid.uuid4().hex[:12]}")
    made.store.ensure_bucket(made.bucket)
    work = {**function, "queue": "default", "triggers": [{"bucket": made.bucket, "rescan": "1s", **trigger}]}
    made.file.write_text(json.dumps({"version": 1, "queues": {"default": {}}, "functions": {"work": work}}))
    return made
