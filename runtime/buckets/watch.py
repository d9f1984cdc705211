"""One bucket trigger of one function: its stable name, and which objects it takes."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from runtime import keys
from runtime.config.settings import BucketTrigger, Function, Project
from runtime.errors import TriggerNotFound
from runtime.interfaces import ObjectInfo
from runtime.values.globs import Globs
from runtime.values.nearest import nearest
from runtime.values.units import format_size


@dataclass(frozen=True)
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

    @property
    def pattern(self) -> str:
        """Which keys it takes, for people."""
        named = f"{self.trigger.prefix}*{'|'.join(self.trigger.suffix)}"
        return f"{named} that fit {' or '.join(self.trigger.glob)}" if self.trigger.glob else named

    def wants(self, key: str) -> bool:
        """Whether the trigger takes this key. Folder markers (`a/b/`) are no documents."""
        if key.endswith("/") or not key.startswith(self.trigger.prefix):
            return False
        if self._suffixes and not key.lower().endswith(self._suffixes):
            return False
        return self._globs is None or self._globs.match(key)

    def refuses(self, info: ObjectInfo) -> str:
        """Why the trigger does not take this object although it takes its key; empty where it does.

        A listing does not know the type of an object, so only a HEAD is refused for it.
        """
        trigger = self.trigger
        if trigger.min_size is not None and info.size < trigger.min_size:
            return f"it has {format_size(info.size)}, less than min_size {format_size(trigger.min_size)}"
        if trigger.max_size is not None and info.size > trigger.max_size:
            return f"it has {format_size(info.size)}, more than max_size {format_size(trigger.max_size)}"
        kind = info.content_type.partition(";")[0].strip().lower()
        taken = [one.lower() for one in trigger.content_type]
        if kind and taken and not any(fnmatch.fnmatchcase(kind, one) for one in taken):
            return f"its content type {kind} is none of {', '.join(taken)}"
        return ""

    @cached_property
    def _suffixes(self) -> tuple[str, ...]:
        return tuple(ending.lower() for ending in self.trigger.suffix)

    @cached_property
    def _globs(self) -> Globs | None:
        return Globs(self.trigger.glob) if self.trigger.glob else None


def watches(project: Project) -> list[Watch]:
    """Every bucket trigger with its name: the function and a hash of the bucket, the index and the filters."""
    found: dict[str, Watch] = {}
    for function, trigger in project.bucket_triggers():
        told: list[object] = [trigger.bucket, trigger.prefix, sorted(trigger.suffix), trigger.index]
        filters = [sorted(trigger.glob), trigger.min_size, trigger.max_size, sorted(trigger.content_type)]
        told += filters if any(filters) else []
        name = base = f"{function.name}-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]}"
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
