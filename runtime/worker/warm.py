"""What a worker holds before it forks: libraries and the model, never code of the project."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from runtime.config.settings import Queue, Settings
from runtime.errors import TundishError

if TYPE_CHECKING:
    from runtime.embedding.library import Library

# What a worker would import one by one while its first call waits: found by comparing sys.modules at both ends.
_OURS = (
    "billiard.heap",
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "billiard.synchronize",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.app.routes",
    "celery.apps.worker",
    "celery.backends.base",
    "celery.concurrency.prefork",
    "celery.events.dispatcher",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.autoscale",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "encodings.idna",  # what the first look-up of an address imports, whichever thread makes it
    "kombu.pidbox",
    "kombu.transport.redis",
    "redis._parsers.hiredis",
    "runtime.worker.celery_worker",
    "runtime.worker.channel",
    "runtime.worker.channel_step",
    "runtime.attempts.ports",
    "runtime.worker.prefork",
    "runtime.store.port",
)


def warm(name: str, queue: Queue, settings: Settings) -> Library | None:
    """Import what the workers of a queue need; the models, the default one loaded, where the queue asks for them.

    Raises TundishError for a library that cannot be imported.
    """
    for module in _OURS:
        importlib.import_module(module)
    for library in queue.preload:
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise TundishError(f"queues.{name}.preload: {library} cannot be imported: {error}") from error
    if not queue.preload_model:
        return None
    from runtime.embedding import behind
    from runtime.embedding import library as libraries

    models = libraries.library(settings)
    models.prepare()
    behind.begin(models.all())  # its children go by it when it is known, and the next start
    return models
