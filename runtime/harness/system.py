"""A running system, as an integration test sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runtime.errors import CallFailed, FieldError, FunctionNotFound, InvalidArguments, TundishError

if TYPE_CHECKING:
    from runtime.cli.client import Answer, Client
    from runtime.context import Context, Store

PATIENCE_SECONDS = 60.0


class NoSystem(TundishError):
    """The system did not start."""


class NotHandled(TundishError):
    """An object was uploaded, but no function dealt with it."""


@dataclass(frozen=True)
class System:
    """A running system and its state folder. Every method waits, `within` seconds at most (AssertionError)."""

    home: Path

    @cached_property
    def _run(self) -> Mapping[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.home / "run.json").read_text())
        except (OSError, ValueError) as error:
            raise NoSystem(f"No system runs on {self.home}. Start it with `tundish up`.") from error
        return found

    @property
    def url(self) -> str:
        """Of its gateway."""
        return str(self._run["url"])

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables by which any client finds its broker and its store: CELERY_BROKER_URL, MINIO_ENDPOINT, …"""
        found: Mapping[str, str] = self._run["environ"]
        return found

    @property
    def log(self) -> str:
        """What `tundish up` has written, if it was started by `running_system`."""
        file = self.home / "up.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def client(self) -> Client:
        """Any request: `client.get("/functions")`. It may do what an administrator may."""
        from runtime.callers.own_key import own_key
        from runtime.cli.client import Client

        return Client(self.url, own_key(self.home, self.url, {}))

    @cached_property
    def store(self) -> Store:
        from runtime.config.environ import Environment, connect
        from runtime.store.port import MinioStore

        return MinioStore(connect(Environment(self.environ, [], {}))["store"])

    def call(self, function: str, /, **arguments: Any) -> Any:
        """Invoke a deployed function and wait for its result, decoded if it is JSON, else its bytes.

        It is not repeated when it fails. Raises InvalidArguments, FunctionNotFound and CallFailed.
        """
        answer = self._post("function", function, arguments, {}, timeout=None)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        return answer.json() if kind == "application/json" else answer.data

    def submit(self, function: str, /, **arguments: Any) -> str:
        """Invoke a deployed function; returns the id of the call."""
        return self.send(function, arguments)

    def send(self, function: str, arguments: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> str:
        """The same with headers, such as X-Priority."""
        return str(self._post("async-function", function, arguments, headers or {}).json()["task_id"])

    def wait(self, task_id: str, *, within: float = PATIENCE_SECONDS) -> Any:
        """The result of a call that was submitted before. Raises CallFailed with its error and traceback."""
        told = self.ended(task_id, within=within)
        if told["successful"]:
            return self.client.get(f"/api/v1/tasks/task/{task_id}/result")
        error = told.get("error") or {}
        reason = error.get("traceback") or error.get("summary") or told.get("reason") or "no reason is recorded"
        raise CallFailed(f"{told['function']} {told['state']}: {reason}")

    def ended(self, task_id: str, *, within: float = PATIENCE_SECONDS) -> Mapping[str, Any]:
        """What the system says of a call when it has ended, however it did."""

        def look() -> Mapping[str, Any] | None:
            told: Mapping[str, Any] = self.client.get(f"/api/v1/tasks/task/{task_id}?traceback=1")
            return told if told["ready"] else None

        found: Mapping[str, Any] = until(look, f"the end of call {task_id}", within)
        return found

    def upload(self, bucket: str, key: str, data: bytes, *, within: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Put an object into a bucket and wait for every function that a trigger calls for it: name → its result.

        Documents are waited for until searches find them. The same bytes once more are no change: nothing is called.
        Raises CallFailed where a function has given up, NotHandled where no trigger wants the object.
        """
        from runtime.cli.client import object_path

        answer = self.client.call("PUT", object_path("buckets", bucket, key), body=data, timeout=within)
        etag = answer.headers.get("ETag", "").strip('"')
        told = self._settled(bucket, key, etag, within)
        if told["status"] != "completed":
            error = NotHandled if told["status"] in ("unwatched", "removed") else CallFailed
            raise error(f"{bucket}/{key} is {told['status']}: {told['reason'] or 'no reason is recorded'}")
        return {one["function"]: self.wait(one["invocation"], within=within) for one in told["triggers"]}

    def context(self, function: str = "function", **fields: Any) -> Context:
        """A context with the real store, index, model and calls of this system, for a function that runs in the test.

        What it calls runs in the system. Unlike in a worker, waiting for it does not end the attempt.
        """
        from runtime.context import Context
        from runtime.harness.ports import SystemPorts

        return Context(id="test", function=function, ports=SystemPorts(self), **fields)

    def _settled(self, bucket: str, key: str, etag: str, within: float) -> Mapping[str, Any]:
        from runtime.cli.client import Refused, object_path
        from runtime.cli.uploads import fate_known

        told: dict[str, Any] = {"status": "not seen by any trigger", "reason": None}

        def look() -> bool:
            try:
                told.update(self.client.get(object_path("documents", bucket, key)))
            except Refused as error:
                if error.status != 404:  # that is what it answers until a trigger has looked
                    raise
                return False
            return fate_known(told, etag)

        try:
            until(look, f"the end of what is done with {bucket}/{key}", within)
        except AssertionError as error:
            error.add_note(f"It is {told['status']}. {told['reason'] or ''}")
            raise
        return told

    def _post(
        self,
        way: str,
        function: str,
        arguments: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout: float | None = 30.0,
    ) -> Answer:
        from pydantic_core import to_json

        from runtime.cli.client import Refused

        headers = {"Content-Type": "application/json", **headers}
        place = f"/{way}/{quote(function, safe='')}"
        try:
            return self.client.call("POST", place, body=to_json(arguments), headers=headers, timeout=timeout)
        except Refused as error:
            if error.status == 422 and error.problem.get("errors"):
                fields = [FieldError(one["field"], one["message"]) for one in error.problem["errors"]]
                raise InvalidArguments(fields) from error
            if error.status == 404:
                raise FunctionNotFound(str(error)) from error
            raise CallFailed(f"{function}: {error}") from error


def real_context(function: str = "function", *, home: Path | str = ".tundish", **fields: Any) -> Context:
    """A context with the real ports of the system that `tundish up` runs on this state folder."""
    return System(Path(home).absolute()).context(function, **fields)


def until(look: Callable[[], Any], what: str, within: float) -> Any:
    """What `look` finds, as soon as it finds something. Raises AssertionError."""
    end = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {within:g} s")
        time.sleep(0.02)
    return found
