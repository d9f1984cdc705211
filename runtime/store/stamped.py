"""The store as a function sees it: what it writes says which function wrote it, after how many others, in which trace.

A bucket trigger reads the stamp with its HEAD, and so finds functions that call each other (or themselves) for ever
by the objects that they write. What comes of an object goes on in the trace that it was written in.
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.context import ObjectInfo, Store
from runtime.store.layer import StoreLayer
from runtime.store.names import METADATA_BYTES, metadata_size
from runtime.telemetry.log_fields import valid_trace
from runtime.values.trace_context import Trace, headers, state_of

HOPS = "tundish-hops"
BY = "tundish-by"
TRACE, STATE = "traceparent", "tracestate"
"""Any other program may write it, too, as the metadata of what it uploads."""


class StampedStore(StoreLayer):
    """Stamps everything outside Tundish's own bucket."""

    def __init__(self, store: Store, function: str, hops: int, trace: str | None = None) -> None:
        super().__init__(store)
        self._stamp = {HOPS: str(hops), BY: function, **headers(trace)}

    def _meta(self, bucket: str, metadata: Mapping[str, str] | None) -> Mapping[str, str] | None:
        if bucket == self.bucket:
            return metadata
        stamped = {**(metadata or {}), **self._stamp}
        if metadata_size(stamped) > METADATA_BYTES:  # the function's own comes first
            stamped.pop(STATE, None)
        return stamped


def hops(info: ObjectInfo) -> int:
    """After how many functions in a row an object was written; 0 for one that no function wrote."""
    told = info.metadata.get(HOPS, "")
    return int(told) if told.isdecimal() else 0


def trace(info: ObjectInfo) -> str | None:
    """The trace that an object was written in; None without one that is valid."""
    found = valid_trace(info.metadata.get(TRACE))
    return Trace(found, state_of([info.metadata.get(STATE, "")])) if found else None
