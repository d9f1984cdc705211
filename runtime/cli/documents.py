"""`tundish rm` and `search`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.cli.client import Client

_ANSWER_SECONDS = 30.0

_index = click.option(
    "--index", "name", default="default", show_default=True, help="Which index.", shell_complete=complete.indexes
)
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--bucket", default="documents", show_default=True, shell_complete=complete.buckets)
@_json
@click.pass_obj
def rm(environ: Mapping[str, str], keys: tuple[str, ...], bucket: str, as_json: bool) -> None:
    """Remove objects. They leave the index a moment later."""
    from runtime.cli.client import Refused, find, object_path
    from runtime.cli.output import print_json

    client, removed, refused = find(environ), list[str](), dict[str, str]()
    for key in keys:
        try:
            client.call("HEAD", object_path("buckets", bucket, key))  # a name that is wrong should not look removed
            client.call("DELETE", object_path("buckets", bucket, key))
        except Refused as error:  # the others are removed all the same
            if error.exit_code != 1:
                raise
            refused[key] = _missing(client, bucket, key) if error.status == 404 else str(error)
            click.echo(f"tundish: {key}: {refused[key]}", err=True)
            continue
        removed.append(key)
        if not as_json:
            click.echo(f"removed {bucket}/{key}")
    if as_json:
        print_json({"bucket": bucket, "removed": removed, "refused": refused})
    if refused:
        raise SystemExit(1)


def _missing(client: Client, bucket: str, key: str) -> str:
    """What is not there: the answer to a HEAD has no words, that to a GET tells of a bucket that is missing."""
    from runtime.cli.client import Refused, object_path

    try:
        with client.stream(object_path("buckets", bucket, key), {}, _ANSWER_SECONDS):
            pass
    except Refused as error:
        if error.status == 404 and str(error).startswith("There is no bucket"):
            return f"there is no bucket {bucket}"
    return f"there is no such object in the bucket {bucket}"


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("-k", "count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many answers.")
@click.option("--bucket", multiple=True, help="Only objects of this bucket.", shell_complete=complete.buckets)
@click.option("--prefix", multiple=True, help="Only keys that begin so.")
@click.option("--type", "kind", multiple=True, help="Only this content type; text/* for all of a kind.")
@click.option("--since", help="Only objects stored since then: 7d, or 2026-03-01T12:00:00Z.")
@click.option("--until", help="Only objects stored until then.")
@click.option(
    "--meta",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only objects with this metadata; numbers from and to as year=2020..2024.",
)
@click.option("--min-score", type=click.FloatRange(-1, 1), help="The least score of a result.")
@click.option("--group", is_flag=True, help="Every document once, with its best passage.")
@click.option(
    "--mode",
    type=click.Choice(["vector", "text", "hybrid"]),
    help="By meaning, by words, or by both, which is the default of an index with words.",
)
@_index
@_json
@click.pass_obj
def search(
    environ: Mapping[str, str], /, text: tuple[str, ...], count: int, name: str, as_json: bool, **limits: Any
) -> None:
    """Search the indexed documents by meaning. An option that is given several times takes one or the other."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json
    from runtime.cli.searching import ask, limited, lines

    query = " ".join(text)
    asked = limited(limits)
    answer = ask(find(environ), query, count, name, asked)
    if as_json:
        print_json(answer)
        return
    for line in lines(answer, query):
        click.echo(line)
    if not answer["results"] and asked.keys() & {"filter", "min_score"}:
        click.echo("Nothing was found that passes all these options.", err=True)
    elif not answer["results"]:
        click.echo("Nothing is indexed yet: put a file in with `tundish put FILE`.", err=True)
