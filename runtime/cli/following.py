"""Following a call to its end, and waiting for one with a progress bar."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from runtime.attempts.lines import plain
from runtime.cli.client import Client, Unreachable
from runtime.cli.display import Display
from runtime.cli.event_stream import events
from runtime.errors import TundishError

A = TypeVar("A")
ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
_PATIENCE_SECONDS = 0.5
"""A call that takes no longer needs no bar."""
_CLOCKS_SECONDS = 60.0
"""How far the clocks of this machine and the gateway's may be apart."""


class CallEnded(TundishError):
    """A call that was followed did not succeed."""


def follow(
    client: Client, task_id: str, display: Display, *, place: str = "", item: Callable[[Any], None] | None = None
) -> dict[str, Any]:
    """Show output, progress and retries until the end; what the end tells. `item` is given the items of a generator.

    Raises Refused, Unreachable.
    """
    path = f"/api/v1/tasks/task/{quote(task_id, safe='')}/events"
    for event in events(client, path, place):
        told = event.data or {}
        if event.name == "log":
            display.line(plain(told["text"], told["level"]))
        elif event.name == "progress":
            display.progress(told)
        elif event.name == "item":
            if item is not None:
                item(told["item"])
        elif told.get("status") in ENDS:
            return told
        elif note := _note(told):
            display.line(note)
    raise Unreachable(f"The gateway does not tell how {task_id} ended.")


def outcome(client: Client, told: Mapping[str, Any]) -> Any:
    """The result that an end tells of. Raises CallEnded for a failure, with its reason."""
    if told["state"] == "succeeded":
        return told["result"] if "result" in told else client.get(told["result_url"])
    reason = told.get("error") or told.get("reason")
    raise CallEnded(f"{told['function']} {told['state']}{': ' if reason else ''}{reason or ''}")


def wait_with_bar(client: Client, function: str, call: Callable[[Mapping[str, str]], A]) -> A:
    """Make a call that waits for its answer; one that reports progress meanwhile gets a bar."""
    trace = uuid.uuid4().hex
    box: list[A | BaseException] = []

    def work() -> None:
        try:
            box.append(call({"traceparent": f"00-{trace}-{trace[:16]}-01"}))
        except BaseException as error:  # noqa: BLE001 (it is raised again, where somebody waits)
            box.append(error)

    began = time.time()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    with contextlib.suppress(TundishError), Display() as display:  # the answer counts, not the bar
        task_id = _find(client, function, trace, began, thread)
        for event in _progress(client, task_id) if task_id else ():
            display.progress(event)
    thread.join()
    (found,) = box
    if isinstance(found, BaseException):
        raise found
    return found


def _find(client: Client, function: str, trace: str, began: float, thread: threading.Thread) -> str:
    """The id of a call that is under way, by the trace that it carries; empty when it was answered before."""
    seen: set[str] = set()
    while thread.is_alive():
        fields = {"function": function, "since": str(began - _CLOCKS_SECONDS), "limit": "50"}
        for task in client.get("/api/v1/tasks", **fields)["tasks"]:
            task_id = task["task_id"]
            if task_id in seen or task["ready"]:
                continue
            seen.add(task_id)
            told = client.get(f"/api/v1/tasks/task/{quote(task_id, safe='')}")
            if trace in (told.get("traceparent") or ""):
                return str(task_id)
        thread.join(_PATIENCE_SECONDS)
    return ""


def _progress(client: Client, task_id: str) -> Iterator[Mapping[str, Any]]:
    for event in events(client, f"/api/v1/tasks/task/{quote(task_id, safe='')}/events"):
        told = event.data or {}
        if event.name == "progress":
            yield told
        elif told.get("status") in ENDS:
            return


def _note(told: Mapping[str, Any]) -> str:
    """What there is to say of a state that is no end; nothing of those that are as expected."""
    if told["state"] == "retrying":
        pause = max(0.0, (told["due"] or 0.0) - time.time())
        return f"attempt {told['attempt']} failed: {told['error']}; again in {pause:.1f} s"
    return f"it waits: {told['waits']}" if told["state"] == "accepted" and told.get("waits") else ""
