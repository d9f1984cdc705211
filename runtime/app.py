"""The Celery app, made from settings."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Queue

from runtime import keys
from runtime.config import Project, Settings


def create_app(settings: Settings) -> Celery:
    """An app for workers, `celery inspect`, Flower and other programs. It knows queues and routes, not functions."""
    app = Celery("tundish", broker=settings.broker_url, backend=settings.result_backend, set_as_current=False)
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
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(project),
        result_backend_transport_options={"socket_timeout": 10.0, "retry_policy": {"timeout": 5.0}},
        enable_utc=True,
        timezone="UTC",
    )
    return app


def transport_options(project: Project) -> dict[str, Any]:
    """How kombu uses Redis here: ten priorities, lists served strictly in their order, no early redelivery."""
    return {
        "queue_order_strategy": "priority",
        "priority_steps": list(keys.PRIORITY_STEPS),
        "sep": keys.PRIORITY_SEPARATOR,
        "visibility_timeout": visibility_timeout(project),
        "socket_timeout": 30.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def visibility_timeout(project: Project) -> int:
    """Seconds after which kombu hands an unacknowledged message out again.

    Longer than any attempt can take: kombu sets the clock at delivery and never renews it, so a shorter one runs
    long tasks twice. What a dead worker held comes back through the reaper, in seconds.
    """
    longest = max((function.timeout or 86_400.0 for function in project.functions.values()), default=3600.0)
    return int(longest * 2 + 3600)
