"""`tundish index migrate`: another embedding model or engine for an index, while the old one answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.cli.client import Client

_POLL_SECONDS = 0.5
_PATH = "/admin/index/migration"


@click.command()
@click.option("--model", help="The model, by its name in functions.yaml.")
@click.option("--engine", type=click.Choice(["faiss", "qdrant"]), help="The engine; nothing is embedded again.")
@click.option(
    "--recall",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="With --engine: the least share of the ten nearest chunks that it must find before it answers.",
)
@click.option(
    "--index", "name", default="default", show_default=True, help="Which index.", shell_complete=complete.indexes
)
@click.option("--status", is_flag=True, help="Show how far the newest migration is, and begin none.")
@click.option("--cancel", is_flag=True, help="End it; the index keeps its model.")
@click.option("--no-wait", is_flag=True, help="Begin it and return.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def migrate(
    environ: Mapping[str, str],
    model: str | None,
    engine: str | None,
    recall: float,
    name: str,
    status: bool,
    cancel: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Embed every document again with another model, or bring the index to another engine, then switch over at once.

    The old version answers and takes new documents until the new one is complete. What was done is kept: begun again
    after whatever happened, it goes on where it was. `tundish index rollback` goes back.
    """
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    if sum((model is not None, engine is not None, status, cancel)) != 1:
        raise click.UsageError("Give one of --model, --engine, --status and --cancel.")
    client = find(environ)
    if cancel:
        told = client.post("/admin/index/migrate/cancel", {"index": name})
        word = "is cancelled; the index keeps its model" if told["cancelled"] else "was not under way"
        print_json(told) if as_json else click.echo(f"index {name}: the migration {word}")
        return
    if status:
        told = client.get(_PATH, index=name)
        print_json(told) if as_json else click.echo(_line(name, told["migration"]))
        return
    wanted = {"model": model} if model else {"engine": engine, "recall": recall}
    begun = client.post("/admin/index/migrate", {"index": name, **wanted})
    if no_wait:
        print_json(begun) if as_json else click.echo(f"index {name}: {begun['task_id']} brings it to {model or engine}")
        return
    found = _followed(client, name, begun["task_id"])
    print_json(found) if as_json else click.echo(_line(name, found))
    if found["state"] != "done":
        raise SystemExit(1)


def _followed(client: Client, name: str, run: str) -> dict[str, Any]:
    """The migration when it has ended, however it did."""
    from runtime.cli.display import Display

    with Display() as display:
        try:
            while True:
                found: dict[str, Any] = client.get(_PATH, index=name)["migration"] or {}
                if found.get("run") != run:
                    return {**found, "state": "cancelled", "message": "another one has begun"}
                if found["state"] != "running":
                    return found
                display.progress({**found, "message": "batches"})
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            display.clear()
            click.echo("It goes on: tundish index migrate --status, or --cancel to end it.", err=True)
            raise


def _line(name: str, found: Mapping[str, Any] | None) -> str:
    if not found:
        return f"index {name}: no migration was ever begun"
    seconds = f"{found['updated'] - found['began']:.0f} s"
    done = f"{found['done']} of {found['total']} batches in {seconds}"
    words = {"running": f"on its way to {found['model']}: {done}", "done": f"now {_now(found['model'])} ({done})"}
    line = words.get(found["state"], f"the migration to {found['model']} {found['state']} at {done}")
    return f"index {name}: {line}" + (f". {found['message']}" if found["message"] else "")


def _now(name: str) -> str:
    return f"answered by {name}" if name in ("faiss", "qdrant") else f"made with {name}"
