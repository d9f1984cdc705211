"""What the environment says: connections and the variables that Celery deployments know, each one checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args
from urllib.parse import urlsplit

from pydantic import ValidationError

from runtime import sentinel
from runtime.config.access import access
from runtime.config.broker import GRACE_SECONDS, UP_GRACE_SECONDS
from runtime.config.limits import Backend, OutboxSpec
from runtime.config.settings import Queue, StoreSettings
from runtime.errors import Problem
from runtime.models import backends
from runtime.security.callback_sign import key_of
from runtime.values.units import parse_duration

if TYPE_CHECKING:
    from runtime.config.yaml_lines import Path_

_YES_OR_NO = {"true": True, "1": True, "false": False, "0": False}
_OUTBOX = {**_YES_OR_NO, "auto": True}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Environment:
    """Reads variables; what is wrong goes to `problems`, where a value came from to `sources`."""

    def __init__(self, environ: Mapping[str, str], problems: list[Problem], sources: dict[Path_, str]) -> None:
        self._environ, self._problems, self._sources = environ, problems, sources

    def get(self, *names: str, path: Path_ | None = None) -> str | None:
        for name in names:
            if self._environ.get(name):
                if path:
                    self._sources[path] = name
                return self._environ[name]
        return None

    def problem(self, name: str, message: str) -> None:
        problem = Problem(name, message, file="environment")
        if problem not in self._problems:
            self._problems.append(problem)

    def number(self, name: str, least: int, most: int = 2**31, *, path: Path_ | None = None) -> int | None:
        text = self.get(name, path=path)
        if text is None:
            return None
        if not text.isdecimal() or not least <= int(text) <= most:
            self.problem(name, f"{text!r} is not a whole number from {least} to {most}")
            return None
        return int(text)

    def duration(self, name: str) -> float | None:
        text = self.get(name)
        try:
            return None if text is None else parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text)
        except ValueError as error:
            self.problem(name, str(error))
            return None

    def queue(self, name: str, queue: Queue) -> Queue:
        """A queue as the environment wants it; built anew, so that it is checked like what the file says.

        The environment speaks to all queues at once: what it says of children concerns the pools that have some.
        """
        from runtime.config.check import UNSUPPORTED  # loaded where a file is read

        changes: dict[str, Any] = {}
        pool = self.get("CELERY_WORKER_POOL", path=("queues", name, "pool"))
        if pool:
            changes["pool"] = pool
        without = UNSUPPORTED.get(pool or queue.pool, ())
        concurrency = self.number("CELERY_WORKER_CONCURRENCY", 1, 1024)
        if concurrency and (pool or queue.pool) != "solo":
            self._sources["queues", name, "concurrency"] = "CELERY_WORKER_CONCURRENCY"
            changes |= {"concurrency": concurrency, "autoscale": None}
        for variable, key in (
            ("CELERY_WORKER_PREFETCH_MULTIPLIER", "prefetch"),
            ("CELERY_WORKER_MAX_TASKS_PER_CHILD", "max_tasks_per_child"),
            ("CELERY_WORKER_MAX_MEMORY_PER_CHILD", "max_memory_per_child"),
        ):
            number = self.number(variable, 1)
            if number and key not in without:  # Celery counts this one in kibibytes
                self._sources["queues", name, key] = variable
                changes[key] = number * 1024 if key == "max_memory_per_child" else number
        if (word := (self.get("TUNDISH_SCALE_TO_ZERO") or "").lower()) in _YES_OR_NO:
            self._sources["queues", name, "scale_to_zero"] = "TUNDISH_SCALE_TO_ZERO"
            changes["scale_to_zero"] = _YES_OR_NO[word]
        elif word:
            self.problem("TUNDISH_SCALE_TO_ZERO", f"{word!r} is not one of {', '.join(_YES_OR_NO)}")
        if queue.grace is not None and self.get("TUNDISH_GRACE") not in (None, "auto"):
            changes["grace"] = None  # the environment speaks to all queues
        written = {key: getattr(queue, key) for key in queue.model_fields_set}
        try:
            return Queue(**{**written, **changes})
        except ValidationError as error:
            found = error.errors()[0]
            self.problem(f"CELERY_WORKER_{found['loc'][0]!s}".upper(), f"{found['msg']}, found {found['input']!r}")
            return queue

    def outbox(self, written: OutboxSpec | None) -> OutboxSpec:
        """The outbox as the environment wants it: `auto` switches it on where the file says nothing of it."""
        if written:  # `outbox: true` stands for {enabled: true}, and a mapping means it, too
            self._sources.setdefault(("outbox", "enabled"), self._sources["outbox",])
        word = (self.get("TUNDISH_OUTBOX") or "").lower()
        if word in _OUTBOX and not (word == "auto" and written):
            self._sources["outbox", "enabled"] = "TUNDISH_OUTBOX"
            return (written or OutboxSpec()).model_copy(update={"enabled": _OUTBOX[word]})
        if word not in ("", *_OUTBOX):
            self.problem("TUNDISH_OUTBOX", f"{word!r} is not one of {', '.join(_OUTBOX)}")
        return written or OutboxSpec(enabled=False)

    def grace(self, written: float | None) -> float:
        """How long running work may go on, as the environment wants it: `auto` is for `tundish up`."""
        word = self.get("TUNDISH_GRACE") or ""
        if word == "auto":
            return UP_GRACE_SECONDS if written is None else written
        found = self.duration("TUNDISH_GRACE")
        if found is not None:
            self._sources["grace",] = "TUNDISH_GRACE"
            return found
        return GRACE_SECONDS if written is None else written

    def backend(self, written: Backend) -> Backend:
        """What runs the models, as the environment wants it."""
        word = self.get("TUNDISH_BACKEND", path=("backend",))
        if word is None:
            return written
        if word not in get_args(Backend):
            self.problem("TUNDISH_BACKEND", f"{word!r} is not one of {', '.join(get_args(Backend))}")
            return written
        if word != "auto" and (why := backends.trouble(word)):
            self.problem("TUNDISH_BACKEND", why)
        return cast("Backend", word)

    def overrides(self) -> dict[str, Any]:
        """The plain settings that the environment may give."""
        level = (self.get("CELERY_LOG_LEVEL", path=("log_level",)) or "").upper() or None
        if level and level not in _LEVELS:
            self.problem("CELERY_LOG_LEVEL", f"{level!r} is not one of {', '.join(_LEVELS)}")
        description = self.get("TUNDISH_DESCRIPTION")
        values = {
            "host": self.get("TUNDISH_HOST", path=("host",)),
            "port": self.number("TUNDISH_PORT", 0, 65535, path=("port",)),
            "log_level": level,
            "description": Path(description) if description else None,
            "callback_secret": self._callback_secret(),
            "access": access(self.get, self.problem),
        }
        return {key: value for key, value in values.items() if value is not None}

    def _callback_secret(self) -> str | None:
        secret = self.get("TUNDISH_CALLBACK_SECRET", path=("callback_secret",))
        try:
            key_of(secret or "")
        except ValueError as error:
            self.problem("TUNDISH_CALLBACK_SECRET", str(error))
        return secret


def connect(environment: Environment) -> dict[str, Any]:
    """Broker, result backend, store and event token; empty where the environment names none."""
    broker = environment.get("CELERY_BROKER_URL", "REDIS_URL", path=("broker_url",)) or ""
    if sentinel.is_sentinel(broker):
        try:
            sentinel.parse(broker)
        except sentinel.BadAddress as error:
            environment.problem("CELERY_BROKER_URL", str(error))
    elif broker and urlsplit(broker).scheme not in ("redis", "rediss", "unix"):
        scheme = urlsplit(broker).scheme
        mend = "write redis:// (Valkey speaks it too)" if scheme == "valkey" else "Tundish runs on Redis or Valkey"
        mend = sentinel.mend(scheme) if sentinel.SCHEME in scheme else mend
        environment.problem("CELERY_BROKER_URL", f"{scheme or 'an address without a scheme'} is not supported; {mend}")
    backend = environment.get("CELERY_RESULT_BACKEND", path=("result_backend",)) or broker
    address = environment.get("MINIO_ENDPOINT", path=("store", "endpoint")) or ""
    secure = (environment.get("MINIO_SECURE", path=("store", "secure")) or "").lower() in ("1", "true", "yes", "on")
    if "://" in address:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or parts.path.strip("/"):
            environment.problem("MINIO_ENDPOINT", "must be host:port or http(s)://host:port, without a path")
        secure = parts.scheme == "https" if environment.get("MINIO_SECURE") is None else secure
        address = parts.netloc
    keys = {name: environment.get(f"MINIO_{name.upper()}") or "" for name in ("access_key", "secret_key")}
    for name, value in keys.items():
        if address and not value:
            environment.problem(
                f"MINIO_{name.upper()}", f"is not set, but MINIO_ENDPOINT is ({address}); set both keys"
            )
    store = StoreSettings(
        endpoint=address,
        secure=secure,
        region=environment.get("MINIO_REGION", "AWS_REGION") or "us-east-1",
        bucket=environment.get("TUNDISH_BUCKET", path=("store", "bucket")) or "tundish",
        **keys,
    )
    token = environment.get("TUNDISH_EVENT_TOKEN") or ""
    return {"broker_url": broker, "result_backend": backend, "store": store, "event_token": token}
