"""What is examined: a project, its broker, its store and its processes, each asked for when a check needs it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import redis

from runtime.broker import connection as broker
from runtime.broker import presence
from runtime.config.load import Loaded, load
from runtime.config.settings import Settings, StoreSettings
from runtime.deployment.deployment import Deployment, build_deployment, describe_project
from runtime.doctor.finding import CannotTell
from runtime.errors import ConfigError, HandlerError
from runtime.host.alive import alive
from runtime.host.state_folder import places
from runtime.store import library as store_library
from runtime.system.gates import broker_problem, store_problem

START = "start it with `tundish up`"


HELLO_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Greeting:
    """When the store was asked and when it answered, by this host's clock; its Date, where it told one."""

    asked: float
    answered: float
    date: str
    stuck: bool = False


@dataclass(frozen=True)
class Patient:
    """Nothing is looked at before it is asked for, and everything once. `clock` is that of this host."""

    environ: Mapping[str, str]
    file: Path | None = None
    home_folder: Path | None = None
    clock: Callable[[], float] = time.time
    model_folder: Path | None = None
    """Where the model is; None: where its package has it."""

    @cached_property
    def home(self) -> Path:
        """The state folder, which may not be there."""
        return places(self.file, self.home_folder, self.environ)[1]

    @cached_property
    def run(self) -> Mapping[str, Any]:
        """`run.json` of the state folder: pid and url of the `tundish up` that runs, or ran, here."""
        try:
            found = json.loads((self.home / "run.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def running(self) -> bool:
        """Whether the process that wrote `run.json` is alive."""
        pid = self.run.get("pid")
        return isinstance(pid, int) and alive(pid)

    @cached_property
    def loaded(self) -> Loaded:
        """Raises ConfigError."""
        return load(self.environ, file=self.file, home=self.home_folder)

    @cached_property
    def settings(self) -> Settings:
        """Without the addresses of a system that is gone. Raises CannotTell."""
        try:
            settings, sources = self.loaded.settings, self.loaded.sources
        except ConfigError as error:
            raise CannotTell("functions.yaml or the environment has errors") from error
        if self.run and not self.running:
            if sources.get(("broker_url",), "").startswith("run.json"):
                settings = settings.model_copy(update={"broker_url": "", "result_backend": ""})
            if sources.get(("store", "endpoint"), "").startswith("run.json"):
                settings = settings.model_copy(update={"store": StoreSettings(bucket=settings.store.bucket)})
        return settings

    @cached_property
    def deployment(self) -> Deployment:
        """The functions as they are on disk now, in the environments that are made. Raises CannotTell."""
        settings = self.settings
        try:
            return build_deployment(settings, describe_project(settings, self.environ, make=False))
        except HandlerError as error:
            raise CannotTell(str(error)) from error

    @cached_property
    def broker_trouble(self) -> str | None:
        """What keeps the broker from being used. Raises CannotTell where none is named."""
        if not self.settings.broker_url:
            raise CannotTell(f"no system runs on {self.home}, and CELERY_BROKER_URL names no broker; {START}")
        return broker_problem(self.settings, self.environ)

    @cached_property
    def broker(self) -> redis.Redis:
        """Raises CannotTell where it does not answer."""
        if self.broker_trouble:
            raise CannotTell("the broker does not answer")
        return broker.connect(self.settings.broker_url)

    @cached_property
    def server(self) -> Mapping[str, Any]:
        """What the broker says of itself (INFO). Raises CannotTell."""
        found: Any = self.broker.info("everything")
        return dict(found)

    @cached_property
    def store(self) -> StoreSettings:
        """Raises CannotTell where no store is named."""
        if not self.settings.store.endpoint:
            raise CannotTell(f"no system runs on {self.home}, and MINIO_ENDPOINT names no store; {START}")
        return self.settings.store

    @cached_property
    def greeting(self) -> Greeting | None:
        """The store's answer to anybody; None where nobody listens. Raises CannotTell where no store is named."""
        store_library.load()
        import urllib3

        url = f"{'https' if self.store.secure else 'http'}://{self.store.endpoint}/"
        before = self.clock()
        try:
            answer = urllib3.request("GET", url, retries=False, timeout=HELLO_SECONDS, preload_content=False)
        except urllib3.exceptions.TimeoutError:
            return Greeting(before, self.clock(), "", stuck=True)
        except (urllib3.exceptions.HTTPError, ValueError):
            return None
        answer.close()
        return Greeting(before, self.clock(), answer.headers.get("Date", ""))

    @cached_property
    def store_trouble(self) -> str | None:
        """What keeps the store from being used. Raises CannotTell where none is named."""
        if self.greeting and self.greeting.stuck:
            return (
                f"The store at {self.store.endpoint} did not answer within {HELLO_SECONDS:g} s. Check MINIO_ENDPOINT, "
                "and whether the S3 server is stuck."
            )
        return store_problem(self.settings)

    @cached_property
    def processes(self) -> list[presence.Process]:
        """Every part that is alive, on any host. Raises CannotTell where none is."""
        found = presence.read(self.broker)
        if not found:
            raise CannotTell(f"no part of the system runs; {START}")
        return found
