"""`tundish up`: the whole system in one go. What is not configured elsewhere is started here."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runtime.callers import admin_key
from runtime.checks.deployment_check import misfits
from runtime.config import snapshot
from runtime.config.load import Loaded
from runtime.deployment import environments
from runtime.deployment.deployment import Deployment, build_deployment, describe_project, described
from runtime.deployment.describers import Describers
from runtime.errors import ConfigError, ServiceFailed, TundishError
from runtime.host.free_ports import Ports
from runtime.processes.child import Child, Spec
from runtime.processes.supervisor import Supervisor
from runtime.system import gates, home, parts, services
from runtime.system.start_gate import Gate

DESCRIPTION = "functions.json"
_SLOW_START_SECONDS = 60.0
_FIRST_SECONDS = 5.0
"""How long the other parts let those go first that answer calls."""

_OTHERS_SECONDS = 2.0
"""How long those with a model let the rest go first."""


class House:
    """Starts everything in order and keeps the list of what runs. `direct` runs in the supervisor's director thread."""

    def __init__(
        self, loaded: Loaded, environ: Mapping[str, str], supervisor: Supervisor, ports: Ports, gate: Gate
    ) -> None:
        self.settings, self._sources = loaded.settings, loaded.sources
        self.environ, self.supervisor, self._ports, self._gate = environ, supervisor, ports, gate
        self.began = time.time()
        self.console = supervisor.console
        self.workers: dict[str, Child] = {}
        self.front: dict[str, Child] = {}
        self.parts: parts.Parts
        self.deployment: Deployment
        # On a broker of somebody else another system may serve the same queues.
        self._generation = parts.any_generation() if self.settings.broker_url else 1
        self.describers = Describers(self.console.say)
        self.describers.overtaken = supervisor.stopping
        self.description = self.settings.home / DESCRIPTION
        self._began = time.monotonic()

    def start(self) -> None:
        """Returns when everything works but the search for texts, whose model takes longest to load.

        Raises ServiceFailed, ConfigError, HandlerError, Stopping.
        """
        started = self._services()
        self.deployment = self.describe(Loaded(self.settings, self._sources))  # while the services start
        snapshot.discard(self.description)
        self.prepare(self.deployment)
        self.commit()
        for name, deployed in self.deployment.functions.items():
            if deployed.error:
                self.console.say(f"Function {name} is not available: {deployed.error}")
        self.parts = parts.Parts(self.settings, self.environ)
        for words in admin_key.greeting(self.settings):
            self.console.say(words)
        first = self._start_first() if started else []  # they import while the services start
        self._wait_services(started)
        home.announce(self.settings.home, parts.gateway_url(self.settings), parts.connections(self.settings))
        self._buckets()
        self._gate.open()
        self._start_others(first or self._start_first())
        self._wait([child for name, child in self.front.items() if name != "embedder"] + [*self.workers.values()])
        self.console.say(f"Documents and calls are taken at {parts.gateway_url(self.settings)} …")

    def finish(self) -> None:
        """Returns when the embedder has its model, too: now every request is answered. Raises Stopping."""
        self._wait([self.front["embedder"]])
        self.console.say(
            f"Ready after {time.monotonic() - self._began:.1f} s: {parts.gateway_url(self.settings)} "
            f"({len(self.deployment.functions)} functions, {len(self.workers)} workers). Ctrl-C stops it."
        )

    def describe(self, loaded: Loaded) -> Deployment:
        """Describe the functions in a child process; keep the description in memory only.

        Raises HandlerError, and ConfigError for what `tundish check` refuses. A handler that does not load is told by
        its `error`.
        """
        settings = loaded.settings
        deployment = build_deployment(
            settings, describe_project(settings, self.environ, self.console.say, self.describers.ask)
        )
        if problems := misfits(deployment, loaded.sources):
            raise ConfigError(problems)
        return deployment

    def prepare(self, deployment: Deployment) -> None:
        """Make a deployment the one that workers read which start from now on."""
        self.deployment, self.settings = deployment, deployment.settings
        snapshot.prepare(self.description, self.settings.project, described(deployment))
        if hasattr(self, "parts"):
            self.parts = parts.Parts(self.settings, self.environ)

    def commit(self) -> None:
        """Make it the one that everybody reads. Only when workers are there that know its functions."""
        snapshot.commit(self.description)
        environments.sweep(self.settings)

    def tell(self) -> None:
        """Have those who send calls read the deployment."""
        for name in ("gateway", "triggers", "beat"):
            self.supervisor.signal(self.front[name], signal.SIGHUP)

    def new_shifts(self, queues: Iterable[str], timeout: float) -> list[str]:
        """Have the workers of these queues replace their code: libraries and models stay loaded.

        Returns the queues where the new code did not come up; the old one goes on there.
        """
        children = {queue: self.workers[queue] for queue in sorted(queues)}
        before = {queue: (child.said, child.pid) for queue, child in children.items()}
        for child in children.values():
            self.supervisor.signal(child, signal.SIGHUP)
        return [queue for queue, child in children.items() if not self._came(child, *before[queue], timeout)]

    def _came(self, child: Child, said: str, pid: int, timeout: float) -> bool:
        """Whether new code runs: the parent says so, or was just started again and has read it by itself."""
        answer = self.supervisor.wait_said(child, said, timeout)
        if answer or child.pid == pid:
            return answer.startswith("ready")
        return self.supervisor.wait_ready([child], timeout)

    def new_workers(self, queues: Iterable[str], timeout: float) -> list[str]:
        """Start a worker for each queue, and retire the one before only when the new one has answered.

        Returns the queues whose new worker did not come up; the old one stays.
        """
        self._generation += 1
        started = {queue: self.supervisor.start(self.parts.worker(queue, self._generation)) for queue in sorted(queues)}
        failed = []
        for queue, child in started.items():
            if not self.supervisor.wait_ready([child], timeout, patient=False):
                self.supervisor.discard(child)
                failed.append(queue)
                continue
            if old := self.workers.get(queue):
                self.supervisor.retire(old)
            self.workers[queue] = child
        return failed

    def gone(self) -> set[str]:
        """Queues whose worker was asked to leave, and has."""
        return {queue for queue, child in self.workers.items() if child.state == "left"}

    def close(self) -> None:
        """End what the supervisor does not."""
        self.describers.close()
        self._gate.open()

    def drop_worker(self, queue: str) -> None:
        self.supervisor.retire(self.workers.pop(queue))

    def _services(self) -> list[Child]:
        """Start what the environment does not name, and complete the settings."""
        settings, changes = self.settings, dict[str, Any]()
        credentials = services.load_credentials(settings.home)
        if settings.event_token:
            credentials = replace(credentials, event_token=settings.event_token)
        ports = self._ports
        made: list[services.Service] = []
        if not settings.broker_url:
            valkey, url = services.valkey(settings.home, ports, credentials, durability=settings.project.durability)
            made.append(valkey)
            changes |= {"broker_url": url, "result_backend": settings.result_backend or url}
        if not settings.store.endpoint:
            events = f"{parts.gateway_url(settings)}/events/seaweedfs"
            weed, store = services.seaweedfs(settings.home, ports, credentials, events_url=events)
            made.append(weed)
            changes["store"] = store.model_copy(update={"bucket": settings.store.bucket})
        ports.save()
        changes |= {"event_token": credentials.event_token, "description": self.description}
        self.settings = settings.model_copy(update=changes)
        return [self.supervisor.start(parts.service(service, settings.home)) for service in made]

    def _wait_services(self, started: list[Child]) -> None:
        """Our own must answer soon; for those of others we wait as long as it takes."""
        if not self.supervisor.wait_ready(started, _SLOW_START_SECONDS):
            raise ServiceFailed(f"A service did not start; its log is in {self.settings.home / 'logs'}.")
        own = {child.spec.name for child in started}
        if "valkey" not in own:
            gates.wait_for(self.supervisor, lambda: gates.broker_problem(self.settings, self.environ))
        if "seaweedfs" not in own:
            gates.wait_for(self.supervisor, lambda: gates.store_problem(self.settings))

    def _start_first(self) -> list[Child]:
        """Start what answers calls. It waits at the gate until broker and store work."""
        queues = [name for name in self.settings.project.queues if name not in self._heavy()]
        specs = {"gateway": self.parts.gateway(), **{name: self._worker_spec(name) for name in queues}}
        held = {name: replace(spec, environ={**spec.environ, **self._gate.environ}) for name, spec in specs.items()}
        made = {name: self.supervisor.start(spec) for name, spec in held.items()}
        self.front["gateway"] = made.pop("gateway")
        self.workers |= made
        return [self.front["gateway"], *made.values()]

    def _start_others(self, first: list[Child]) -> None:
        """What answers calls comes first, and models come last: otherwise all share the processors with the imports of
        everybody else."""
        others = [self.parts.triggers(), self.parts.beat()]
        heavy = [self.parts.embedder(), *(self._worker_spec(name) for name in self._heavy())]
        crowded = len(first) > 1 and len(first) + len(others) + len(heavy) > (os.cpu_count() or 1)
        if crowded:
            self.supervisor.wait_ready(first, _FIRST_SECONDS)
        started = [self._front(spec) for spec in others]
        if crowded:
            self.supervisor.wait_ready(started, _OTHERS_SECONDS)
        self._front(heavy[0])
        for name, spec in zip(self._heavy(), heavy[1:], strict=True):
            self.workers[name] = self.supervisor.start(spec)

    def _heavy(self) -> list[str]:
        """The queues whose workers hold models or libraries."""
        queues = self.settings.project.queues.items()
        return [name for name, queue in queues if queue.preload_model or queue.preload]

    def _worker_spec(self, queue: str) -> Spec:
        return self.parts.worker(queue, self._generation)

    def _front(self, spec: Spec) -> Child:
        self.front[spec.name] = self.supervisor.start(spec)
        return self.front[spec.name]

    def _buckets(self) -> None:
        """The watched buckets and our own exist before anybody asks for them."""
        from runtime.store.port import MinioStore

        store = MinioStore(self.settings.store)
        for bucket in dict.fromkeys((self.settings.store.bucket, *self.settings.project.buckets())):
            try:
                store.ensure_bucket(bucket)
            except TundishError as error:  # the rest works without it
                self.console.say(f"The bucket {bucket} cannot be made: {error}")

    def _wait(self, children: list[Child]) -> None:
        while not self.supervisor.wait_ready(children, _SLOW_START_SECONDS):
            missing = ", ".join(child.spec.name for child in children if child.state != "ready")
            self.console.say(f"Still waiting for: {missing}")
