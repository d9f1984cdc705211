"""`tundish rm`, `search`, `index` and `buckets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_index = click.option("--index", "name", default="default", show_default=True, help="Which index.")
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--bucket", default="documents", show_default=True)
@click.pass_obj
def rm(environ: Mapping[str, str], keys: tuple[str, ...], bucket: str) -> None:
    """Remove objects. They leave the index a moment later."""
    from runtime.cli.client import Refused, find, object_path

    client, failed = find(environ), False
    for key in keys:
        try:
            client.call("HEAD", object_path("buckets", bucket, key))  # a name that is wrong should not look removed
            client.call("DELETE", object_path("buckets", bucket, key))
            click.echo(f"removed {bucket}/{key}")
        except Refused as error:  # the others are removed all the same
            text = f"there is no such object in the bucket {bucket}" if error.status == 404 else str(error)
            click.echo(f"tundish: {key}: {text}", err=True)
            failed = True
    if failed:
        raise SystemExit(1)


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("-k", "count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many answers.")
@_index
@_json
@click.pass_obj
def search(environ: Mapping[str, str], text: tuple[str, ...], count: int, name: str, as_json: bool) -> None:
    """Search the indexed documents by meaning."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json
    from runtime.cli.searching import ask, lines

    query = " ".join(text)
    answer = ask(find(environ), query, count, name)
    if as_json:
        print_json(answer)
        return
    for line in lines(answer, query):
        click.echo(line)
    if not answer["results"]:
        click.echo("Nothing is indexed yet: put a file in with `tundish put FILE`.", err=True)


@click.command()
@_index
@_json
@click.pass_obj
def index(environ: Mapping[str, str], name: str, as_json: bool) -> None:
    """Show the current version of an index and its size."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    told: dict[str, Any] = find(environ).get("/admin/index-version", index=name)
    if as_json:
        print_json(told)
        return
    newest = told.get("newest")
    if not newest:
        click.echo(f"Index {name} is empty: put a file in with `tundish put FILE`.")
        return
    state = "up to date" if told["up_to_date"] else "a newer version is being loaded"
    click.echo(f"index {name}: version {told['version']} (generation {told['generation']}), {state}")
    click.echo(f"{newest['documents']} documents, {newest['vectors']} vectors of {newest['dimensions']} dimensions")
    click.echo(f"{newest['bytes'] / 2**20:.1f} MiB, {newest['kind']}, model {newest['model']}")
    if told.get("trouble"):
        click.echo(f"trouble: {told['trouble']}", err=True)


@click.group()
def buckets() -> None:
    """Answer for the buckets."""


@buckets.command()
@click.argument("bucket")
@_json
@click.pass_obj
def confirm(environ: Mapping[str, str], bucket: str, as_json: bool) -> None:
    """Say that the sudden loss of most of BUCKET is meant: its documents then leave the index."""
    from urllib.parse import quote

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
