"""Captured output on its way to Redis: in batches, from a thread of its own, and before an attempt is over.

A function never waits for the broker: its output lies in memory (runtime/attempts/output.py has the limits) until it
can be written. What cannot be written at the end of the attempt is dropped and counted in the worker's log.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping

import redis

from runtime import keys
from runtime.attempts.lines import ALL_CAP, ALL_LINE_LIMIT, ENTRIES_CAP, Line, cut
from runtime.attempts.listening import Listener, heard_by
from runtime.attempts.output import Output
from runtime.broker import scripts
from runtime.config.settings import Settings
from runtime.security.principal import DEFAULT_TENANT

FLUSH_SECONDS = 0.2
AWAY_SECONDS = 1.0
"""Pause after a write that failed."""

_DAY = 86400.0

log = logging.getLogger("tundish.capture")


def life_seconds(settings: Settings) -> int:
    """How long a stream lives without its record's end: the longest attempt and the longest retention."""
    project = settings.project
    longest = max((function.timeout or _DAY for function in project.functions.values()), default=_DAY)
    return int(longest + max(project.retention.succeeded, project.retention.failed) + _DAY)


class Capture:
    """The output of the attempts of one process. It begins with the first of them and may be made before a fork."""

    def __init__(self, client: redis.Redis, life: int, mask: Callable[[str], str] = str) -> None:
        """`life`: seconds that a stream lives; `mask` takes secrets out of a text."""
        self._client, self._life, self._mask = client, life, mask
        self._lock = threading.Lock()
        self._pid = 0
        self._listener = Listener()
        self._open: dict[Output, None] = {}
        self._wake, self._stop = threading.Event(), threading.Event()

    def attempt(self, task_id: str, function: str, number: int, tenant: str = DEFAULT_TENANT) -> _Captured:
        """Capture what this block prints and logs. When it is left, all of it has been written, or given up."""
        self._begin()
        return _Captured(self, Output(task_id, function, number, self._wake.set, self._mask, tenant))

    def begin(self, output: Output) -> None:
        """Write what comes of it from now on."""
        self._open[output] = None

    def end(self, output: Output) -> None:
        """Write the rest of it, or give it up."""
        output.end()
        self._open.pop(output, None)
        self._write(output, last=True)

    def flush(self) -> bool:
        """Write what is there. False: something could not be written, and waits."""
        return all(self._write(output) for output in tuple(self._open))

    def close(self) -> None:
        """Write what is there, and give stdout, stderr and logging back."""
        self._stop.set()
        self._wake.set()
        self.flush()
        self._listener.remove()
        self._pid = 0

    def _begin(self) -> None:
        """The first attempt of a process: listen, and start the thread (none survives a fork)."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._listener.install()
            self._wake, self._stop = threading.Event(), threading.Event()
            threading.Thread(target=self._run, args=(self._wake, self._stop), name="capture", daemon=True).start()
            self._pid = os.getpid()

    def _run(self, wake: threading.Event, stop: threading.Event) -> None:
        while wake.wait() and not stop.wait(FLUSH_SECONDS):
            wake.clear()
            if not self.flush() and not stop.wait(AWAY_SECONDS):
                wake.set()

    def _write(self, output: Output, *, last: bool = False) -> bool:
        with output.writing:
            lines, report = output.take()
            if not lines and report is None:
                return True
            try:
                self._send(output, lines, report)
            except (redis.RedisError, OSError) as error:
                if not last:
                    output.put_back(lines, report)
                    return False
                told = "%s[%s] %d lines of output could not be kept: %s"
                log.warning(told, output.function, output.task_id, len(lines), error)
        return True

    def _send(self, output: Output, lines: list[Line], report: Line | None) -> None:
        name = keys.log(output.task_id)
        with self._client.pipeline(transaction=False) as pipe:
            for line in (*lines, *([report] if report else [])):
                pipe.xadd(name, line.fields(), maxlen=ENTRIES_CAP)  # type: ignore[arg-type]
            pipe.expire(name, self._life)
            for line in lines:
                pipe.xadd(keys.LOGS, _watched(output, line), maxlen=ALL_CAP)  # type: ignore[arg-type]
            pipe.execute()
        if report:
            told = json.dumps({**json.loads(report.text), "at": report.at / 1000})
            scripts.run(self._client, "progress", (), [output.task_id, output.number, told])


class _Captured:
    """The block of one attempt."""

    __slots__ = ("_capture", "_heard", "_output")

    def __init__(self, capture: Capture, output: Output) -> None:
        self._capture, self._output = capture, output
        self._heard = heard_by(output)

    def __enter__(self) -> Output:
        self._capture.begin(self._output)
        self._heard.__enter__()
        return self._output

    def __exit__(self, *_: object) -> None:
        try:
            self._heard.__exit__()
        finally:
            self._capture.end(self._output)


def _watched(output: Output, line: Line) -> Mapping[bytes | str, object]:
    """The entry of a line in the stream of all invocations."""
    return {
        **line.fields(),
        "id": output.task_id,
        "function": output.function,
        "text": cut(line.text, ALL_LINE_LIMIT),
        **({} if output.tenant == DEFAULT_TENANT else {"tenant": output.tenant}),
    }
