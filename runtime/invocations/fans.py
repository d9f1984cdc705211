"""Children of one parent that are waited for together: a fan. Its answers stay until the parent has ended."""

from __future__ import annotations

import json
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.context import Far
from runtime.errors import CallFailed
from runtime.file_document import value_of
from runtime.invocations.blobs import Blobs

_SENT = "sent"


class Fan:
    """One fan of a parent: `PARENT:NUMBER`. What was asked for is noted in the parent's record, as a hash."""

    def __init__(self, client: redis.Redis, parent: str, number: int) -> None:
        self._client, self._parent, self._number = client, parent, number
        self.name = f"{parent}:{number}"

    @property
    def sent(self) -> bool:
        """Whether all children were sent by an earlier run of the parent: then what it asks for now is no matter."""
        return self._noted() == _SENT.encode()

    def open(self, digest: str, total: int, far: Far | None = None) -> None:
        """Begin to send, or go on where a run of the parent died in the middle; another list gets a fan of its own.

        With `far` the parent's progress goes on as its children end.
        """
        while (noted := self._noted()) not in (None, digest.encode()):
            self._number += 1
            self.name = f"{self._parent}:{self._number}"
        if noted is None:
            told = json.dumps({"done": far.done, "total": far.total, "message": far.message}) if far else ""
            scripts.run(self._client, "fan", (), [self._parent, self.name, total, digest, told])

    def close(self) -> None:
        """All are sent."""
        scripts.run(self._client, "fan_sent", (), [self._parent, self.name, _SENT])

    def answers(self, blobs: Blobs) -> list[tuple[str, Any]] | None:
        """(state, result or error) of every child, in order; None while some are out."""
        key = keys.fan(self.name)
        total: Any = self._client.hget(key, "total")
        if total is None:
            raise CallFailed(f"The answers to {self._parent} are gone: they are kept for an hour after its end.")
        out: Any = self._client.hlen(key)
        if out <= int(total):
            return None
        found: Any = self._client.hgetall(key)
        return [_answer(found[str(index).encode()], blobs) for index in range(int(total))]

    def adopt(self, task_id: str, index: int) -> bool:
        """Let an invocation that exists already answer here; False: unknown, or waited for by another."""
        return bool(scripts.run(self._client, "adopt", (), [task_id, self.name, index]))

    @property
    def _field(self) -> str:
        return f"fan {self.name}"

    def _noted(self) -> bytes | None:
        found: Any = self._client.hget(keys.invocation(self._parent), self._field)
        return None if found is None else bytes(found)


def _answer(raw: bytes, blobs: Blobs) -> tuple[str, Any]:
    kind, _, value = raw.partition(b"\n")
    if kind == b"file":
        return "succeeded", value_of(json.loads(value), blobs)
    if kind == b"ref":
        return "succeeded", json.loads(blobs.get(value.decode()))
    if kind == b"result":
        return "succeeded", json.loads(value or b"null")
    return kind.decode(), json.loads(value) if value else {}
