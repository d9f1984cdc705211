"""What was on its way when an index was compared with its buckets, and has arrived since.

Files go on being put while a comparison runs: the version that it read is older than the listing it is held against.
"""

from __future__ import annotations

import time
from pathlib import Path

from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index.explain import etag_now
from runtime.index.reader import IndexReader
from runtime.index.report import Finding, Report

PATIENCE_SECONDS = 2.0
_PAUSE = 0.2


def settle(store: Store, index: str, folder: Path, report: Report) -> None:
    """Leave out what was `pending`, where index and bucket agree on it by now. `folder`: as of `verify`."""
    waiting = [finding for finding in report.findings if finding.kind == "pending"]
    if not waiting:
        return
    reader, end = IndexReader(store, folder), time.monotonic() + PATIENCE_SECONDS
    while waiting and not _refreshed(reader, index):
        arrived = [finding for finding in waiting if _agrees(reader, store, index, finding)]
        report.drop(arrived)
        waiting = [finding for finding in waiting if finding not in arrived]
        if not waiting or time.monotonic() >= end:
            return
        time.sleep(_PAUSE)


def _refreshed(reader: IndexReader, index: str) -> str:
    """Why the newest version cannot be looked at, if so: what is wrong with it the comparison has said."""
    try:
        reader.refresh(index)
    except (CorruptSegment, ObjectMissing) as error:
        return str(error)
    return ""


def _agrees(reader: IndexReader, store: Store, index: str, finding: Finding) -> bool:
    held = reader.document(index, finding.bucket, finding.key)
    return etag_now(store, finding.bucket, finding.key) == (held.etag if held else "")
