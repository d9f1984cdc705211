"""`tundish index`: the version in use, and whether it agrees with its buckets."""

from __future__ import annotations

from typing import Any

import click

from runtime.cli import complete, index_migrate, index_verify, index_versions
from runtime.cli.groups import hand_down

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(invoke_without_command=True)
@click.option(
    "--index", "name", default="default", show_default=True, help="Which index.", shell_complete=complete.indexes
)
@_json
@click.pass_context
def index(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show the current version of an index and its size."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    if hand_down(ctx):
        return
    told: dict[str, Any] = find(ctx.obj).get("/admin/index-version", index=name)
    if as_json:
        print_json(told)
        return
    newest = told.get("newest")
    if not newest:
        click.echo(f"Index {name} is empty: put a file in with `tundish put FILE`.")
        return
    behind = "the newest version cannot be loaded" if told.get("trouble") else "a newer version is being loaded"
    state = "up to date" if told["up_to_date"] else behind
    state = "held by a rollback" if newest["held"] and told["up_to_date"] else state
    click.echo(f"index {name}: version {told['version']} (generation {told['generation']}), {state}")
    click.echo(f"{newest['documents']} documents, {newest['vectors']} vectors of {newest['dimensions']} dimensions")
    click.echo(f"{newest['bytes'] / 2**20:.1f} MiB, {newest['kind']}, model {newest['model']}")
    if newest["held"]:
        click.echo(
            f"It is held at generation {newest['restores']}; builds go on with: tundish index release --index {name}"
        )
    if told["advice"] != "fine":
        urgency = f"{told['migration_urgency']:.0f} of 100"
        click.echo(f"It grows large for one machine (urgency {urgency}): {told['advice']} a larger engine.")
    if told.get("next_step"):
        click.echo(told["next_step"])
    if capacity := told.get("capacity"):  # a gateway of an older release does not tell
        _print_capacity(capacity)
    if words := told.get("words"):
        _print_words(words)
    if told.get("trouble"):
        click.echo(f"trouble: {told['trouble']}\nmend it with: tundish index verify --repair --index {name}", err=True)


index.add_command(index_versions.versions)
index.add_command(index_versions.build)
index.add_command(index_versions.rollback)
index.add_command(index_versions.release)
index.add_command(index_verify.verify)
index.add_command(index_migrate.migrate)


def _print_words(words: dict[str, int]) -> None:
    having, segments = words["with_words"], words["segments"]
    if having == segments:
        click.echo("hybrid: texts are found by meaning and by words")
        return
    click.echo(f"hybrid: {having} of {segments} segments have words; to bring the others theirs: tundish index build")


def _print_capacity(capacity: dict[str, Any]) -> None:
    p99 = capacity["search_p99_ms"]
    basis = f"measured: p99 {p99} ms now" if p99 is not None else "estimated"
    click.echo(
        f"this machine has memory for about {capacity['vectors_in_memory']:,} such vectors, and searches "
        f"{capacity['vectors_in_time']:,} within 100 ms ({basis})"
    )
    click.echo(f"next step: {capacity['next_step']}")
