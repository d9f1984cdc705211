"""What is configured: frozen settings. `load` reads them; nothing else reads YAML or the environment."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from runtime.config.auth import Access
from runtime.config.broker import GRACE_SECONDS
from runtime.config.engine import EngineSpec
from runtime.config.gates import Circuit, ConcurrencyKey, Overload
from runtime.config.limits import Backend, CallbackSpec, IndexSpec, Limits, ModelItem, OutboxSpec
from runtime.config.logs import Observed
from runtime.config.model import Model, Name, Priority, Words, listed
from runtime.config.sections import Sections
from runtime.config.tenants import TenantName, TriggerTenant
from runtime.interfaces_index import Chunking, Extraction
from runtime.values.units import Duration, RateLimit, Share, Size

Style = Literal["plain", "lambda", "lambda_http", "request", "cloud_event"]


class Queue(Model):
    """A queue and the worker that serves it."""

    priority: Priority | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 1
    autoscale: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None = None
    pool: Literal["prefork", "threads", "gevent", "solo"] = "prefork"
    prefetch: Annotated[int, Field(ge=1, le=1000)] = 1
    max_tasks_per_child: Annotated[int, Field(ge=1)] | None = None
    max_memory_per_child: Size | None = None
    channel: Literal["lean", "stock"] = "lean"
    """How messages are taken: `lean` leaves acknowledgement to the record, `stock` is kombu's own way."""
    preload: Words = ()
    """Libraries imported once before the pool forks, so that its children share them. Never your own code."""
    preload_model: bool = False
    """Load the embedding model once, before the pool forks: its processes share it, and a reload keeps it."""
    scale_to_zero: bool = False
    """Something outside starts its workers when calls wait (docs/kubernetes.md): to have none is no fault."""
    nice: Annotated[int, Field(ge=0, le=19)] = 0
    """How far its processes step back when others want the processor."""
    requirements: Words = ()
    """Packages that its functions need and Tundish does not have: they run in an environment of their own."""
    grace: Duration | None = None
    """How long what runs may go on when its worker is to stop; None: what the whole project says."""
    per_tenant: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Calls of one tenant (and one priority) that stand in it at once; more wait beside it (crowding.py)."""


class Retries(Model):
    """How often and when a failed attempt is repeated."""

    max: Annotated[int, Field(ge=0, le=1000)] = 3
    backoff: Duration = 60.0
    max_backoff: Duration = 600.0
    jitter: Share = 0.1
    retry_on: Words = ()
    never_retry_on: Words = ()


class HttpTrigger(Model):
    """`http: {}`: POST /function/NAME for everybody who may invoke."""


class CronTrigger(Model):
    """`cron: "0 2 * * *"` or `every: 30s`. `with` holds the arguments."""

    cron: str | None = None
    every: Duration | None = None
    timezone: str = "UTC"
    overlap: Literal["allow", "forbid", "replace"] = "allow"
    catch_up: Duration = 0.0
    jitter: Duration = 0.0
    tenant: TenantName | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")


class Batch(Model):
    """How many objects go into one invocation of a bucket trigger."""

    max_items: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_bytes: Size = 32 * 2**20
    window: Duration = 0.1


class EventSource(Model):
    """Who wakes a bucket trigger. `url` and `key` are those of MinIO's Redis target: the server and the list."""

    kind: Literal["auto", "minio_webhook", "minio_listen", "minio_redis", "seaweedfs", "poll"] = "auto"
    url: Annotated[str, Field(repr=False)] = ""
    """Empty: the broker."""
    key: str = "minio:events"


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class Guard(Model):
    """What keeps a bucket trigger from running away."""

    max_hops: Annotated[int, Field(ge=1, le=1000)] = 8
    """Functions in a row that may write objects which call functions; what comes after is a loop."""
    key_runs_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 30
    """Calls for one and the same key; more of them wait."""
    objects_per_minute: Annotated[int, Field(ge=1)] | None = None
    bytes_per_minute: Annotated[Size, Field(ge=1)] | None = None


class BucketTrigger(Model):
    """Objects that come and go in a bucket. The function is called with `objects` (and `index`, where given)."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    index: Name | None = None
    tenant: TriggerTenant | None = None
    """Whose its objects are; `{prefix}`: the first folder of the key says it."""
    source: Annotated[EventSource, BeforeValidator(_kind, json_schema_input_type=EventSource | str)] = EventSource()
    start: Literal["beginning", "now"] = "beginning"
    """Whether a new trigger hands out what is in the bucket already."""
    events: Annotated[tuple[Literal["created", "removed"], ...], BeforeValidator(listed)] = ("created", "removed")
    prefix: str = ""
    suffix: Words = ()
    glob: Words = ()
    min_size: Size | None = None
    max_size: Size | None = None
    content_type: Words = ()
    batch: Batch = Batch()
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 4
    guard: Guard = Guard()
    rescan: Duration | None = None
    """The longest time between two full listings (60 s; 5 s where nothing wakes the trigger); a listing never takes
    more than 5 % of the time."""
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")


class Chain(Model):
    """A function called after another one. Several completions within `debounce` become one call."""

    function: Name
    debounce: Duration = 0.0
    max_wait: Duration = 1.0
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")


class Gather(Model):
    """Many invocations, one call of a list-taking handler."""

    max_items: Annotated[int, Field(ge=1, le=10_000)] = 64
    window: Duration = 0.01


class Function(Model):
    """One function, with everything that defaults, routes and queues say about it filled in."""

    name: str = ""
    handler: str
    queue: Name = "default"
    priority: Priority = 5
    timeout: Duration | None = 300.0
    """None where the queue's pool cannot stop a running function."""
    soft_timeout: Duration | None = None
    retries: Retries = Retries()
    role: Literal["invoke", "admin"] = "invoke"
    http: bool = False
    crons: tuple[CronTrigger, ...] = ()
    buckets: tuple[BucketTrigger, ...] = ()
    writes: tuple[str, ...] = ()
    """Where it writes objects, as BUCKET or BUCKET/PREFIX."""
    on_success: Chain | None = None
    on_failure: Literal["dead_letter"] | Name = "dead_letter"
    env: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, Path] = Field(default_factory=dict)
    setup: str | None = None
    """A handler that is called once in each process, before the function's first call there."""
    style: Style | None = None
    """How the handler is called; None: as its parameters say."""
    gather: Gather | None = None
    expires: Duration | None = None
    """How long after it was accepted a call may still be started."""
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    concurrency_key: ConcurrencyKey | None = None
    rate_limit: RateLimit | None = None
    circuit: Circuit | None = None
    overload: Overload | None = None


class Retention(Model):
    """How long, and how many, terminal invocations are kept."""

    succeeded: Duration = 3600.0
    failed: Duration = 7 * 86400.0
    count: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Records of each terminal state; the oldest leave first."""
    idempotency: Duration = 86400.0


class Project(Sections):
    """functions.yaml, with every default filled in."""

    version: Literal[1] = 1
    queues: dict[str, Queue]
    functions: dict[str, Function]
    indexes: dict[str, IndexSpec] = Field(default_factory=dict)
    models: dict[str, ModelItem] = Field(default_factory=dict)
    """Embedding models by name."""
    backend: Backend = "auto"
    """What runs the models that have no back end of their own."""
    limits: Limits = Limits()
    durability: Literal["always", "fast"] = "always"
    retention: Retention = Retention()
    outbox: OutboxSpec = OutboxSpec(enabled=False)
    callbacks: CallbackSpec = CallbackSpec()
    grace: Duration = GRACE_SECONDS
    """How long what runs may go on in a part that is to stop."""

    def bucket_triggers(self) -> list[tuple[Function, BucketTrigger]]:
        return [(function, trigger) for function in self.functions.values() for trigger in function.buckets]

    def model_of(self, index: str) -> str:
        """The name of the model that an index without vectors takes; empty: the built-in one."""
        spec = self.indexes.get(index)
        return (spec.model if spec else None) or ""

    def engine_of(self, index: str) -> EngineSpec:
        """Which engine an index gets, and where it is."""
        return self.indexes.get(index) or EngineSpec()

    def is_hybrid(self, index: str) -> bool:
        """Whether segments of this index get words to search by."""
        spec = self.indexes.get(index)
        return spec is not None and spec.hybrid

    def chunking_of(self, index: str) -> Chunking:
        """How texts are cut for an index."""
        spec = self.indexes.get(index)
        return Chunking(spec.chunk.tokens, spec.chunk.overlap) if spec else Chunking()

    def extraction_of(self, index: str) -> Extraction:
        """How documents of an index are read."""
        spec = self.indexes.get(index)
        return spec.extract.settings() if spec else Extraction()

    def buckets(self) -> list[str]:
        """Every bucket that a trigger watches, once each."""
        return list(dict.fromkeys(trigger.bucket for _, trigger in self.bucket_triggers()))


class StoreSettings(Model):
    """How to reach the store. `endpoint` is host:port, empty where nothing names one."""

    endpoint: str = ""
    access_key: Annotated[str, Field(repr=False)] = ""
    secret_key: Annotated[str, Field(repr=False)] = ""
    secure: bool = False
    region: str = "us-east-1"
    bucket: str = "tundish"


class Settings(Observed):
    """Everything a process needs to know, from flags, environment, YAML and defaults."""

    project: Project
    file: Path
    home: Path
    broker_url: Annotated[str, Field(repr=False)] = ""
    """Empty where nothing names a broker; `tundish up` then starts its own."""
    result_backend: Annotated[str, Field(repr=False)] = ""
    store: StoreSettings = StoreSettings()
    event_token: Annotated[str, Field(repr=False)] = ""
    callback_secret: Annotated[str, Field(repr=False)] = ""
    """Signs what is posted to callback URLs; empty: the one in the state folder does."""
    host: str = "127.0.0.1"
    port: int = 8000
    access: Access = Access()
    description: Path | None = None
    """Where a supervisor has left the description of the functions; None: describe them here."""

    @property
    def root(self) -> Path:
        """The folder of functions.yaml: handlers are relative to it."""
        return self.file.parent

    @property
    def embedder_socket(self) -> Path:
        """The embedder's Unix socket: in the state folder, or in the temporary one where that path is too long."""
        path = self.home.absolute() / "embedder.sock"
        if len(bytes(path)) <= 100:  # sun_path holds 104 bytes on macOS, 108 on Linux
            return path
        digest = hashlib.sha256(bytes(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tundish-{os.getuid()}-{digest}.sock"
