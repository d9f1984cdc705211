"""One call as it waits in an outbox, and the bytes that it is there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import msgpack

from runtime.invocations.submit import Call
from runtime.values.trace_context import packed


@dataclass(frozen=True, slots=True)
class Kept:
    """One call as it waits. It has an id; `accepted` is in seconds since the epoch, queue and priority as of then."""

    call: Call
    accepted: float
    queue: str
    priority: int

    @property
    def id(self) -> str:
        return str(self.call.id)

    def pack(self) -> bytes:
        call = {field.name: getattr(self.call, field.name) for field in fields(self.call)}
        told = {name: value for name, value in call.items() if value is not None} | _trace(self.call)
        record = [self.accepted, self.queue, self.priority, told]
        return bytes(msgpack.packb(record, use_bin_type=True, default=dict))  # a mapping need not be a dict


def _trace(call: Call) -> dict[str, str]:
    trace = packed(call.trace)
    return {"trace": trace} if trace else {}


def unpack(data: bytes) -> Kept:
    """A call as it was written, perhaps by another version: what is not known any more is left out."""
    accepted, queue, priority, told, *_ = msgpack.unpackb(data, raw=False, strict_map_key=False)
    known = {field.name for field in fields(Call)}
    return Kept(Call(**{name: value for name, value in told.items() if name in known}), accepted, queue, priority)
