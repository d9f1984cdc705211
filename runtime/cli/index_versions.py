"""`tundish index versions|build|rollback|release`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from runtime.cli import complete

BUILD = "build_index"
_COLUMNS = ("generation", "version", "state", "made", "documents", "vectors", "MiB", "model")
_MOST = 1000

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_index = click.option(
    "--index", "name", default="default", show_default=True, help="Which index.", shell_complete=complete.indexes
)


@click.command()
@_index
@click.option("--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, help="At most so many.")
@_json
@click.pass_obj
def versions(environ: Mapping[str, str], name: str, limit: int, as_json: bool) -> None:
    """List the versions that are still stored, the newest first."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    told = find(environ).get("/admin/index/versions", index=name, limit=str(limit))
    if as_json:
        print_json(told)
    elif told["versions"]:
        print_table(_COLUMNS, map(_row, told["versions"]))
    else:
        click.echo(f"Index {name} has no version yet: put a file in with `tundish put FILE`.")


@click.command()
@_index
@_json
@click.pass_obj
def build(environ: Mapping[str, str], name: str, as_json: bool) -> None:
    """Publish a version with everything that is embedded, now: calls the function build_index and waits."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    told = find(environ).post(f"/function/{BUILD}", {"index": name})
    if as_json:
        print_json(told)
        return
    word = "published" if told["published"] else "nothing new since"
    click.echo(f"index {name}: {word} version {told['version']} (generation {told['generation']})")
    for warning in told["warnings"]:
        click.echo(f"tundish: {warning}", err=True)


@click.command()
@click.argument("version")
@_index
@_json
@click.pass_obj
def rollback(environ: Mapping[str, str], version: str, name: str, as_json: bool) -> None:
    """Answer from an older VERSION again (its generation, or its label), and hold it.

    Nothing that is built meanwhile is published until `tundish index release`.
    """
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    client = find(environ)
    known = client.get("/admin/index/versions", index=name, limit=str(_MOST))["versions"]
    told = client.post("/admin/index/rollback", {"index": name, "generation": _generation(known, version, name)})
    if as_json:
        print_json(told)
        return
    click.echo(f"index {name}: generation {told['restores']} is back, as version {told['version']}")
    click.echo(f"It is held: new documents are not published before `tundish index release{_named(name)}`.")


@click.command()
@_index
@_json
@click.pass_obj
def release(environ: Mapping[str, str], name: str, as_json: bool) -> None:
    """Let builds of an index go on after a rollback, and bring what was held back."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    told = find(environ).post("/admin/index/release", {"index": name})
    if as_json:
        print_json(told)
    elif not told["released"]:
        click.echo(f"index {name} was not held")
    else:
        build = f"; the build is {told['task_id']}" if told["task_id"] else "; to build now: tundish index build"
        click.echo(f"index {name}: builds go on{build}")


def _generation(known: Iterable[Mapping[str, Any]], wanted: str, name: str) -> int:
    """The generation that a number or a label means. Raises TundishError."""
    from runtime.errors import TundishError

    for one in known:
        if wanted in (str(one["generation"]), one["version"]):
            return int(one["generation"])
    raise TundishError(
        f"Index {name} has no version {wanted} any more. Those that are stored: tundish index versions{_named(name)}"
    )


def _named(name: str) -> str:
    return "" if name == "default" else f" --index {name}"


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    from runtime.cli.task_output import when

    state = "held" if one["held"] else ""
    if one["restores"] is not None:
        state = f"{state} {one['restores']} again".strip()
    return (
        str(one["generation"]),
        one["version"],
        state,
        when(one["created"]),
        str(one["documents"]),
        str(one["vectors"]),
        f"{one['bytes'] / 2**20:.1f}",
        one["model"],
    )
