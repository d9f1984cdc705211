"""`tundish up`: the whole system in one command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runtime.config.load import Loaded
    from runtime.system.house import House


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--host", help="Address to listen on (default 127.0.0.1); on others every request needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the gateway (default 8000; 0: a free one).")
@click.option("--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file).")
@click.option("--reload/--no-reload", default=True, help="Follow changes of functions.yaml and code (default: yes).")
@click.option(
    "--seed", type=click.Path(path_type=Path, exists=True), multiple=True, help="Index this and show answers."
)
@click.option("--demo", is_flag=True, help="Index docs/, show answers to a real query, and end.")
@click.pass_obj
def up(
    environ: Mapping[str, str],
    file: Path | None,
    host: str | None,
    port: int | None,
    home: Path | None,
    reload: bool,
    seed: tuple[Path, ...],
    demo: bool,
) -> None:
    """Start broker, store, gateway, triggers, beat, embedder and one worker per queue, and keep them running.

    Broker and store are started here unless CELERY_BROKER_URL and MINIO_ENDPOINT name others.
    """
    from runtime.config import load as config_load
    from runtime.host import open_files
    from runtime.host.state_folder import places
    from runtime.processes.console import Console
    from runtime.system.run import run

    open_files.allow_many()
    # A system in one piece takes calls while its broker restarts, and stops soon, unless the file says otherwise.
    environ = {"TUNDISH_OUTBOX": "auto", "TUNDISH_GRACE": "auto", **environ}
    file, home = places(file, home, environ)
    console = Console(sys.stdout, environ)

    def show(running: House) -> None:
        from runtime.cli import demo as shown

        answered = shown.show(running, list(seed) or [running.settings.root / "docs"])
        if demo:
            running.supervisor.stop(0 if answered else 1)

    def follow(running: House) -> None:
        from runtime.system.watching import Watching

        Watching(running, files=reload).run()

    def load() -> Loaded:
        return config_load.load(environ, file=file, home=home, host=host, port=port)

    started = show if seed or demo else None
    sys.exit(run(load, home, environ, console, started=started, ready=follow))
