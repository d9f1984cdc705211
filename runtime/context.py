"""What a function receives: its `context`, with the ports behind it.

Standard library only, so that a function's module costs nothing to import.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from re import fullmatch
from typing import TYPE_CHECKING, Any

from runtime.errors import CallFailed
from runtime.file import File
from runtime.interfaces import (
    Calls,
    Document,
    Documents,
    Far,
    ObjectEvent,
    ObjectInfo,
    Parent,
    Ports,
    Store,
    StoredObject,
    Suspended,
)
from runtime.interfaces_index import (
    BuildReport,
    Chunking,
    CompactReport,
    Extraction,
    Index,
    IndexModel,
    IndexVersion,
    Kept,
    Migration,
    Models,
    Row,
)
from runtime.urgency import Advice, Capacity, advice, capacity, level_of, next_step, urgency
from runtime.values.legible import legible
from runtime.values.trace_context import headers

if TYPE_CHECKING:
    from runtime.interfaces_index import Vectors

__all__ = [
    "Advice",
    "BuildReport",
    "Calls",
    "Capacity",
    "Chunking",
    "CompactReport",
    "Context",
    "Document",
    "Documents",
    "Extraction",
    "Far",
    "File",
    "Index",
    "IndexModel",
    "IndexVersion",
    "Kept",
    "Migration",
    "Models",
    "ObjectEvent",
    "ObjectInfo",
    "Parent",
    "Ports",
    "Row",
    "Store",
    "StoredObject",
    "Suspended",
    "Vectors",
    "advice",
    "capacity",
    "level_of",
    "next_step",
    "urgency",
]


MESSAGE_LIMIT = 500
"""Characters of a progress message; the rest is left out."""


@dataclass(slots=True)
class Context:
    """One attempt of one invocation, as the function sees it."""

    id: str
    function: str
    ports: Ports
    attempt: int = 1
    tenant: str = "default"
    trigger: str = "http"
    root_id: str = ""
    parents: tuple[Parent, ...] = ()
    trace: str = ""
    """The W3C traceparent that the call came with; where spans are made, that of this attempt. `trace_headers` has it
    as a request takes it on."""
    event: Mapping[str, Any] | None = None
    """The attributes of the CloudEvent that the call came as."""
    accepted: float = field(default_factory=time.time)
    """When the call was accepted, in seconds since the epoch."""
    deadline: float | None = None
    """When the attempt is stopped, in seconds since the epoch; None without a time limit."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tundish.function"))
    stop_asked: Callable[[], bool] = lambda: False
    """Whether somebody wants this attempt to end; `should_stop` asks it."""
    report: Callable[[float, float | None, str], None] = lambda *_: None
    """Where `progress` goes: done, total, message."""
    count_in: Callable[[str, int], None] = lambda *_: None
    """Where `count` goes: name, amount."""
    state: Any = None
    """What the function's `setup` returned in this process."""
    confined: bool = False
    """Its caller may see what is of `tenant` only: other objects are missing for `store`."""
    owners: Callable[[str, str], str] | None = None
    """Who knows whose objects are; None: all are of `tenant`."""
    _far: tuple[float, float | None, str] = field(default=(0, None, ""), init=False, repr=False)
    """What `progress` was told last."""

    @property
    def store(self) -> Store:
        return self.ports.store

    @property
    def trace_headers(self) -> dict[str, str]:
        """`traceparent`, and the `tracestate` that came with it, for a request that goes on in this trace."""
        return headers(self.trace)

    @property
    def index(self) -> Index:
        return self.ports.index

    @property
    def models(self) -> Models:
        return self.ports.models

    @property
    def documents(self) -> Documents:
        return self.ports.documents

    def owner(self, bucket: str, key: str) -> str:
        """The tenant of an object, by functions.yaml."""
        return self.tenant if self.owners is None else self.owners(bucket, key)

    def time_left(self) -> float | None:
        """Seconds until the deadline, or None."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def should_stop(self) -> bool:
        """Whether to end now: the call was cancelled, or its time is up. Cheap enough for every turn of a loop."""
        return self.stop_asked() or self.time_left() == 0.0

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work is: `done` of `total` (None: nobody knows), and a word about it.

        Callers see it in the status and as it happens. Cheap enough for every turn of a loop: reports that come too
        fast are left out, the last one is not. Raises TypeError and ValueError for what is no amount.
        """
        known = None if total is None else _amount("total", total)
        if not isinstance(message, str):
            raise TypeError(f"progress: message must be a text, found {type(message).__name__}")
        self._far = _amount("done", done), known, legible(message[:MESSAGE_LIMIT])
        self.report(*self._far)

    def count(self, name: str, amount: int = 1) -> None:
        """Count something for `/metrics`: `tundish_function_counts_total{task_name, name}` grows by `amount`.

        One round trip to the broker; what cannot be counted is lost, and the function goes on. An attempt that is
        repeated counts again. Names are few and fixed. Raises ValueError for another kind of name or amount.
        """
        if not fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
            raise ValueError(f"count: a name has small letters, digits and underscores, 64 at most; found {name!r}")
        if isinstance(amount, bool) or not isinstance(amount, Integral) or amount < 0:
            raise ValueError(f"count: the amount must be a whole number from 0 on, found {amount!r}")
        self.count_in(name, int(amount))

    def submit(self, function: str, /, *, options: Mapping[str, Any] | None = None, **arguments: Any) -> str:
        """Invoke another function and return the invocation's id at once.

        It inherits priority, tenant, deadline, root and trace; `options` says otherwise (`{"priority": 9,
        "delay": 60}`), and `{"chain": False}` leaves out its on_success. An attempt that is repeated submits the
        same calls under the same ids: none is run twice.
        """
        return self.ports.calls.submit(function, arguments, **(options or {}))

    def call(self, function: str, /, *, options: Mapping[str, Any] | None = None, **arguments: Any) -> Any:
        """Invoke another function and wait for its result. Raises CallFailed. See `map` for what waiting means."""
        return next(self.map(function, [arguments], options=options))

    def map(
        self,
        function: str,
        items: Iterable[Mapping[str, Any]],
        *,
        in_flight: int = 8,
        failures: bool = False,
        amounts: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Iterator[Any]:
        """Invoke a function once per item, at most `in_flight` at a time; results come in the items' order.

        A caller that waits holds no worker: its attempt ends here, and when the last child has ended the function
        is run again from its beginning, with the answers at hand. So what stands before a `map` runs more than
        once, and the items must come out the same each time. Raises CallFailed for the first item that did not
        succeed, once all have ended; with `failures` the CallFailed stands in its place among the results.

        `amounts`, one for each item, let `progress` go on from what it was told last while the calls work: each adds
        its amount when it has ended, and the pace and the time left are told with it.
        """
        asked = ((function, item) for item in items)
        told = {} if amounts is None else {"far": Far(*self._far, amounts)}
        return _fanned_in(function, self.ports.calls.gather(asked, in_flight, **told, **(options or {})), failures)

    def wait(self, *ids: str, failures: bool = False) -> Iterator[Any]:
        """The results of invocations that `submit` has begun, in order; waiting and failing as in `map`."""
        return _fanned_in("the call", self.ports.calls.join(ids), failures)


def _amount(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"progress: {name} must be a number, found {type(value).__name__}")
    if not isfinite(value) or value < 0:
        raise ValueError(f"progress: {name} must be finite and not negative, found {value}")
    return int(value) if isinstance(value, Integral) else float(value)


def _fanned_in(name: str, answers: Iterable[tuple[str, Any]], failures: bool) -> Iterator[Any]:
    results: list[Any] = []
    for state, answer in answers:
        if state == "succeeded":
            results.append(answer)
            continue
        failed = CallFailed(f"{name} {state}: {(answer or {}).get('summary') or 'no reason is recorded'}")
        if not failures:
            raise failed
        results.append(failed)
    return iter(results)
