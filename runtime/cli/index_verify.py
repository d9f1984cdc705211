"""`tundish index verify`: whether an index is whole, agrees with its buckets and finds what is nearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.config.settings import Settings
    from runtime.context import Store, Vectors
    from runtime.index.engines import Indexes
    from runtime.index.recall import Recall
    from runtime.index.report import Report
    from runtime.index.verify import Tell

SAMPLE = 1000
_AT_ONCE = 32  # texts


@click.command()
@click.option("--index", "name", help="Which index (default: all of them).", shell_complete=complete.indexes)
@click.option("--allow-unreadable", is_flag=True, help="Files that the function failed on for good do not count.")
@click.option("--recall", is_flag=True, help="Also measure how many of the nearest chunks are found.")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    default=SAMPLE,
    show_default=True,
    help="With --recall: how many queries.",
)
@click.option("--repair", is_flag=True, help="Mend what can be mended, then compare again.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def verify(
    environ: Mapping[str, str],
    name: str | None,
    allow_unreadable: bool,
    recall: bool,
    sample: int,
    repair: bool,
    as_json: bool,
) -> None:
    """Compare the index with its buckets: same keys, same etags, same chunk counts; every stored part with its hash.

    Asks store and broker itself. Exit code 0: all is well; 1: it is not; 3: store or broker cannot be reached.
    """
    from runtime.cli.client import Unreachable
    from runtime.cli.output import print_json
    from runtime.config.load import load_settings
    from runtime.errors import BrokerDown, StoreDenied, StoreDown

    settings = load_settings(environ)
    if not settings.broker_url or not settings.store.endpoint:
        raise Unreachable(f"No system runs on {settings.home}, and the environment names none: start `tundish up`.")
    try:
        reports = _verified(settings, name, sample if recall else 0, repair)
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


def _verified(settings: Settings, name: str | None, sample: int, repair: bool) -> list[Report]:
    from tempfile import TemporaryDirectory

    from runtime.broker import connection as broker
    from runtime.cli.display import Display
    from runtime.errors import IndexUnavailable
    from runtime.index.engines import open_index
    from runtime.index.repair import repaired
    from runtime.index.verify import verify
    from runtime.store.port import MinioStore
    from runtime.values.nearest import nearest

    client, store = broker.connect(settings.broker_url), MinioStore(settings.store)
    named = {trigger.index for _, trigger in settings.project.bucket_triggers() if trigger.index}
    index = open_index(lambda: settings.project, store, client)
    names = sorted(named | set(index.names()))
    if name and name not in names:
        raise click.UsageError(f"There is no index {name}{nearest(name, names)}")
    with TemporaryDirectory() as temporary, Display() as display:
        folder = settings.home / "index-cache" if settings.home.is_dir() else Path(temporary)

        def tell(step: str, done: int, total: int | None) -> None:
            display.progress({"done": done, "total": total, "message": step})

        reports = []
        for one in [name] if name else names:
            if _is_elsewhere(store, one):
                try:
                    reports.append(_elsewhere(settings, index, one, sample, repair, tell))
                except IndexUnavailable as error:
                    if name or len(names) == 1:
                        raise
                    reports.append(_untold(one, error))  # the others are compared all the same
                continue
            report = verify(store, client, settings.project, one, folder, tell)
            if repair and not report.ok:
                report = repaired(store, client, settings.project, report, folder, tell)
            if sample:
                report.recall = _recall(settings, store, one, folder, sample, tell)
            reports.append(report)
        return reports


def _is_elsewhere(store: Store, name: str) -> bool:
    """Whether Qdrant holds the newest version; what cannot be read is told by the comparison."""
    from runtime.errors import CorruptSegment, ObjectMissing
    from runtime.index import manifest

    try:
        current = manifest.newest(store, name)
    except (CorruptSegment, ObjectMissing):
        return False
    return current is not None and current.remote is not None


def _untold(name: str, error: Exception) -> Report:
    """Of an index whose engine does not answer."""
    from runtime.index.report import Finding, Report

    report = Report(name)
    report.add(Finding("damaged", "", "", str(error)))
    return report


def _elsewhere(settings: Settings, index: Indexes, name: str, sample: int, repair: bool, tell: Tell) -> Report:
    """The same of an index that Qdrant holds."""
    from runtime.index.qdrant.comparing import sampled
    from runtime.index.qdrant.repairing import repaired
    from runtime.index.qdrant.verifying import verify

    client, store = index._client, index._store
    report = verify(store, client, settings.project, index.remote.connect(name), tell)
    if repair and not report.ok:
        report = repaired(store, client, settings.project, index, report, tell)
    if sample:
        report.recall = sampled(store, index.remote.connect, name, sample)
    return report


def _recall(
    settings: Settings, store: Store, name: str, folder: Path, sample: int, tell: Callable[[str, int, int | None], None]
) -> Recall | None:
    """None where the index holds nothing, or cannot be opened: then the comparison has said so."""
    from runtime.errors import CorruptSegment, ObjectMissing
    from runtime.index import manifest, recall
    from runtime.index.cache import SegmentCache

    try:
        current = manifest.newest(store, name)
        if current is None:
            return None
        loaded = recall.opened(SegmentCache(folder, store), current)
    except (CorruptSegment, ObjectMissing):
        return None

    def embed(texts: Sequence[str]) -> Vectors | None:
        return _embedded(settings.embedder_socket, texts, current.model)

    return recall.measure(loaded, sample=sample, embed=embed, tell=lambda done, total: tell("asking", done, total))


def _embedded(socket: Path, texts: Sequence[str], model: str) -> Vectors | None:
    """The texts as this host's embedder sees them; None where there is none, or it does not have the model."""
    import asyncio

    import numpy as np

    from runtime.embedding.client import EmbedderClient
    from runtime.errors import IndexUnavailable, ModelWarming

    async def ask() -> list[Vectors]:
        client = EmbedderClient(socket, timeout=60.0)
        try:
            starts = range(0, len(texts), _AT_ONCE)
            return [await client.embed(texts[start : start + _AT_ONCE], model) for start in starts]
        finally:
            await client.close()

    try:
        return np.concatenate(asyncio.run(ask()))
    except (ModelWarming, IndexUnavailable):
        return None


def _print(report: Report) -> None:
    from runtime.index.report import KINDS

    for finding in report.findings:
        click.echo(str(finding))
    if (more := report.counts.total() - len(report.findings)) > 0:
        click.echo(f"and {more} more")
    for note in report.notes:
        click.echo(note)
    if report.repair:
        for sentence in report.repair.done:
            click.echo(f"repaired  {sentence}")
        for sentence in report.repair.left:
            click.echo(f"left  {sentence}")
    place = f"{report.objects} objects in {', '.join(report.buckets) or 'no bucket'}"
    held = f"{report.documents} documents with {report.chunks} chunks in generation {report.generation}"
    verdict = "DIFFER" if report.differs else "agree"
    click.echo(f"index {report.index}: {place} and {held} {verdict}")
    for kind, meaning in KINDS.items():
        if report.counts[kind]:
            click.echo(f"  {report.counts[kind]} {kind}: {meaning}")
    if report.recall:
        _print_recall(report.recall)


def _print_recall(recall: Recall) -> None:
    asked = f"{recall.queries} queries, {recall.texts} of them texts"
    click.echo(f"  recall@{recall.k} {recall.recall:.5f} ({recall.kind}; {asked}; the worst has {recall.worst:.2f})")
    if not recall.ok:
        click.echo(f"  It should be {recall.least} at least.")
