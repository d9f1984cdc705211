"""`tundish gateway|worker|beat|triggers`: each part alone, for systems that are spread over several hosts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runtime.child import Spec
    from runtime.config import Settings
    from runtime.parts import Parts

_file = click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
_home = click.option(
    "--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file)."
)


@click.command()
@_file
@_home
@click.option("--host", help="Address to listen on; loopback only, as there is no authentication yet.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8000; 0: a free one).")
@click.pass_obj
def gateway(
    environ: Mapping[str, str], file: Path | None, home: Path | None, host: str | None, port: int | None
) -> None:
    """Run the HTTP gateway, with the embedder that turns its queries into vectors."""
    from runtime.address import check_address, taken

    settings = check_address(_settings(environ, file, home, host, port))

    def specs(parts: Parts) -> list[Spec]:
        # One embedder serves every gateway of a state folder.
        return [parts.gateway()] if taken(settings.embedder_socket) else [parts.gateway(), parts.embedder()]

    _supervise(settings, environ, specs)


@click.command()
@_file
@_home
@click.option("-Q", "--queue", help="Serve this queue only, in this process.")
@click.option("-n", "--name", help="Node name of that worker; default QUEUE@HOST.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 1024), help="How many calls run at once.")
@click.pass_obj
def worker(
    environ: Mapping[str, str],
    file: Path | None,
    home: Path | None,
    queue: str | None,
    name: str | None,
    concurrency: int | None,
) -> None:
    """Run one worker per queue; with -Q the worker of that queue."""
    environ = {**environ, **({"CELERY_WORKER_CONCURRENCY": str(concurrency)} if concurrency else {})}
    settings = _settings(environ, file, home)
    if queue:
        from runtime.parts import Parts, any_generation

        spec = Parts(settings, environ).worker(queue, any_generation()) if queue in settings.project.queues else None
        if spec is None:
            raise click.UsageError(f"There is no queue {queue}; there is {', '.join(settings.project.queues)}.")
        argv = [*spec.argv[:-1], name] if name else list(spec.argv)
        os.execve(sys.executable, argv, {**spec.environ})  # noqa: S606 - our own interpreter
    _supervise(settings, environ, lambda parts: parts.workers())


@click.command()
@_file
@_home
@click.pass_obj
def beat(environ: Mapping[str, str], file: Path | None, home: Path | None) -> None:
    """Run the schedules. A second one beside the first does no harm: each tick is claimed once."""
    _supervise(_settings(environ, file, home), environ, lambda parts: [parts.beat()])


@click.command()
@_file
@_home
@click.pass_obj
def triggers(environ: Mapping[str, str], file: Path | None, home: Path | None) -> None:
    """Run the bucket triggers."""
    settings = _settings(environ, file, home, store=True)
    _supervise(settings, environ, lambda parts: [parts.triggers()])


def _settings(
    environ: Mapping[str, str],
    file: Path | None,
    home: Path | None,
    host: str | None = None,
    port: int | None = None,
    *,
    store: bool = False,
) -> Settings:
    """Settings of a part, which needs a broker, and perhaps a store, that run already."""
    from runtime.config_load import load_settings
    from runtime.errors import TundishError

    settings = load_settings(environ, file=file, home=home, host=host, port=port)
    needed = {"CELERY_BROKER_URL": settings.broker_url}
    if store:
        needed["MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY"] = settings.store.endpoint
    missing = [variables for variables, value in needed.items() if not value]
    if missing:
        raise TundishError(
            f"This part needs what is not named: set {' and '.join(missing)}, or start the whole system "
            "with `tundish up` (a part started beside it finds them by itself)."
        )
    return settings


def _supervise(settings: Settings, environ: Mapping[str, str], make: Callable[[Parts], list[Spec]]) -> None:
    from runtime import gates
    from runtime.console import Console
    from runtime.parts import Parts
    from runtime.supervisor import Supervisor

    def direct(supervisor: Supervisor) -> None:
        gates.wait_for(supervisor, lambda: gates.broker_problem(settings, environ))
        specs = make(Parts(settings, environ))
        supervisor.wait_ready([supervisor.start(spec) for spec in specs])
        supervisor.console.say("Ready. Ctrl-C stops it.")

    sys.exit(Supervisor(Console(sys.stdout, environ)).run(direct))
