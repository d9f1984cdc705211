"""The functions of a deployment as tasks of a Celery app, each around the one wrapper (runtime/attempts/task.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery, Task

from runtime.attempts.task import Runner
from runtime.deployment.deployment import Deployment
from runtime.errors import TundishError
from runtime.worker.invocation_request import REQUEST


def register_tasks(app: Celery, deployment: Deployment, runner: Runner | None) -> None:
    """Register every function of the deployment under its key in functions.yaml. Without a runner: names only."""
    for name, deployed in deployment.functions.items():
        spec = deployed.spec
        app.task(
            _body(name, runner),
            name=name,
            bind=True,
            base=_RecordedTask,
            shared=False,
            typing=False,
            time_limit=spec.timeout,
            soft_time_limit=spec.soft_timeout,
            queue=spec.queue,
        )


class _RecordedTask(Task):  # type: ignore[misc]
    abstract = True
    Request = REQUEST
    acks_late = True
    reject_on_worker_lost = True
    max_retries = None
    # The wrapper has logged and recorded the failure; Celery need not print the traceback again.
    throws = (Exception,)


def _body(name: str, runner: Runner | None) -> Callable[..., Any]:
    def body(self: Any, *args: Any, **kwargs: Any) -> Any:
        if runner is None:
            raise TundishError(f"{name} runs in a worker of Tundish; send it with apply_async or send_task")
        raised = getattr(self.request, "raised", None)
        if raised is not None:  # it has run, on the short way (runtime/worker/short_way.py)
            raise raised
        return runner.run(name, self.request, args, kwargs)

    body.__name__ = "body"  # Celery compiles it; the task goes by its own name, which need not be an identifier
    return body
