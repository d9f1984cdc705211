"""`tundish buckets wire`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.config.settings import Settings
    from runtime.wiring.lines import Buckets
    from runtime.wiring.plan import Server
    from runtime.wiring.target import Target


@click.command()
@click.argument("names", nargs=-1, metavar="[BUCKET...]", shell_complete=complete.buckets)
@click.option("--target", "kind", type=click.Choice(("webhook", "redis")), help="Default: what the triggers name.")
@click.option("--gateway", default="", help="The gateway's URL as the store reaches it.")
@click.option(
    "--redis", "redis_url", default="", help="The URL of Redis as the store reaches it (default: the broker)."
)
@click.option("--name", default="tundish", show_default=True, help="Name of the target in the store's configuration.")
@click.option("--print", "only_print", is_flag=True, help="Change nothing: print the lines to add by hand.")
@click.option("--yes", is_flag=True, help="Do not ask before a restart of the store.")
@click.pass_obj
def wire(
    environ: Mapping[str, str],
    names: tuple[str, ...],
    kind: Literal["webhook", "redis"] | None,
    gateway: str,
    redis_url: str,
    name: str,
    only_print: bool,
    yes: bool,
) -> None:
    """Let the store notify Tundish.

    Of what happens in BUCKET, or in every bucket with a trigger. MinIO and Silo are configured through their API: a
    target, a restart when you say so, and a rule in each bucket beside those that are there. For other servers the
    lines to add are printed. Twice does no harm.
    """
    from runtime.cli.client import Unreachable, find
    from runtime.config.load import load_settings
    from runtime.system.parts import gateway_url
    from runtime.wiring import lines, plan
    from runtime.wiring.target import NotWired

    settings = load_settings(environ)
    if not settings.store.endpoint:
        raise Unreachable("No store is known. Start it with `tundish up`, or set MINIO_ENDPOINT and its keys.")
    try:
        here = find(environ).url
    except Unreachable:
        here = gateway_url(settings)
    watched = plan.watched(settings, names)
    if not watched:
        click.echo("No function has a bucket trigger.")
        return
    wish = plan.Wish(kind, gateway.rstrip("/"), redis_url, name)
    server = plan.server(settings.store)
    if server in ("seaweedfs", "s3"):
        at = wish.gateway or here
        told = lines.s3(at, watched) if server == "s3" else lines.seaweedfs(at, settings.event_token, watched)
        click.echo("\n".join(told))
        return
    for bucket, triggers in list(watched.items()):
        if reason := plan.rest(triggers, wish):
            click.echo(f"{bucket}: nothing to wire: {reason}.")
            del watched[bucket]
    for target, places in plan.targets(settings, watched, wish, here):
        if server == "rustfs" and target.kind == "redis":
            raise NotWired("Only MinIO and Silo write to Redis in a way that is understood. RustFS has minio_listen.")
        if only_print:
            _print(settings, server, target, places)
        else:
            _wire(settings, server, target, places, yes)


def _wire(settings: Settings, server: Server, target: Target, places: Buckets, yes: bool) -> None:
    """Through the API as far as it goes; where the administration is closed to us, the lines, and the buckets."""
    from runtime.cli.asking import agreed
    from runtime.store.port import MinioStore
    from runtime.wiring.minio import MinioServer, NoAdministration
    from runtime.wiring.wire import Wiring

    def ask(question: str) -> bool:
        return yes or agreed(question)

    for bucket in places:
        MinioStore(settings.store).ensure_bucket(bucket)
    wiring = Wiring(MinioServer(settings.store), ask, click.echo)
    try:
        arn = wiring.target(target) if server == "minio" else ""
    except NoAdministration as error:
        click.echo(f"tundish: {error}", err=True)
        arn = ""
    if not arn:
        _print(settings, server, target, places)
    wiring.buckets(arn or _arn(settings, server, target), places)


def _print(settings: Settings, server: Server, target: Target, places: Buckets) -> None:
    from runtime.wiring import lines

    make = lines.rustfs if server == "rustfs" else lines.minio
    click.echo("\n".join(make(target, _arn(settings, server, target), places)))


def _arn(settings: Settings, server: Server, target: Target) -> str:
    """The name that the server will give the target."""
    if server == "rustfs":
        return f"arn:rustfs:sqs:{settings.store.region}:{target.name.lower()}:{target.kind}"
    return f"arn:minio:sqs::{target.name}:{target.kind}"
