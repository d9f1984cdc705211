"""What a function receives: its `context`, with the ports behind it.

Standard library only, so that a function's module costs nothing to import.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from runtime.errors import CallFailed
from runtime.interfaces import (
    BuildReport,
    Calls,
    Document,
    Index,
    IndexVersion,
    Models,
    ObjectEvent,
    ObjectInfo,
    Parent,
    Ports,
    Row,
    Store,
    StoredObject,
    Suspended,
)

if TYPE_CHECKING:
    from runtime.interfaces import Vectors

__all__ = [
    "BuildReport",
    "Calls",
    "Context",
    "Document",
    "Index",
    "IndexVersion",
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
    """The W3C traceparent that the call came with."""
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

    @property
    def store(self) -> Store:
        return self.ports.store

    @property
    def index(self) -> Index:
        return self.ports.index

    @property
    def models(self) -> Models:
        return self.ports.models

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
        self.report(_amount("done", done), known, message[:MESSAGE_LIMIT])

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
        options: Mapping[str, Any] | None = None,
    ) -> Iterator[Any]:
        """Invoke a function once per item, at most `in_flight` at a time; results come in the items' order.

        A caller that waits holds no worker: its attempt ends here, and when the last child has ended the function
        is run again from its beginning, with the answers at hand. So what stands before a `map` runs more than
        once, and the items must come out the same each time. Raises CallFailed for the first item that did not
        succeed, once all have ended; with `failures` the CallFailed stands in its place among the results.
        """
        asked = ((function, item) for item in items)
        return _fanned_in(function, self.ports.calls.gather(asked, in_flight, **(options or {})), failures)

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
