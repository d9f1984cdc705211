"""The shape of functions.yaml as it is written; `config` has the shape in which it is used."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from runtime.config.auth import AuthSpec, JwtSpec
from runtime.config.broker import BrokerSpec
from runtime.config.gates import Circuit, ConcurrencyKey, Overload
from runtime.config.limits import (
    Backend,
    CallbackSpec,
    ChunkSpec,
    ExtractSpec,
    IndexSpec,
    Limits,
    ModelItem,
    ModelSpec,
    OutboxSpec,
    PromptsSpec,
)
from runtime.config.logs import LogsSpec, TracingSpec
from runtime.config.metrics import MetricsSpec
from runtime.config.model import Model, Name, Priority, Words
from runtime.config.sections import Sections
from runtime.config.settings import (
    Batch,
    BucketTrigger,
    Chain,
    CronTrigger,
    EventSource,
    Gather,
    Guard,
    HttpTrigger,
    Queue,
    Retention,
    Retries,
    Style,
)
from runtime.config.tenants import KeyQuota, Quota, TenantSpec
from runtime.values.units import Duration, RateLimit

TRIGGER_KINDS = ("http", "cron", "every", "bucket")


def _kind(value: Any) -> str | None:
    """Which trigger an item of `triggers:` is, by the key that names it."""
    keys = set(value) if isinstance(value, dict) else set()
    found = [kind for kind in TRIGGER_KINDS if kind in keys]
    if len(found) != 1:
        return None
    return "cron" if found[0] == "every" else found[0]


class HttpItem(Model):
    """`- http: {}`"""

    http: HttpTrigger | None


Trigger = Annotated[
    Annotated[HttpItem, Tag("http")] | Annotated[CronTrigger, Tag("cron")] | Annotated[BucketTrigger, Tag("bucket")],
    Discriminator(_kind),
]


def _chain(value: Any) -> Any:
    return {"function": value} if isinstance(value, str) else value


def _keyed(value: Any) -> Any:
    return {"argument": value} if isinstance(value, str) else value


def _switched(value: Any) -> Any:
    return {"enabled": value} if isinstance(value, bool) else value


OutboxItem = Annotated[OutboxSpec, BeforeValidator(_switched, json_schema_input_type=OutboxSpec | bool)]
KeyItem = Annotated[ConcurrencyKey, BeforeValidator(_keyed, json_schema_input_type=ConcurrencyKey | str)]
ChainItem = Annotated[Chain, BeforeValidator(_chain, json_schema_input_type=Chain | str)]


class FunctionItem(Model):
    """One entry of `functions:`. What is left out comes from `routes:`, `defaults:` and the queue."""

    handler: str
    queue: Name | None = None
    priority: Priority | None = None
    timeout: Duration | None = None
    soft_timeout: Duration | None = None
    retries: Retries | None = None
    role: Literal["invoke", "admin"] = "invoke"
    triggers: list[Trigger] = Field(default_factory=list)
    writes: Words = ()
    on_success: ChainItem | None = None
    on_failure: Literal["dead_letter"] | Name = "dead_letter"
    env: dict[str, str | int | float | bool] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(default_factory=dict)
    setup: str | None = None
    style: Style | None = None
    requirements: Words = ()
    gather: Gather | None = None
    expires: Duration | None = None
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    concurrency_key: KeyItem | None = None
    rate_limit: RateLimit | None = None
    circuit: Circuit | None = None
    overload: Overload | None = None


class Route(Model):
    """Where the functions whose name matches a pattern go."""

    queue: Name | None = None
    priority: Priority | None = None


class Defaults(Model):
    """`defaults:` holds for every function that does not say otherwise."""

    queue: Name | None = None
    priority: Priority | None = None
    timeout: Duration | None = None
    soft_timeout: Duration | None = None
    retries: Retries | None = None
    overload: Overload | None = None


class FunctionsFile(Sections):
    """functions.yaml"""

    version: Literal[1]
    queues: dict[Name, Queue] = Field(default_factory=dict)
    routes: dict[str, Route] = Field(default_factory=dict)
    defaults: Defaults = Defaults()
    functions: dict[Name, FunctionItem]
    indexes: dict[Name, IndexSpec] = Field(default_factory=dict)
    models: dict[Name, ModelItem] = Field(default_factory=dict)
    backend: Backend = "auto"
    limits: Limits = Limits()
    durability: Literal["always", "fast"] = "always"
    retention: Retention = Retention()
    outbox: OutboxItem | None = None
    callbacks: CallbackSpec = CallbackSpec()
    grace: Duration | None = None


_PLACES: tuple[tuple[tuple[str, ...], type[Model]], ...] = (
    ((), FunctionsFile),
    (("queues", "*"), Queue),
    (("routes", "*"), Route),
    (("defaults",), Defaults),
    (("defaults", "retries"), Retries),
    (("functions", "*"), FunctionItem),
    (("functions", "*", "retries"), Retries),
    (("functions", "*", "on_success"), Chain),
    (("functions", "*", "gather"), Gather),
    (("functions", "*", "concurrency_key"), ConcurrencyKey),
    (("functions", "*", "circuit"), Circuit),
    (("functions", "*", "overload"), Overload),
    (("defaults", "overload"), Overload),
    (("functions", "*", "triggers", "*", "http"), HttpTrigger),
    (("functions", "*", "triggers", "*", "batch"), Batch),
    (("functions", "*", "triggers", "*", "guard"), Guard),
    (("functions", "*", "triggers", "*", "source"), EventSource),
    (("indexes", "*"), IndexSpec),
    (("models", "*"), ModelSpec),
    (("models", "*", "prompts"), PromptsSpec),
    (("indexes", "*", "chunk"), ChunkSpec),
    (("indexes", "*", "extract"), ExtractSpec),
    (("limits",), Limits),
    (("retention",), Retention),
    (("outbox",), OutboxSpec),
    (("callbacks",), CallbackSpec),
    (("auth",), AuthSpec),
    (("broker",), BrokerSpec),
    (("logs",), LogsSpec),
    (("metrics",), MetricsSpec),
    (("tracing",), TracingSpec),
    (("auth", "jwt"), JwtSpec),
    (("tenants", "*"), TenantSpec),
    (("tenants", "*", "quota"), Quota),
    (("tenants", "*", "key_quota"), KeyQuota),
)


def keys_at(path: tuple[str | int, ...], item: Any) -> list[str]:
    """The keys that are valid at a path of the file; `item` is what stands there (a trigger's keys depend on it)."""
    if len(path) == 4 and path[0] == "functions" and path[2] == "triggers":
        models: dict[str | None, list[type[Model]]] = {
            "http": [HttpItem],
            "cron": [CronTrigger],
            "bucket": [BucketTrigger],
        }
        every: list[type[Model]] = [HttpItem, CronTrigger, BucketTrigger]
        found = models.get(_kind(item), every)
        return [key for model in found for key in _names(model)]
    for pattern, model in _PLACES:
        if len(pattern) == len(path) and all(p in ("*", q) for p, q in zip(pattern, path, strict=True)):
            return _names(model)
    return []


def _names(model: type[Model]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def json_schema() -> dict[str, Any]:
    """JSON Schema of functions.yaml, for editors."""
    schema = FunctionsFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "functions.yaml of Tundish"
    return schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1, sort_keys=True))  # noqa: T201
