"""Records of documents that could not be handled: they leave after a time, and the objects with them where wanted."""

from __future__ import annotations

import logging
from typing import Any

import redis

from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.buckets.entry import Entry, read
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Project
from runtime.errors import ObjectMissing, PreconditionFailed, StoreDenied
from runtime.interfaces import Store

PAGE = 500

_log = logging.getLogger(__name__)

# KEYS: ledger.  ARGV: key, entry that was read, new entry, …; entries that moved meanwhile are left alone.
_CLEAR = """
local count = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    count = count + 1
  end
end
return count
"""


class FailedDocuments:
    """Implements `context.Documents` over the ledgers of a project's bucket triggers."""

    def __init__(self, client: redis.Redis, project: Project, store: Store) -> None:
        self._client, self._project, self._store = client, project, store

    def clear_failed(self, before: float, delete: bool) -> dict[str, int]:
        """See `context.Documents`."""
        counts = {"failed_documents": 0, "failed_objects": 0}
        with translated():
            for watch in watches(self._project):
                cursor = 0
                while True:
                    page: Any
                    cursor, page = self._client.hscan(watch.ledger, cursor, count=PAGE)
                    old = [(key, raw, entry) for key, raw in page.items() if (entry := _old(raw, before))]
                    if delete:
                        counts["failed_objects"] += sum(self._delete(watch, *one) for one in old)
                    swaps: list[scripts.Argument] = []
                    for key, raw, entry in old:
                        swaps += [key, raw, entry.cleared().encode()]
                    if swaps:
                        counts["failed_documents"] += int(scripts.run_text(self._client, _CLEAR, [watch.ledger], swaps))
                    if not cursor:
                        break
        return counts

    def _delete(self, watch: Watch, raw_key: bytes, raw: bytes, entry: Entry) -> bool:
        """Whether the object was deleted: only the very content that failed is, unless somebody has it tried again.

        On a server that knows no conditional DELETE, what is uploaded in the moment after the last look goes with it.
        """
        if not entry.etag or self._client.hget(watch.ledger, raw_key) != raw:
            return False
        bucket, key = watch.trigger.bucket, raw_key.decode(errors="surrogateescape")
        try:
            self._store.delete(bucket, key, if_match=entry.etag)
        except (ObjectMissing, PreconditionFailed):
            return False
        except StoreDenied as error:
            _log.warning("bucket %s: what failed stays there: %s", bucket, error)
            return False
        return True


def _old(raw: bytes, before: float) -> Entry | None:
    entry = read(raw)
    waits = entry is not None and (entry.again or entry.forced)
    return entry if entry is not None and entry.state == "dead" and entry.at < before and not waits else None
