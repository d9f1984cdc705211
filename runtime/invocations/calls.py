"""Functions that invoke functions: the `calls` port of a context.

Ids of children are made of the parent's id and what is asked for, in the order in which it is asked. An attempt
that is repeated, and a parent that goes on after its children, find the children they had and submit none twice.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import redis

from runtime import keys
from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.context import Far, Suspended
from runtime.deployment.deployment import Deployment
from runtime.deployment.validate import validate
from runtime.errors import BadInput, CallFailed
from runtime.invocations import admission
from runtime.invocations.blobs import Blobs, by_reference
from runtime.invocations.fans import Fan
from runtime.invocations.passed_files import packed, shown
from runtime.invocations.submit import Call, now_ms, prepare, submit_with

MAX_CHILDREN = 100_000
"""Children of one map: each is a record."""

PATIENCE_SECONDS = 0.1
"""How long a parent looks for quick answers before it gives its slot back."""

FANS_APART = 1000
"""Numbers of fans between two maps: a map that is begun anew with other items takes the next one."""

_SENT_SECONDS = 30 * 86400

# A parent may outlive the record of what it has submitted: nothing else would know of it then.
_ONCE = """
if redis.call('SADD', GKEYS[1], GARGV[1]) == 0 then return false end
redis.call('EXPIRE', GKEYS[1], GARGV[2])
return true
"""

_CHUNK = 500
Answer = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """The attempt that calls, and what its children (and the objects that it writes) inherit."""

    id: str
    root: str
    function: str = ""
    tenant: str = "default"
    priority: int | None = None
    deadline: float | None = None
    trace: str | None = None
    hops: int = 0
    round: int = 0
    """How often the invocation was begun anew after its end: each time it has new children."""
    confined: bool = False
    """It may see what is its tenant's only."""


class RedisCalls:
    """Submits with the calling attempt as parent. Implements `runtime.context.Calls`."""

    def __init__(self, client: redis.Redis, deployment: Deployment, origin: Origin, blobs: Blobs) -> None:
        self._client, self._deployment, self._origin, self._blobs = client, deployment, origin, blobs
        self._number = 0
        self._fans = 0

    def submit(self, function: str, arguments: Mapping[str, Any], **options: Any) -> str:
        """Raises FunctionNotFound, InvalidArguments, BrokerDown."""
        self._number += 1
        call = self._lean(self._call(str(self._number), function, arguments, options))
        task_id = str(call.id)
        names = [keys.sent(self._origin.id)]
        submit_with(self._client, self._deployment, call, _ONCE, names, [task_id, _SENT_SECONDS])
        return task_id

    def gather(
        self,
        calls: Iterable[tuple[str, Mapping[str, Any]]],
        in_flight: int,
        *,
        far: Far | None = None,
        **options: Any,
    ) -> list[Answer]:
        """Invoke many functions and wait for all: (state, result or error) of each, in order.

        Raises Suspended when they have not all ended soon: the attempt ends here, and the function is run again
        from its beginning when they have; then the answers are here, and `calls` is not even looked at.
        """

        def send(fan: Fan) -> None:
            asked = list(calls)
            if len(asked) > MAX_CHILDREN:
                raise ValueError(
                    f"{len(asked)} calls in one map; at most {MAX_CHILDREN} are possible: use larger items"
                )
            if far is not None and len(far.amounts) != len(asked):
                raise ValueError(f"{len(far.amounts)} amounts for {len(asked)} calls of one map; give one for each")
            fan.open(_digest(asked), len(asked), far)
            text = scripts.source("submit")
            for start in range(0, len(asked), _CHUNK):
                with self._client.pipeline(transaction=False) as pipe:
                    pipe.script_load(text)  # its 12 KB go once, not with each child
                    for index, (function, arguments) in enumerate(asked[start : start + _CHUNK], start):
                        call = self._call(f"{fan.name} {index}", function, arguments, options)
                        amount = far.amounts[index] if far else None
                        child = replace(call, fan=fan.name, fan_index=index, in_flight=in_flight, amount=amount)
                        prepared = prepare(self._deployment, self._lean(child), now_ms())
                        pipe.evalsha(scripts.sha(text), 0, *prepared.arguments)
                    pipe.execute()

        return self._fan_in(send)

    def join(self, ids: Sequence[str]) -> list[Answer]:
        """Wait for invocations that were submitted before, like `gather`."""

        def send(fan: Fan) -> None:
            fan.open(_digest(ids), len(ids))
            for index, task_id in enumerate(ids):
                if not fan.adopt(task_id, index):
                    raise CallFailed(f"The invocation {task_id} is not recorded, or another one waits for it.")

        return self._fan_in(send)

    def _fan_in(self, send: Callable[[Fan], None]) -> list[Answer]:
        with translated():
            fan = Fan(self._client, self._origin.id, (self._origin.round * 1000 + self._fans) * FANS_APART)
            self._fans += 1
            if not fan.sent:
                send(fan)
                fan.close()
            give_up = time.monotonic() + PATIENCE_SECONDS
            while True:
                admission.admit_next(self._client, self._deployment, f"fan:{fan.name}")
                answers = fan.answers(self._blobs)
                if answers is not None:
                    return answers
                if time.monotonic() > give_up:
                    raise Suspended(fan.name)
                time.sleep(0.005)

    def _lean(self, call: Call) -> Call:
        return by_reference(call, self._blobs, self._deployment.find(call.function).spec)

    def _call(self, place: str, function: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
        arguments = packed(arguments, self._blobs)
        validate(self._deployment.find(function), shown(arguments))
        origin = self._origin
        if origin.confined and options.get("tenant", origin.tenant) != origin.tenant:
            raise BadInput(f"A call of the tenant {origin.tenant} cannot call {function} for {options['tenant']}.")
        told = f"{origin.id} {origin.round} {place} {function} {_digest(arguments)}"
        call = Call(
            function,
            arguments,
            trigger="function",
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, told)),
            parent=origin.id,
            root=origin.root,
            tenant=origin.tenant,
            priority=origin.priority,
            deadline=origin.deadline,
            trace=origin.trace,
            hops=origin.hops,
            confined=origin.confined,
        )
        return replace(call, **options)


def _digest(value: Any) -> str:
    return hashlib.sha256(msgpack.packb(value, default=str, use_bin_type=True)).hexdigest()
