"""The Celery app, made from settings."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Queue

from runtime import keys, sentinel
from runtime.config.settings import Project, Settings
from runtime.invocations.blobs import Blobs

LEAN = "runtime.worker.channel_transport:Transport"
LEAN_SENTINEL = "runtime.worker.channel_sentinel:Transport"
_RECORDS = "runtime.worker.result_backend:RecordBackend"
_RECORDS_SENTINEL = "runtime.worker.result_backend:SentinelRecordBackend"


def create_app(settings: Settings, *, lean: bool = False, blobs: Blobs | None = None) -> Celery:
    """An app for workers, `celery inspect`, Flower and other programs. It knows queues and routes, not functions.

    `lean` takes messages as a worker of ours does (runtime/worker/channel.py); every other program uses kombu's own
    channel. With `blobs` the app can fetch results that are too large for a record.
    """
    found = sentinel.parse(settings.broker_url) if sentinel.is_sentinel(settings.broker_url) else None
    address = found.celery_url() if found else settings.broker_url
    app = Celery("tundish", broker=address, backend=_backend(settings), set_as_current=False)
    app.backend_cls = _backend(settings)  # else Celery takes CELERY_RESULT_BACKEND as it is, which `tundish env` sets
    app.tundish_records, app.tundish_blobs = settings.broker_url, blobs
    project = settings.project
    first = next(iter(project.queues), "default")
    app.conf.update(
        task_serializer="msgpack",
        result_serializer="json",
        accept_content=["msgpack", "json"],
        task_queues=[Queue(name) for name in project.queues],
        task_default_queue=first,
        task_routes={name: {"queue": function.queue} for name, function in project.functions.items()},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_store_eager_result=False,
        result_expires=3600,
        broker_read_url=address,  # else Celery takes CELERY_BROKER_URL as it is, which may be written in our way
        broker_write_url=address,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=project.broker.retry_on_startup,
        broker_connection_max_retries=None,
        broker_transport=(LEAN_SENTINEL if found else LEAN) if lean else None,
        # Kombu takes this from the URL for its own transports only, and then without checking the certificate.
        broker_use_ssl={"ssl_cert_reqs": "required"} if settings.broker_url.startswith("rediss:") else False,
        broker_transport_options={**transport_options(project), **(found.celery_options() if found else {})},
        result_backend_transport_options={
            "socket_timeout": 10.0,
            "retry_policy": {"timeout": 5.0},
            **_result_options(settings),
        },
        enable_utc=True,
        timezone="UTC",
        **({"broker_pool_limit": project.broker.pool} if project.broker.pool else {}),
    )
    return app


def _result_options(settings: Settings) -> dict[str, Any]:
    url = settings.result_backend
    return sentinel.parse(url).celery_options() if sentinel.is_sentinel(url) else {}


def _backend(settings: Settings) -> str:
    """Results are read from our records; where they are to be kept in another kind of database, from there alone."""
    url = settings.result_backend
    if sentinel.is_sentinel(url):
        return f"{_RECORDS_SENTINEL}+{sentinel.parse(url).celery_url()}"
    return f"{_RECORDS}+{url}" if url.startswith(("redis://", "rediss://")) else url


def transport_options(project: Project) -> dict[str, Any]:
    """How kombu uses Redis here: ten priorities, queues in turn within a priority, no early redelivery."""
    return {
        "queue_order_strategy": "round_robin",
        "priority_steps": list(keys.PRIORITY_STEPS),
        "sep": keys.PRIORITY_SEPARATOR,
        "visibility_timeout": visibility_timeout(project),
        "socket_timeout": 30.0,
        "socket_connect_timeout": 5.0,
        # On or off: how often is a mapping of numbers, which no answer of `inspect stats` could carry. HEALTH_SECONDS
        # finds a dead connection sooner.
        "socket_keepalive": bool(project.broker.keepalive),
        "health_check_interval": HEALTH_SECONDS,
    }


HEALTH_SECONDS = 5
"""A pop that has not been answered for so much longer than it may take is on a connection that leads nowhere: a host
that was cut off works again so soon after it is back, and does not wait until the broker sends its answer once more."""


NO_LIMIT_SECONDS = 86_400.0
"""What is assumed of a function without a timeout."""

CELERY_PREFETCH = 4
"""Messages that Celery's own worker takes for each of its processes when nothing else is said."""


def visibility_timeout(project: Project) -> int:
    """Seconds after which kombu's stock channel hands an unacknowledged message out again.

    Kombu sets this clock when a worker receives a message and never renews it. So it covers the longest way to the
    acknowledgement: behind the others that the same process has received, each running for its whole timeout, and
    the longest pause of a retry. One that is too short costs no second run (the claim sees to that), but copies that
    are of no use. What a dead worker held comes back through the reaper, in seconds.
    """
    functions, queues = project.functions.values(), project.queues.values()
    longest = max((function.timeout or NO_LIMIT_SECONDS for function in functions), default=3600.0)
    pause = max((function.retries.max_backoff for function in functions), default=0.0)
    ahead = max([CELERY_PREFETCH, *(queue.prefetch for queue in queues)])
    return int(longest * ahead + pause + 3600)
