"""A blocking client of the broker whose scripts go the shortest way: for the process that runs calls.

redis-py takes a connection from its pool for every command, asks it whether it still stands, notes how long it took and
gives it back: five times the work of packing, sending and reading. Here each thread that runs a script keeps a
connection for the next one. Everything else is redis-py's own, and so are connecting and the errors.
"""

from __future__ import annotations

import os
from typing import Any

import redis
from redis.exceptions import ResponseError

from runtime.broker import scripts

_BROKEN = (redis.ConnectionError, redis.TimeoutError)


class QuickClient(redis.Redis):
    """Made from a client of connection.py, whose pool it shares. Safe to share between threads, and over a fork."""

    _kept: list[Any]
    _pid = 0

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        return self._quickly(scripts.packed("EVALSHA", sha, numkeys, *keys_and_args))

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        return self._quickly(scripts.packed("EVAL", script, numkeys, *keys_and_args))

    def _quickly(self, packed: bytes) -> Any:
        if self._pid != os.getpid():  # what was kept is the parent's
            self._pid, self._kept = os.getpid(), []
        kept = self._kept
        connection = kept.pop() if kept else self.connection_pool.get_connection()
        try:
            try:
                return self._ask(connection, packed)
            except _BROKEN:  # it lay idle, and the broker was started again meanwhile
                return self._ask(connection, packed)
        finally:
            kept.append(connection)

    def _ask(self, connection: Any, packed: bytes) -> Any:
        try:
            connection.send_packed_command((packed,), check_health=False)
            return connection.read_response()
        except ResponseError:
            raise
        except BaseException:  # a time limit that was reached: the answer is still to come, and nobody reads it
            connection.disconnect()
            raise


def quick(client: redis.Redis) -> redis.Redis:
    """The same broker, quicker; the client itself where its connections are counted (`broker: pool`)."""
    if isinstance(client.connection_pool, redis.BlockingConnectionPool):
        return client
    return QuickClient(connection_pool=client.connection_pool)
