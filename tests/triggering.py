"""A project with one bucket trigger on real services, and a worker played by the test."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import redis
from minio import Minio

from runtime import keys
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Batch, BucketTrigger, Function, Project, Queue, Settings, StoreSettings
from runtime.deployment.deployment import Deployed, Deployment
from runtime.invocations.invocation import Invocation, read_many
from runtime.store.port import MinioStore
from tests.workers import SAMPLES, deployment, environment, kill, until, upkeep, worker
from triggers.service import Triggers

__all__ = ["House", "kill", "until"]


@dataclass
class House:
    """One bucket, one function `note` that watches it, and everything a test wants to do with them."""

    client: redis.Redis
    broker_url: str
    store_settings: StoreSettings
    home: Path
    trigger: BucketTrigger
    handler: str = "note"
    """Which function of tests/samples/buckets/functions/objects.py a real worker calls."""

    @classmethod
    def build(cls, client: redis.Redis, broker_url: str, store: StoreSettings, home: Path, **options: Any) -> House:
        options.setdefault("rescan", 3600.0)
        options.setdefault("batch", Batch(max_items=8, window=0.05))
        bucket = f"b-{uuid.uuid4().hex[:12]}"
        house = cls(client, broker_url, store, home, BucketTrigger(bucket=bucket, **options))
        house.s3.make_bucket(bucket)
        return house

    @property
    def bucket(self) -> str:
        return self.trigger.bucket

    @property
    def file(self) -> Path:
        return self.home / "functions.yaml"

    @cached_property
    def s3(self) -> Minio:
        store = self.store_settings
        return Minio(store.endpoint, store.access_key, store.secret_key, secure=False, region=store.region)

    @property
    def project(self) -> Project:
        function = Function(name="note", handler="functions/objects.py:note", buckets=(self.trigger,))
        return Project(queues={"default": Queue()}, functions={"note": function})

    @property
    def deployment(self) -> Deployment:  # what is deployed, described by hand
        settings = Settings(
            project=self.project,
            file=self.file,
            home=self.home,
            broker_url=self.broker_url,
            store=self.store_settings,
        )
        spec = self.project.functions["note"]
        return Deployment(settings, {"note": Deployed(spec, accepts=frozenset({"objects", "index"}))})

    @property
    def watch(self) -> Watch:
        return watches(self.project)[0]

    @staticmethod
    def project_of(function: Function) -> Watch:
        """The watch of a function with one trigger."""
        return watches(Project(queues={"default": Queue()}, functions={function.name: function}))[0]

    # What other people do.

    def put(self, key: str, data: bytes = b"text") -> None:
        self.s3.put_object(self.bucket, key, io.BytesIO(data), len(data))

    def remove(self, key: str) -> None:
        self.s3.remove_object(self.bucket, key)

    def tell(self, *names: str) -> None:
        """A notification for each key, as the gateway leaves it."""
        for key in names:
            body = json.dumps({"bucket": self.bucket, "key": key, "event": "created"})
            self.client.xadd(keys.EVENTS, {"source": "gateway", "body": body, "at": time.time()})

    # What the triggers did.

    def calls(self) -> list[Invocation]:
        """Every invocation there is, oldest first."""
        stored: Any = self.client.keys(keys.invocation("*"))
        names = [name.decode().removeprefix(keys.invocation("")) for name in stored]
        found = [record for record in read_many(self.client, names).values() if record]
        return sorted(found, key=lambda record: (record.created, record.arguments["objects"][0]["seq"]))

    def changes(self) -> list[tuple[str, str]]:
        """(event, key) of everything that was handed out, in the order of its seq."""
        objects = [one for record in self.calls() for one in record.arguments["objects"]]
        return [(one["event"], one["key"]) for one in sorted(objects, key=lambda one: one["seq"])]

    def entry(self, key: str) -> Entry | None:
        raw: Any = self.client.hget(self.watch.ledger, key)
        return Entry.decode(raw) if raw else None

    def state(self, key: str) -> str:
        entry = self.entry(key)
        return entry.state if entry else "absent"

    def states(self, *names: str) -> set[str]:
        """Those of all these keys, asked for at once."""
        raws: Any = self.client.hmget(self.watch.ledger, names)
        return {Entry.decode(raw).state if raw else "absent" for raw in raws}

    # What a worker would do.

    def end(self, record: Invocation, state: str = "succeeded", result: Any = None, error: Any = None) -> None:
        name = keys.invocation(record.id)
        fields: dict[Any, Any] = {"state": state, "result": json.dumps(result)}
        if error:
            fields["error"] = json.dumps(error)
        self.client.hset(name, mapping=fields)
        self.client.publish(keys.ENDED_CHANNEL, record.id)

    def clock(self) -> float:
        """The store's own clock."""
        return MinioStore(self.store_settings).server_time(self.bucket)

    def poke(self, condition: Callable[[], object], *names: str) -> None:
        """Announce these keys again and again until the condition holds."""

        def step() -> object:
            self.tell(*names)
            return condition()

        until(step)

    def end_all(self) -> None:
        """Succeed at everything that has not ended."""
        for record in self.calls():
            if not record.terminal:
                self.end(record)

    def finish(self, *names: str, state: str = "done") -> None:
        """Succeed at everything until these keys have this state."""

        def step() -> bool:
            self.end_all()
            return self.states(*names) == {state}

        until(step)

    @contextlib.contextmanager
    def running(self, count: int = 1) -> Iterator[list[Triggers]]:
        """Triggers in threads of the test's own process, after their first listing."""
        services = [Triggers(self.client, MinioStore(self.store_settings), self.deployment) for _ in range(count)]
        for service in services:
            service.start()
        try:
            until(lambda: self.client.exists(keys.listing(self.watch.name, self.bucket)))
            yield services
        finally:
            for service in services:
                service.stop()
                assert not service.failed.is_set()

    def listed(self) -> float:
        """When the newest complete listing ended."""
        raw: Any = self.client.get(keys.listing(self.watch.name, self.bucket))
        return float(json.loads(raw)["ended"]) if raw else 0.0

    def settle_listing(self) -> None:
        """Wait until two more listings are complete: whatever the first found has been seen by the second."""
        for _ in range(2):
            until(partial(self._listed_after, self.listed()))

    def _listed_after(self, moment: float) -> bool:
        return self.listed() > moment

    def hand_out(self, more_than: int) -> None:
        """Succeed at everything until more than so many changes have been handed out."""

        def step() -> bool:
            self.end_all()
            return len(self.changes()) > more_than

        until(step)

    def process(self) -> subprocess.Popen[bytes]:
        """A real `python -m triggers` for this project."""
        (self.home / "functions").mkdir(exist_ok=True)
        source = SAMPLES / "buckets" / "functions" / "objects.py"
        (self.home / "functions" / "objects.py").write_text(source.read_text())
        note = {
            "handler": f"functions/objects.py:{self.handler}",
            "queue": "default",
            "retries": {"max": 1, "backoff": "100ms", "jitter": "0%"},
            "triggers": [self.trigger.model_dump(mode="json", by_alias=True, exclude_defaults=True)],
        }
        content = {"version": 1, "queues": {"default": {"concurrency": 2}}, "functions": {"note": note}}
        self.file.write_text(json.dumps(content))
        environ = environment(self.broker_url, {**self.environ, "TUNDISH_FILE": str(self.file)})
        return subprocess.Popen([sys.executable, "-m", "triggers"], env=environ, start_new_session=True)

    @property
    def environ(self) -> dict[str, str]:
        """What a process of this house needs to find the store."""
        store = self.store_settings
        return {
            "TUNDISH_HOME": str(self.home / "state"),
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
        }

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Real processes: the triggers, a worker, and what moves retries."""
        process = self.process()
        try:
            until(self.listed)
            with (
                worker(self.file, self.broker_url, "default", environ=self.environ),
                upkeep(self.client, deployment(self.file, self.broker_url)),
            ):
                yield
        finally:
            kill(process)
