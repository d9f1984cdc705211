"""Celery's own worker with our wrapper and keeper, made from a queue's settings."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from celery.bootsteps import StartStopStep
from celery.utils.log import get_multiprocessing_logger
from celery.worker import state
from celery.worker.components import Pool
from celery.worker.control import control_command, nok, ok

from runtime.attempts.attempt import Written
from runtime.attempts.ending import Ending
from runtime.attempts.task import Runner
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.broker.quick_client import quick
from runtime.config.settings import Queue, Settings
from runtime.deployment.deployment import Deployment, Follower
from runtime.deployment.loader import prepare_path
from runtime.errors import TundishError
from runtime.host import leash
from runtime.worker.app import create_app
from runtime.worker.celery_tasks import register_tasks
from runtime.worker.endings import Endings
from runtime.worker.keeper import Keeper
from runtime.worker.leaving import Leaving
from runtime.worker.meters import Meters
from runtime.worker.scaling import COMMAND, Scaling

if TYPE_CHECKING:
    from runtime.attempts.tally import Tally
    from runtime.embedding.library import Library

_PREFORK = "runtime.worker.prefork:TaskPool"


class Keeping(StartStopStep):  # type: ignore[misc]
    """Starts the keeper's threads when the pool has forked.

    A child inherits the lock of a module that another thread is just importing, and waits for it for ever: the first
    look-up of an address imports one (encodings.idna), and that is the first thing these threads do.
    """

    requires = (Pool,)

    def start(self, parent: Any) -> None:
        parent.app.tundish_guard.start()
        parent.app.tundish_meters.start()


def equip(
    app: Celery,
    deployment: Deployment,
    worker: str,
    queue: str | None = None,
    *,
    lean: bool = False,
    models: Library | None = None,
    pid: int | None = None,
    tally: Tally | None = None,
) -> Keeper:
    """Give an app the functions, the wrapper and the keeper of a worker named `worker` (`queue@host`).

    The functions of `queue` are loaded at once, those of other queues when they are called. `lean` as in create_app.
    `models`: those that this process has loaded already. `pid`: the process to be signalled, where it is not this one.
    `tally`: the one that the worker before this one wrote into.
    """
    from runtime.attempts.ports import PortsMaker

    settings = deployment.settings
    client = connect(settings.broker_url, settings.project.broker)
    follower = Follower(deployment, queue)
    meters = Meters(client, deployment, worker, queue, tally, running=lambda: len(state.active_requests))
    keeper = Keeper(client, deployment, worker, follower, pid, meters)
    app.tundish_guard, app.tundish_meters = keeper, meters
    app.steps["worker"].add(Keeping)
    ports = PortsMaker(client, deployment, models)
    runner = Runner(quick(client), deployment, worker, ports, follower, queue, meters.ended)
    if queue:
        runner.load(queue)
    register_tasks(app, deployment, runner)
    if lean:
        from runtime.worker.channel_step import Receiving

        app.tundish_runner, app.tundish_receiver = runner, keeper.receiver
        app.steps["consumer"].add(Receiving)
        prefork = bool(queue) and settings.project.queues[str(queue)].pool == "prefork"
        if prefork and settings.project.broker.pool is None:  # else its connections are counted

            def ended(ending: Ending, written: Written) -> None:
                runner.ended(ending, written)
                if written.parent or written.gates:
                    keeper.errands.put(lambda: runner.after(ending, written))

            keeper.receiver.taking.oldest = _oldest
            app.tundish_endings = keeper.endings = Endings(client, ended)

    app.tundish_version = keeper.receiver.taking.version = runner.version
    app.tundish_scaling = Scaling(keeper.presence.resize)
    leaving = Leaving(keeper)

    def ready(**_: Any) -> None:
        leaving.listen()
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Celery would start this program anew; it is for the parent
        keeper.presence.set(ready=True)

    def stopping(**_: Any) -> None:
        keeper.receiver.stopping = True
        keeper.presence.set(ready=False, detail="stopping")
        meters.close()

    def forked(**_: Any) -> None:
        leash.hold_child(os.environ)
        meters.forked()

    def ending(**_: Any) -> None:
        runner.tracing.flush()

    app.tundish_tracing = runner.tracing
    signals.worker_process_init.connect(forked, weak=False)
    signals.worker_process_shutdown.connect(ending, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(stopping, weak=False)
    return keeper


@control_command(name=COMMAND, args=[("size", int)], signature="N")  # type: ignore[untyped-decorator]
def scale(state: Any, size: int = 1, **_: Any) -> Any:
    """Run N calls at once (runtime/worker/scaling.py)."""
    if state.consumer.controller.autoscaler:
        return nok("it grows and shrinks by itself (autoscale)")
    before, after = state.app.tundish_scaling.to(state.consumer, size)
    return ok({"before": before, "after": after})


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


def serve(
    deployment: Deployment,
    queue_name: str,
    name: str,
    *,
    models: Library | None = None,
    pid: int | None = None,
    ready: Callable[[], None] = lambda: None,
    tally: Tally | None = None,
) -> int:
    """Run a worker in this process; the exit code. `ready` is called when it takes messages.

    Raises TundishError where there is nothing to serve.
    """
    settings = deployment.settings
    queue = settings.project.queues.get(queue_name)
    if queue is None:
        raise TundishError(f"There is no queue {queue_name}; functions.yaml has {', '.join(settings.project.queues)}.")
    if not settings.broker_url:
        raise TundishError("There is no broker: set CELERY_BROKER_URL, or start one with `tundish up`.")
    if settings.broker_url.startswith("unix:"):
        raise TundishError("A worker reaches its broker by redis:// or rediss://, not by a Unix socket.")
    worker = presence.own_name(connect(settings.broker_url), "worker", name, pid)
    prepare_path(settings.root)
    _hush(settings.log_level)
    signals.setup_logging.connect(_joined, weak=False)
    lean = queue.channel == "lean"
    app = create_app(settings, lean=lean)
    keeper = equip(app, deployment, worker, queue_name, lean=lean, models=models, pid=pid, tally=tally)
    signals.worker_ready.connect(lambda **_: ready(), weak=False)
    celery_worker = app.Worker(hostname=worker, queues=[queue_name], **options(settings, queue))
    most = queue.autoscale[1] if queue.autoscale else celery_worker.concurrency
    size = 1 if queue.pool == "solo" else most
    keeper.presence.tell(queue=queue_name, pool=queue.pool, concurrency=size, version=app.tundish_version)
    celery_worker.start()
    if keeper.endings:
        keeper.endings.close()  # if it was stopped while it had no connection
    keeper.stop()
    app.tundish_tracing.flush()
    code: int | None = celery_worker.exitcode
    return code or 0


class _Gone(logging.Filter):
    """Calls of a function that functions.yaml no longer has: Celery says at length that it throws them away, but their
    records are kept, and the upkeep decides what becomes of them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "unregistered task" in record.getMessage():
            record.msg, record.args, record.exc_info = (
                "a call of a function that is gone waits for it to return",
                (),
                None,
            )
        return True


def _oldest() -> float:
    """How long the oldest call has run that runs here, in seconds."""
    now = time.time()
    return max((now - (request.time_start or now) for request in list(state.active_requests)), default=0.0)


def _joined(**_: Any) -> None:
    """Celery sets no handlers of its own up: its loggers, those of tasks too, write where all of this process do."""
    pools = get_multiprocessing_logger()
    pools.handlers[:] = logging.getLogger().handlers
    pools.setLevel(logging.ERROR)


def _hush(level: str) -> None:
    """One line an invocation is enough: the wrapper's. Celery's own come back with CELERY_LOG_LEVEL=DEBUG."""
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_Gone())
    if level != "DEBUG":
        for name in ("celery.worker.strategy", "celery.app.trace", "celery.worker.consumer.connection"):
            logging.getLogger(name).setLevel(logging.WARNING)
    # In a container the worker is root of nothing but itself.
    warnings.filterwarnings("ignore", module="celery.worker.consumer")
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
