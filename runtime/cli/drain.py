"""`tundish drain`: let queues rest, and wait until nothing runs in them any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.cli.client import Client

_POLL_SECONDS = 0.2
_LINE_SECONDS = 10.0
_STATS = "/api/v1/tasks/queue/stats"
_REASON = "drained"


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...", shell_complete=complete.queues)
@click.option("--timeout", default="10m", show_default=True, help="How long to wait: 30s, 10m, 1h.")
@click.option("--yes", is_flag=True, help="Do not ask, on a terminal, whether all queues are meant.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def drain(environ: Mapping[str, str], queues: tuple[str, ...], timeout: str, yes: bool, as_json: bool) -> None:
    """Let QUEUEs (or all of them) rest and wait until nothing runs in them, before work on a host.

    What is accepted meanwhile waits, until `tundish resume queue QUEUE...`. Exit code 1: something still runs.
    """
    from runtime.cli.asking import insist
    from runtime.cli.client import find
    from runtime.cli.output import print_json
    from runtime.values.units import parse_duration

    try:
        patience = parse_duration(timeout)
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from error
    client = find(environ)
    names = list(dict.fromkeys(queues)) or [one["queue"] for one in client.get(_STATS)["queues"]]
    if not (queues or yes) and sys.stdin.isatty():
        insist(f"Let all queues rest ({', '.join(names)})?")
    for name in names:
        client.post("/admin/pause", {"kind": "queue", "name": name, "reason": _REASON})
    on = f"To go on: tundish resume queue {' '.join(names)}"
    try:
        left = _wait(client, names, patience)
    except KeyboardInterrupt:
        click.echo(f"The queues rest all the same. {on}", err=True)
        raise SystemExit(130) from None
    running = sum(one["running"] for one in left)
    waiting = sum(one["queued"] + one["parked"] for one in left)
    if as_json:
        told = [{name: one[name] for name in ("queue", "running", "queued", "parked", "paused")} for one in left]
        print_json({"drained": not running, "queues": told})
    elif not running:
        click.echo(f"Nothing runs in {', '.join(names)}; {waiting} calls wait. {on}")
    if running:
        click.echo(f"tundish: {running} calls still run: tundish tasks --state running. {on}", err=True)
        raise SystemExit(1)


def _wait(client: Client, names: Sequence[str], patience: float) -> list[dict[str, Any]]:
    """The queues when nothing runs in them, or when patience has ended."""
    from runtime.cli.display import Display

    began, said = time.monotonic(), 0.0
    most = 0
    with Display() as display:
        while True:
            left = [one for one in client.get(_STATS)["queues"] if one["queue"] in names]
            running = sum(one["running"] for one in left)
            if not running or time.monotonic() - began > patience:
                return left
            most = max(most, running)
            display.progress({"done": most - running, "total": most, "message": f"{running} calls still run"})
            if not display.draws and time.monotonic() - said > _LINE_SECONDS:
                said = time.monotonic()
                display.line(f"{running} calls still run")
            time.sleep(_POLL_SECONDS)
