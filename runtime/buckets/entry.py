"""One entry of a bucket ledger: what one trigger did about one key.

A ledger holds one for every object of a bucket, so an entry is small: about 50 bytes for a million of them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgpack

State = Literal["pending", "done", "dead", "removed", "skipped", "cleared"]
Event = Literal["created", "removed"]

_STATES: tuple[State, ...] = ("pending", "done", "dead", "removed", "skipped", "cleared")
_EVENTS: tuple[Event, ...] = ("created", "removed")
_REST: tuple[Any, ...] = ("", "", 0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one trigger did about one key. `at` is when its state changed, in seconds since the epoch.

    pending: handed to `invocation` (or waiting to be, where that is empty). done, dead, removed: what became of it.
    `reason` is why it failed; of what is done, the notes on what was left out of it, a line each.
    skipped: never handed out, for `reason`. cleared: dead, some time ago; no more is known of it.
    """

    state: State
    etag: str = ""
    """That of the change which was handed out; empty: whatever the store has now is new."""
    seq: int = 0
    event: Event = "created"
    size: int = 0
    invocation: str = ""
    reason: str = ""
    at: float = 0.0
    again: bool = False
    """Another change was seen meanwhile, and is looked at when the invocation ends."""
    forced: bool = False
    """Somebody wants it to be handed out again, whatever became of it (a replay)."""
    heat: float = 0.0
    """Seconds by which the calls for this key are ahead of their rate at `at` (a leaky bucket)."""
    share: int = 0
    """At most so many objects go with this one, since a larger batch with it has failed; 0: no such limit."""

    def cleared(self) -> Entry:
        """A failure that is not told any more: the content is known, so that it is not tried again."""
        return Entry("cleared", self.etag, self.seq, self.event, self.size, at=self.at)

    def moved(self, now: float, **changes: Any) -> Entry:
        """This entry with other values, as of now."""
        return replace(self, at=now, heat=self.cooled(now), **changes)

    def cooled(self, now: float) -> float:
        """What is left of its heat."""
        return max(0.0, self.heat - max(0.0, now - self.at))

    @property
    def notes(self) -> list[str]:
        """What was left out of an object that is done."""
        return self.reason.splitlines() if self.state == "done" else []

    def encode(self) -> bytes:
        """A msgpack list of numbers and bytes; what is usually empty stands at the end and is left out."""
        bits = _STATES.index(self.state) | (_EVENTS.index(self.event) << 3) | (self.again << 4) | (self.forced << 5)
        rest = [_packed_id(self.invocation), self.reason, round(self.heat * 1000), self.share]
        while rest and rest[-1] == _REST[len(rest) - 1]:
            rest.pop()
        packed: bytes = msgpack.packb(
            [bits, self.seq, round(self.at * 1000), self.size, _packed_hex(self.etag), *rest],
            unicode_errors="surrogatepass",
        )
        return packed

    @classmethod
    def decode(cls, raw: bytes) -> Entry:
        """Raises ValueError for bytes that are no entry."""
        try:
            fields: list[Any] = msgpack.unpackb(raw, unicode_errors="surrogatepass")
            bits, seq, at, size, etag, invocation, reason, heat, share = (*fields, *_REST[len(fields) - 5 :])
            return cls(
                _STATES[bits & 7],
                etag if isinstance(etag, str) else etag.hex(),
                seq,
                _EVENTS[bits >> 3 & 1],
                size,
                invocation if isinstance(invocation, str) else str(uuid.UUID(bytes=invocation)),
                reason,
                at / 1000,
                bool(bits >> 4 & 1),
                bool(bits >> 5 & 1),
                heat / 1000,
                share,
            )
        except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as error:
            raise ValueError(f"{raw[:40]!r} is no entry of a ledger") from error


def _packed_hex(text: str) -> bytes | str:
    """Half the size, where it is what most etags are. Anything else is kept as it is."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return text
    return raw if text and raw.hex() == text else text


def _packed_id(text: str) -> bytes | str:
    try:
        made = uuid.UUID(text)
    except ValueError:
        return text
    return made.bytes if str(made) == text else text


def state_of(raw: bytes) -> State | None:
    """The state alone, without unpacking the rest: for whoever counts a whole ledger."""
    if len(raw) < 2 or raw[0] & 0xF0 != 0x90 or raw[1] & 7 >= len(_STATES):  # a short list, a small number first
        return None
    return _STATES[raw[1] & 7]


def read(raw: Any) -> Entry | None:
    """An entry from its bytes; None where there are none, or none that this version can read (it is made anew)."""
    try:
        return Entry.decode(raw) if raw else None
    except ValueError:
        return None
