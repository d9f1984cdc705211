"""Celery's own worker with our wrapper and keeper, made from a queue's settings."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import warnings
from typing import Any

from celery import Celery, signals

from runtime import leash, presence
from runtime.app import create_app
from runtime.broker import connect
from runtime.config import Queue, Settings
from runtime.deployment import Deployment
from runtime.errors import TundishError
from runtime.keeper import Keeper
from runtime.loader import prepare_path
from runtime.task import Runner, register_tasks

_PREFORK = "runtime.prefork:TaskPool"


def equip(app: Celery, deployment: Deployment, worker: str, queue: str | None = None, *, lean: bool = False) -> Keeper:
    """Give an app the functions, the wrapper and the keeper of a worker named `worker` (`queue@host`).

    The functions of `queue` are loaded at once, those of other queues when they are called. `lean` as in create_app.
    """
    from runtime.ports import PortsMaker

    settings = deployment.settings
    client = connect(settings.broker_url)
    keeper = Keeper(client, deployment, worker)
    app.tundish_guard = keeper
    if lean:
        from runtime.channel_step import Receiving

        app.tundish_receiver = keeper.receiver
        app.steps["consumer"].add(Receiving)
    runner = Runner(client, deployment, worker, PortsMaker(client, deployment))
    if queue:
        runner.load(queue)
    register_tasks(app, deployment, runner)

    def ready(**_: Any) -> None:
        keeper.presence.set(ready=True)

    def stopping(**_: Any) -> None:
        keeper.receiver.stopping = True
        keeper.presence.set(ready=False, detail="stopping")

    def forked(**_: Any) -> None:
        leash.hold_child(os.environ)

    signals.worker_process_init.connect(forked, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(stopping, weak=False)
    return keeper


def options(settings: Settings, queue: Queue) -> dict[str, Any]:
    """A queue's keys as Celery's worker names them. Memory is counted in kibibytes there."""
    result: dict[str, Any] = {
        "pool": _PREFORK if queue.pool == "prefork" else queue.pool,
        "concurrency": queue.concurrency,
        "prefetch_multiplier": queue.prefetch,
        "loglevel": settings.log_level,
        "without_gossip": True,
        "without_mingle": True,
        "quiet": True,
    }
    if queue.autoscale:
        least, most = queue.autoscale
        result |= {"autoscale": (most, least), "concurrency": max(least, 1)}
    if queue.max_tasks_per_child:
        result["max_tasks_per_child"] = queue.max_tasks_per_child
    if queue.max_memory_per_child:
        result["max_memory_per_child"] = queue.max_memory_per_child // 1024
    return result


def serve(settings: Settings, deployment: Deployment, queue_name: str, name: str | None = None) -> int:
    """Run a worker in this process; the exit code. Raises TundishError where there is nothing to serve."""
    queue = settings.project.queues.get(queue_name)
    if queue is None:
        raise TundishError(f"There is no queue {queue_name}; functions.yaml has {', '.join(settings.project.queues)}.")
    if not settings.broker_url:
        raise TundishError("There is no broker: set CELERY_BROKER_URL, or start one with `tundish up`.")
    if settings.broker_url.startswith("unix:"):
        raise TundishError("A worker reaches its broker by redis:// or rediss://, not by a Unix socket.")
    wanted = name or f"{queue_name}@{socket.gethostname()}"
    worker = presence.own_name(connect(settings.broker_url), "worker", wanted)
    prepare_path(settings.root)
    for library in queue.preload:  # before the fork, so that the children share the pages
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise TundishError(f"queues.{queue_name}.preload: {library} cannot be imported: {error}") from error
    _hush(settings.log_level)
    lean = queue.channel == "lean"
    app = create_app(settings, lean=lean)
    keeper = equip(app, deployment, worker, queue_name, lean=lean)
    keeper.start()
    celery_worker = app.Worker(hostname=worker, queues=[queue_name], **options(settings, queue))
    most = queue.autoscale[1] if queue.autoscale else celery_worker.concurrency
    keeper.presence.tell(queue=queue_name, pool=queue.pool, concurrency=1 if queue.pool == "solo" else most)
    celery_worker.start()
    keeper.stop()
    code: int | None = celery_worker.exitcode
    return code or 0


def _hush(level: str) -> None:
    """One line an invocation is enough: the wrapper's. Celery's own come back with CELERY_LOG_LEVEL=DEBUG."""
    if level != "DEBUG":
        for name in ("celery.worker.strategy", "celery.app.trace", "celery.worker.consumer.connection"):
            logging.getLogger(name).setLevel(logging.WARNING)
    # In a container the worker is root of nothing but itself.
    warnings.filterwarnings("ignore", module="celery.worker.consumer")
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
