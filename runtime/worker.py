"""A worker: `python -m runtime.worker -Q QUEUE [-n NAME]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runtime import leash, logs
from runtime.config_load import load_settings
from runtime.deployment import load_deployment
from runtime.errors import TundishError


@click.command()
@click.option("-Q", "--queue", "queue_name", required=True, help="The queue to serve.")
@click.option("-n", "--name", help="Node name; default QUEUE@HOST.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 1024), help="How many calls run at once; default from the YAML."
)
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml.")
def main(queue_name: str, name: str | None, concurrency: int | None, file: Path | None) -> None:
    """Serve one queue until told to stop."""
    # A flag wins over the environment. The other queues that hear of it have no worker here.
    flags = {"CELERY_WORKER_CONCURRENCY": str(concurrency)} if concurrency else {}
    environ = {**os.environ, **flags}
    try:
        settings = load_settings(environ, file=file)
        queue = settings.project.queues.get(queue_name)
        if queue and queue.pool == "gevent":
            _patch()
        leash.hold(os.environ)
        logs.setup("worker", settings.log_level)
        from runtime.celery_worker import serve  # only now: gevent must come before what it patches

        sys.exit(serve(settings, load_deployment(settings, environ), queue_name, name))
    except TundishError as error:
        click.echo(f"tundish worker: {error}", err=True)
        sys.exit(2)


def _patch() -> None:
    """Make waiting cooperative in this process."""
    from gevent import monkey

    monkey.patch_all()


if __name__ == "__main__":
    main()
