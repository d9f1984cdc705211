"""`tundish gateway|worker|beat|triggers`: each part alone, for systems that are spread over several hosts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.config.settings import Settings
    from runtime.processes.child import Child, Spec
    from runtime.processes.supervisor import Supervisor
    from runtime.system.parts import Parts

_file = click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
_home = click.option(
    "--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file)."
)


@click.command()
@_file
@_home
@click.option("--host", help="Address to listen on (default 127.0.0.1); on others every request needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8000; 0: a free one).")
@click.pass_obj
def gateway(
    environ: Mapping[str, str], file: Path | None, home: Path | None, host: str | None, port: int | None
) -> None:
    """Run the HTTP gateway, with the embedder that turns its queries into vectors."""
    from runtime.callers import admin_key
    from runtime.host.free_ports import Ports
    from runtime.system.address import check_address, taken

    settings = _settings(environ, file, home, host, port)
    ports = Ports(settings.home)  # holds the gateway's port until the end of this function
    settings = check_address(settings, ports)
    for words in admin_key.greeting(settings):
        click.echo(words)

    # One embedder serves every gateway of a state folder. Asked once: after a reload it would be our own that answers.
    other = taken(settings.embedder_socket)

    def specs(parts: Parts) -> list[Spec]:
        return [parts.gateway()] if other else [parts.gateway(), parts.embedder()]

    _supervise(settings, environ, specs)


@click.command()
@_file
@_home
@click.option("-Q", "--queue", help="Serve this queue only, in this process.", shell_complete=complete.queues)
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
    from runtime.deployment import environments

    environments.prepare_all(settings, click.echo)
    if queue:
        from runtime.system.gates import insist_on_broker
        from runtime.system.parts import Parts, any_generation

        insist_on_broker(settings, environ)
        spec = Parts(settings, environ).worker(queue, any_generation()) if queue in settings.project.queues else None
        if spec is None:
            raise click.UsageError(f"There is no queue {queue}; there is {', '.join(settings.project.queues)}.")
        argv = [*spec.argv[:-1], name] if name else list(spec.argv)
        os.execve(spec.argv[0], argv, {**spec.environ})  # noqa: S606 - our own interpreter
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
    from runtime.config.load import load_settings
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
    from runtime.processes.console import Console
    from runtime.processes.supervisor import Supervisor
    from runtime.system import gates
    from runtime.system.parts import Parts

    def direct(supervisor: Supervisor) -> None:
        gates.wait_for(supervisor, lambda: gates.broker_problem(settings, environ))
        children = {spec.name: supervisor.start(spec) for spec in make(Parts(settings, environ))}
        supervisor.wait_ready(children.values())
        supervisor.console.say("Ready. Ctrl-C stops it.")
        while True:
            supervisor.wait_asked()
            _reload(supervisor, children, settings, environ, make)

    gates.insist_on_broker(settings, environ)
    console = Console(sys.stdout, environ)
    console.json = settings.logs.format == "json"
    sys.exit(Supervisor(console).run(direct))


def _reload(
    supervisor: Supervisor,
    children: dict[str, Child],
    settings: Settings,
    environ: Mapping[str, str],
    make: Callable[[Parts], list[Spec]],
) -> None:
    """SIGHUP: have every child read everything anew; workers of new queues come, those of removed ones go.

    A worker whose queue has another environment now is replaced.
    """
    from runtime.config.load import load_settings
    from runtime.deployment import environments
    from runtime.errors import TundishError
    from runtime.system.parts import Parts

    try:
        now = load_settings(environ, file=settings.file, home=settings.home, host=settings.host, port=settings.port)
    except TundishError as error:
        supervisor.console.say(f"Not taken over, everything keeps running as it was.\n{error}")
        return
    environments.prepare_all(now, supervisor.console.say)
    wanted = {spec.name: spec for spec in make(Parts(now, environ))}
    for name, child in list(children.items()):
        if name in wanted and wanted[name].argv[0] == child.spec.argv[0]:
            continue
        supervisor.retire(children.pop(name))
    for name, spec in wanted.items():
        if name in children:
            supervisor.signal(children[name], signal.SIGHUP)
        else:
            children[name] = supervisor.start(spec)
    supervisor.console.say("Everybody reads functions.yaml and the code anew.")
