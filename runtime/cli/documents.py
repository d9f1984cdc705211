"""`tundish rm` and `search`."""

from __future__ import annotations

from collections.abc import Mapping

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
