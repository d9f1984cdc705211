"""The ends of calls, written by the worker's parent process: all that have come by then in one round trip.

A process that has run a call hands its end to the parent (runtime/worker/short_way.py) and takes the next one at once.
Ends that wait for the broker's disk share one write to it, and no process waits with them. Until an end is written its
attempt counts as running (`ids`): its lease is renewed, and where the parent is killed before, it is run again, as if
it had been killed before its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import NoScriptError

from runtime.attempts.attempt import OUTAGE_SECONDS, Written, read_written
from runtime.attempts.ending import Ending
from runtime.broker import scripts

_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_BROKEN = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, OSError)

log = logging.getLogger("tundish.task")


class Endings:
    """One per worker, for the thread of its event loop; `ids` is for any. One round trip is on its way at a time."""

    def __init__(self, client: redis.Redis, ended: Callable[[Ending, Written], None]) -> None:
        """`ended` is told what the broker answered; it must not wait."""
        self._client, self._ended = client, ended
        self._loop: Any = None
        self._connection: Any = None
        self._waiting: list[Ending] = []
        self._sent: list[Ending] = []
        self._planned = False
        self._pause, self._away_since = _PAUSE_SECONDS, 0.0

    def open(self, loop: Any) -> None:
        """Write through this event loop (kombu's) from now on. It has forgotten what it listened to."""
        self._loop, self._planned = loop, False
        self._again()
        self._plan(0.0)

    def close(self) -> None:
        """Write what there is, and from now on each as it comes: the event loop does not turn any more."""
        loop, self._loop = self._loop, None
        self._again(loop)
        self._write_all()

    def ids(self) -> list[str]:
        """Invocations that have been run, and whose ends are not written yet."""
        return [ending.id for ending in (*self._waiting, *self._sent)]

    def put(self, ending: Ending) -> None:
        """Write an end soon."""
        self._waiting.append(ending)
        if self._loop is None:
            self._write_all()
        elif not self._sent:
            self._plan(0.0)

    def _plan(self, seconds: float) -> None:
        """Once in a turn of the loop: those that end in one turn go together."""
        if self._waiting and not self._planned:
            self._planned = True
            if seconds:
                self._loop.call_later(seconds, self._turn)
            else:
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._planned = False
        if self._loop is None or self._sent or not self._waiting:
            return
        try:
            self._send()
        except _BROKEN as error:
            self._away(error)
            self._plan(self._pause)

    def _readable(self) -> None:
        """An answer has come, or the connection is gone."""
        try:
            if not self._sent:
                raise redis.ConnectionError("closed by the broker")
            self._read()
        except _BROKEN as error:
            self._away(error)
        self._plan(self._pause if self._away_since else 0.0)

    def _write_all(self) -> None:
        while self._waiting:
            try:
                self._send()
                self._read()
            except _BROKEN as error:
                self._away(error)
                if self._waiting:
                    time.sleep(self._pause)

    def _send(self) -> None:
        if self._connection is None:
            self._connect()
        self._sent, self._waiting = self._waiting, []
        self._connection.send_packed_command([ending.command for ending in self._sent], check_health=False)

    def _connect(self) -> None:
        connection: Any = self._client.connection_pool.make_connection()
        connection.connect()
        connection.send_command("SCRIPT", "LOAD", scripts.source("finish"))
        connection.read_response()
        self._connection = connection
        if self._loop is not None:
            self._loop.add_reader(connection._sock, self._readable)

    def _read(self) -> None:
        answers = [self._answer() for _ in self._sent]
        sent, self._sent = self._sent, []
        self._away_since, self._pause = 0.0, _PAUSE_SECONDS
        unknown = [ending for ending, answer in zip(sent, answers, strict=True) if isinstance(answer, NoScriptError)]
        if unknown:  # somebody has thrown the broker's scripts away
            self._waiting[:0] = unknown
            self._again()
        for ending, answer in zip(sent, answers, strict=True):
            if not isinstance(answer, Exception):
                self._ended(ending, read_written(answer))
            elif not isinstance(answer, NoScriptError):
                log.error("the end of %s[%s] could not be written (%s)", ending.function, ending.id, answer)

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ReadOnlyError:
            raise  # it is a replica by now
        except redis.ResponseError as error:
            return error

    def _away(self, error: Exception) -> None:
        """The broker is away. What was sent is sent again: what has been written is fenced off then."""
        self._again()
        if not self._waiting:  # it lay idle
            return
        now = time.monotonic()
        self._away_since = self._away_since or now
        self._pause = min(_LONGEST_PAUSE_SECONDS, self._pause * 2)
        count, reason = len(self._waiting), type(error).__name__
        if now - self._away_since > OUTAGE_SECONDS:
            log.error("%d calls are done, but the broker is away (%s): others will run them again", count, reason)
            self._waiting.clear()
        else:
            log.warning("%d calls are done, but the broker is away (%s); waiting", count, reason)

    def _again(self, loop: Any = None) -> None:
        """Forget the connection; what was sent on it is sent again."""
        connection, self._connection = self._connection, None
        self._waiting[:0], self._sent = self._sent, []
        if connection is not None:
            loop = loop or self._loop
            if loop is not None and connection._sock is not None:
                loop.remove_reader(connection._sock)
            connection.disconnect()
