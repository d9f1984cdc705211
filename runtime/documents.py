"""What became of an object: the ledger's entries, who watches which key, and status lookups (read only).

The ledger itself is written by `triggers`, and by a redrive (runtime/reopen.py). The gateway and the command line read
it here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import msgpack
import redis
import redis.asyncio

from runtime import keys
from runtime.broker import translated
from runtime.config import BucketTrigger, Function, Project
from runtime.config_check import nearest
from runtime.errors import TriggerNotFound
from runtime.invocations import Invocation, read_async, read_many

State = Literal["pending", "done", "dead", "removed"]
Status = Literal["pending", "processing", "completed", "failed", "removed", "unwatched"]

# Of several triggers on one key, the least settled one speaks for the document.
_WEIGHT: tuple[Status, ...] = ("processing", "pending", "failed", "completed", "removed")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one trigger did about one key. `at` is when its state changed, in seconds since the epoch.

    `event` and `etag` are those of the change that `invocation` was given; `again` says that another change
    was seen meanwhile, and is looked at when that invocation ends.
    """

    state: State
    etag: str = ""
    seq: int = 0
    event: Literal["created", "removed"] = "created"
    size: int = 0
    invocation: str = ""
    reason: str = ""
    at: float = 0.0
    again: bool = False

    def encode(self) -> bytes:
        """A msgpack list in the order of the fields: about 100 bytes, a ledger holds one for every object."""
        packed: bytes = msgpack.packb(astuple(self))
        return packed

    @classmethod
    def decode(cls, raw: bytes) -> Entry:
        return cls(*msgpack.unpackb(raw))


@dataclass(frozen=True, slots=True)
class Watch:
    """One bucket trigger of one function, under the stable name that its state in Redis goes by."""

    name: str
    function: Function
    trigger: BucketTrigger

    @property
    def names(self) -> tuple[str, str]:
        """What people may call it: its own name, or `function:bucket` for all triggers of a function on a bucket."""
        return self.name, f"{self.function.name}:{self.trigger.bucket}"

    @property
    def ledger(self) -> str:
        return keys.ledger(self.name, self.trigger.bucket)

    @property
    def flight(self) -> str:
        return keys.flight(self.name, self.trigger.bucket)

    @property
    def hold(self) -> str:
        return keys.hold(self.name, self.trigger.bucket)

    @property
    def index(self) -> str:
        """The index whose counter numbers the changes this trigger hands out."""
        return self.trigger.index or "default"

    def wants(self, key: str) -> bool:
        """Whether the trigger takes this key. Folder markers (`a/b/`) are no documents."""
        suffix = tuple(ending.lower() for ending in self.trigger.suffix)
        fits = not suffix or key.lower().endswith(suffix)
        return fits and not key.endswith("/") and key.startswith(self.trigger.prefix)


def watches(project: Project) -> list[Watch]:
    """Every bucket trigger with its name: the function and a hash of (bucket, prefix, suffix, index)."""
    found: dict[str, Watch] = {}
    for function, trigger in project.bucket_triggers():
        told = json.dumps([trigger.bucket, trigger.prefix, sorted(trigger.suffix), trigger.index])
        name = base = f"{function.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        count = 1
        while name in found:  # the same filter twice, with other events or arguments
            count += 1
            name = f"{base}-{count}"
        found[name] = Watch(name, function, trigger)
    return list(found.values())


def find(project: Project, name: str) -> list[Watch]:
    """The bucket triggers that go by a name (Watch.names). Raises TriggerNotFound."""
    known = watches(project)
    found = [watch for watch in known if name in watch.names]
    if not found:
        names = dict.fromkeys(word for watch in known for word in reversed(watch.names))
        raise TriggerNotFound(f"There is no bucket trigger {name}{nearest(name, names)}")
    return found


def document_status(client: redis.Redis, project: Project, bucket: str, key: str) -> dict[str, Any] | None:
    """What became of an object, or None where it is watched but the ledger has never heard of it.

    `status` is pending (not begun), processing, completed, failed, removed or unwatched; `reason` a sentence or
    None; `processed_at` seconds since the epoch or None; `triggers` the same per trigger, each with its
    function and `index` (not None: searchable there once a version with this `seq` is out). Raises BrokerDown.
    """
    watching = _watching(project, bucket, key)
    with translated():
        entries = [_entry(client.hget(watch.ledger, key)) for watch in watching]
        records = read_many(client, _asked(entries))
    return _summary(project, bucket, key, watching, entries, records)


async def document_status_async(
    client: redis.asyncio.Redis, project: Project, bucket: str, key: str
) -> dict[str, Any] | None:
    """`document_status` for asyncio."""
    watching = _watching(project, bucket, key)
    with translated():
        entries = [_entry(await client.hget(watch.ledger, key)) for watch in watching]
        records = {task_id: await read_async(client, task_id) for task_id in _asked(entries)}
    return _summary(project, bucket, key, watching, entries, records)


def _watching(project: Project, bucket: str, key: str) -> list[Watch]:
    return [watch for watch in watches(project) if watch.trigger.bucket == bucket and watch.wants(key)]


def _entry(raw: Any) -> Entry | None:
    return None if raw is None else Entry.decode(raw)


def _asked(entries: Sequence[Entry | None]) -> list[str]:
    return [entry.invocation for entry in entries if entry and entry.state == "pending" and entry.invocation]


def _summary(
    project: Project,
    bucket: str,
    key: str,
    watching: Sequence[Watch],
    entries: Sequence[Entry | None],
    records: Mapping[str, Invocation | None],
) -> dict[str, Any] | None:
    base: dict[str, Any] = {"bucket": bucket, "key": key}
    if not watching:
        return base | {"status": "unwatched", "reason": _why_unwatched(project, bucket, key), "triggers": []}
    told = [_told(watch, entry, records) for watch, entry in zip(watching, entries, strict=True) if entry]
    if not told:
        return None
    worst = min(told, key=lambda one: _WEIGHT.index(one["status"]))
    return base | {name: value for name, value in worst.items() if name != "function"} | {"triggers": told}


def _told(watch: Watch, entry: Entry, records: Mapping[str, Invocation | None]) -> dict[str, Any]:
    status, reason = _status(entry, records.get(entry.invocation))
    return {
        "status": status,
        "reason": reason or None,
        "function": watch.function.name,
        "index": watch.trigger.index,
        "invocation": entry.invocation or None,
        "event": entry.event,
        "etag": entry.etag or None,
        "size": entry.size,
        "seq": entry.seq,
        "processed_at": entry.at if status in ("completed", "failed", "removed") else None,
    }


def _status(entry: Entry, record: Invocation | None) -> tuple[Status, str]:
    settled: dict[State, Status] = {"done": "completed", "dead": "failed", "removed": "removed"}
    if entry.state != "pending":
        # A change that was seen meanwhile is on its way: the object as it is now has not been processed.
        return ("pending" if entry.again else settled[entry.state]), entry.reason
    if record is not None and record.state == "running":
        return "processing", ""
    if record is not None and record.state == "retrying":
        error = (record.error or {}).get("message", "")
        return "pending", f"attempt {record.attempts} failed and is tried again: {error}" if error else ""
    return "pending", ""


def _why_unwatched(project: Project, bucket: str, key: str) -> str:
    mine = [watch for watch in watches(project) if watch.trigger.bucket == bucket]
    if not mine:
        named = ", ".join(project.buckets()) or "none"
        return f"No trigger watches the bucket {bucket!r}; watched buckets: {named}."
    wanted = "; ".join(
        f"{watch.function.name} takes {watch.trigger.prefix}*{'|'.join(watch.trigger.suffix)}" for watch in mine
    )
    return f"No trigger on the bucket {bucket!r} takes the key {key!r}: {wanted}."
