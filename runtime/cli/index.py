"""`tundish index`: the version in use, and `tundish index verify`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.index.report import Report

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(invoke_without_command=True)
@click.option("--index", "name", default="default", show_default=True, help="Which index.")
@_json
@click.pass_context
def index(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show the current version of an index and its size."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    if ctx.invoked_subcommand:
        return
    told: dict[str, Any] = find(ctx.obj).get("/admin/index-version", index=name)
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


@index.command()
@click.option("--index", "name", help="Which index (default: all of them).")
@click.option("--allow-unreadable", is_flag=True, help="Files that the function failed on for good do not count.")
@_json
@click.pass_obj
def verify(environ: Mapping[str, str], name: str | None, allow_unreadable: bool, as_json: bool) -> None:
    """Compare the index with its buckets: same keys, same etags, same chunk counts.

    Asks store and broker itself. Exit code 0: they agree exactly; 1: they do not; 3: store or broker cannot be reached.
    """
    from runtime.cli.client import Unreachable
    from runtime.cli.output import print_json
    from runtime.config_load import load_settings
    from runtime.errors import BrokerDown, StoreDenied, StoreDown

    settings = load_settings(environ)
    if not settings.broker_url or not settings.store.endpoint:
        raise Unreachable(f"No system runs on {settings.home}, and the environment names none: start `tundish up`.")
    try:
        reports = _verified(settings, name)
    except (BrokerDown, StoreDenied, StoreDown) as error:
        raise Unreachable(str(error)) from error
    for report in reports if allow_unreadable else ():
        report.allowed.append("unreadable")
    ok = all(report.ok for report in reports)
    if as_json:
        print_json({"ok": ok, "indexes": [report.plain() for report in reports]})
    else:
        for report in reports:
            _print(report)
    if not ok:
        raise SystemExit(1)


def _verified(settings: Settings, name: str | None) -> list[Report]:
    from tempfile import TemporaryDirectory

    from runtime import broker
    from runtime.cli.display import Display
    from runtime.config_check import nearest
    from runtime.index.port import FaissIndex
    from runtime.index.verify import verify
    from runtime.store import MinioStore

    client, store = broker.connect(settings.broker_url), MinioStore(settings.store)
    named = {trigger.index for _, trigger in settings.project.bucket_triggers() if trigger.index}
    names = sorted(named | set(FaissIndex(store, client).names()))
    if name and name not in names:
        raise click.UsageError(f"There is no index {name}{nearest(name, names)}")
    with TemporaryDirectory() as temporary, Display() as display:
        folder = settings.home / "index-cache" if settings.home.is_dir() else Path(temporary)

        def tell(step: str, done: int, total: int | None) -> None:
            display.progress({"done": done, "total": total, "message": step})

        asked = [name] if name else names
        return [verify(store, client, settings.project, one, folder, tell) for one in asked]


def _print(report: Report) -> None:
    from runtime.index.report import KINDS

    for finding in report.findings:
        click.echo(str(finding))
    if (more := report.counts.total() - len(report.findings)) > 0:
        click.echo(f"and {more} more")
    for note in report.notes:
        click.echo(note)
    place = f"{report.objects} objects in {', '.join(report.buckets) or 'no bucket'}"
    held = f"{report.documents} documents with {report.chunks} chunks in generation {report.generation}"
    verdict = "agree" if report.ok else "DIFFER"
    click.echo(f"index {report.index}: {place} and {held} {verdict}")
    for kind, meaning in KINDS.items():
        if report.counts[kind]:
            click.echo(f"  {report.counts[kind]} {kind}: {meaning}")
