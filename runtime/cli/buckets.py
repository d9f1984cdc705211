"""`tundish buckets list|wire|confirm|failed|events`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from runtime.cli import complete
from runtime.cli.groups import hand_down
from runtime.cli.wire import wire

if TYPE_CHECKING:
    from runtime.cli.client import Client

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_limit = click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many."
)
_COUNT_SECONDS = 300.0


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def buckets(ctx: click.Context, as_json: bool) -> None:
    """Show the bucket triggers, wire the store, and look at what failed."""
    if not hand_down(ctx):
        ctx.invoke(list_, as_json=as_json)


buckets.add_command(wire)


@buckets.command("list")
@_json
@click.pass_obj
def list_(environ: Mapping[str, str], as_json: bool = False) -> None:
    """Show how every bucket trigger is doing.

    What wakes it, its objects by state, the calls that are out, its last complete listing.
    """
    from runtime.cli import bucket_output
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    found = find(environ).call("GET", "/admin/buckets", timeout=_COUNT_SECONDS).json()["triggers"]
    if as_json:
        print_json({"triggers": found})
        return
    if not found:
        click.echo("No function has a bucket trigger.")
        return
    print_table(bucket_output.TRIGGERS, map(bucket_output.trigger, found))
    for line in (line for one in found for line in bucket_output.notes(one)):
        click.echo(line)


@buckets.command()
@click.argument("bucket", shell_complete=complete.buckets)
@_json
@click.pass_obj
def confirm(environ: Mapping[str, str], bucket: str, as_json: bool) -> None:
    """Confirm that a sudden loss is meant.

    Most of BUCKET is gone, and that is right: its documents then leave the index.
    """
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    told = find(environ).call("POST", f"/admin/buckets/{quote(bucket, safe='')}/confirm").json()
    if as_json:
        print_json(told)
    elif not told["confirmed"]:
        click.echo(f"Nothing in {bucket} waits for a confirmation.")
    else:
        for hold in told["confirmed"]:
            click.echo(
                f"confirmed: {hold['count']} of {hold['known']} objects of {bucket} are gone ({hold['trigger']})"
            )


@buckets.command()
@click.argument("bucket", required=False, shell_complete=complete.buckets)
@click.option("--prefix", default="", help="Only keys that begin with it.")
@_limit
@_json
@click.pass_obj
def failed(environ: Mapping[str, str], bucket: str | None, prefix: str, limit: int, as_json: bool) -> None:
    """List objects that failed for good.

    Those of BUCKET or of all, with etag and reason. They are tried again when they change, and by
    `tundish dead redrive` or `tundish replay --failed`.
    """
    from runtime.cli import bucket_output
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    asked = {"status": "failed", "prefix": prefix} | ({"bucket": bucket} if bucket else {})
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in _pages(find(environ), asked):
        found[one["trigger"], one["key"]] = one
        if len(found) == limit:
            break
    rows = sorted(found.values(), key=lambda one: (one["bucket"], one["key"]))
    if as_json:
        print_json({"documents": rows})
    elif not rows:
        click.echo("No object has failed.")
    else:
        print_table(bucket_output.FAILED, map(bucket_output.failure, rows))


@buckets.command()
@click.option("--purge", is_flag=True, help="Throw them away.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_limit
@_json
@click.pass_obj
def events(environ: Mapping[str, str], purge: bool, yes: bool, limit: int, as_json: bool) -> None:
    """List notifications of no use.

    The newest first. Nothing is lost by them: the listing finds what they were about.
    """
    from runtime.cli import bucket_output
    from runtime.cli.asking import insist
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    client, path = find(environ), "/admin/events/dead"
    if purge:
        if not yes:
            insist("Throw all unusable notifications away?")
        told = client.call("DELETE", path).json()
        print_json(told) if as_json else click.echo(f"{told['purged']} thrown away")
        return
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < limit:
        page = client.get(path, limit=str(min(200, limit - len(found))), **({"cursor": cursor} if cursor else {}))
        found, cursor = found + page["events"], page["cursor"]
    if as_json:
        print_json({"events": found})
    elif not found:
        click.echo("Every notification could be used.")
    else:
        print_table(bucket_output.LETTERS, map(bucket_output.letter, found))


def _pages(client: Client, asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("/documents", **asked, **({"cursor": cursor} if cursor else {}))
        yield from page["documents"]
        cursor = page["cursor"]
