"""Hearing what a function prints and logs: which attempt a piece of output belongs to.

The attempt is in a context variable. Threads, executors and greenlets do not take it over from who starts them, so
that is added for as long as somebody listens. Everything is passed on to where it went before.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, TextIO

from runtime.attempts.output import Output
from runtime.telemetry import log_fields

_CURRENT: ContextVar[Output | None] = ContextVar("tundish_output", default=None)


class heard_by:  # noqa: N801 - it is read as a function; every call has one (compare log_fields.about)
    """What is printed and logged in this block belongs to `output`, if a Listener is installed."""

    __slots__ = ("_output", "_token")

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._output)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


class Listener:
    """Stands before stdout, stderr and the root logger of this process."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()

    def install(self) -> None:
        for name in ("stdout", "stderr"):
            self._replace(sys, name, _Tee(name, getattr(sys, name)))
        handler = _Handler()
        logging.getLogger().addHandler(handler)
        self._undo.callback(logging.getLogger().removeHandler, handler)
        self._replace(threading.Thread, "start", _inheriting_start(threading.Thread.start))
        self._replace(ThreadPoolExecutor, "submit", _inheriting_submit(ThreadPoolExecutor.submit))
        if gevent := sys.modules.get("gevent"):
            gevent.Greenlet.add_spawn_callback(_inherit_greenlet)
            self._undo.callback(gevent.Greenlet.remove_spawn_callback, _inherit_greenlet)

    def remove(self) -> None:
        self._undo.close()

    def _replace(self, place: Any, name: str, new: Any) -> None:
        """Somebody who has put something else in this place meanwhile keeps it."""
        old = getattr(place, name)
        setattr(place, name, new)

        def give_back() -> None:
            if getattr(place, name) is new:
                setattr(place, name, old)

        self._undo.callback(give_back)


class _Tee(io.TextIOBase):
    """A text stream that passes everything on and tells the attempt of it."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream = name, stream

    def write(self, text: str) -> int:
        count = self._stream.write(text)
        output = _CURRENT.get()
        if output is not None:
            output.write(self._name, text)
        return count

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream belongs to the process: nobody closes it here."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output = _CURRENT.get()
        if output is not None:
            output.record(record.levelname, self.format(record))


def _inheriting_start(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def started(self: threading.Thread) -> None:
        output = _CURRENT.get()
        if output is not None:
            fields = log_fields.current()
            self.run = functools.partial(_run_within, output, fields, self.run)  # type: ignore[method-assign]
        start(self)

    return started


def _inheriting_submit(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(submit)
    def submitted(self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        output = _CURRENT.get()
        if output is not None:
            function = functools.partial(_run_within, output, log_fields.current(), function)
        return submit(self, function, *args, **kwargs)

    return submitted


def _run_within(
    output: Output, fields: Mapping[str, str], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    with heard_by(output), log_fields.about(fields):
        return function(*args, **kwargs)


def _inherit_greenlet(greenlet: Any) -> None:
    if _CURRENT.get() is not None and greenlet.gr_context is None:
        greenlet.gr_context = copy_context()
