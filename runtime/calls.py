"""Functions that invoke functions: the `calls` port of a context."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from runtime.deployment import Deployment
from runtime.errors import CallFailed
from runtime.invocations import read_many
from runtime.submit import Call, submit, validate

_POLL_SECONDS = (0.005, 0.25)
"""First and longest pause between two looks at the records that are waited for."""


class RedisCalls:
    """Submits with the calling attempt as parent. Implements `runtime.context.Calls`."""

    def __init__(self, client: redis.Redis, deployment: Deployment, *, parent: str, root: str, tenant: str) -> None:
        self._client, self._deployment = client, deployment
        self._parent, self._root, self._tenant = parent, root, tenant

    def submit(self, function: str, arguments: Mapping[str, Any], *, chain: bool = True) -> str:
        """Raises FunctionNotFound, InvalidArguments, BrokerDown."""
        validate(self._deployment.find(function), arguments)
        call = Call(
            function,
            arguments,
            trigger="function",
            parent=self._parent,
            root=self._root,
            tenant=self._tenant,
            chain=chain,
        )
        return submit(self._client, self._deployment, call)

    def wait(self, ids: Iterable[str], timeout: float | None = None) -> dict[str, Any]:
        """Results by id. Raises CallFailed for the first that did not succeed, or when the time is up."""
        waiting, results = set(ids), dict[str, Any]()
        give_up = None if timeout is None else time.monotonic() + timeout
        pause, longest = _POLL_SECONDS
        while waiting:
            for task_id, found in read_many(self._client, sorted(waiting)).items():
                if found is None:
                    raise CallFailed(f"The invocation {task_id} is no longer recorded.")
                if not found.terminal:
                    continue
                if found.state != "succeeded":
                    reason = (found.error or {}).get("summary") or found.state
                    raise CallFailed(f"{found.function}[{task_id}] {found.state}: {reason}")
                results[task_id] = json.loads(found.result_json or b"null")
                waiting.discard(task_id)
            if waiting:
                if give_up is not None and time.monotonic() > give_up:
                    raise CallFailed(f"{len(waiting)} calls had not ended within {timeout:.0f} s.")
                time.sleep(pause)
                pause = min(longest, pause * 1.5)
        return results
