"""The answers to a call that say that it is accepted, or that it has not ended."""

from __future__ import annotations

from pydantic_core import to_json
from starlette.responses import Response

from gateway import outcome
from gateway.accepting import Taken
from gateway.call_headers import Wishes
from gateway.idempotency import REPLAYED
from gateway.problems import problem


def accepted(taken: Taken, wishes: Wishes) -> Response:
    """202 with the id of the call, or of the first one with the same idempotency key."""
    content = to_json({"task_id": taken.id, "status": "submitted"})
    headers = {"Location": outcome.location(taken.id), "X-Call-Id": taken.id}
    headers |= REPLAYED if taken.replayed else {}
    if wishes.preferred:
        headers["Preference-Applied"] = "respond-async" if taken.kept else wishes.preferred
    return Response(content, 202, headers=headers, media_type="application/json")


def not_yet(status: int, task_id: str, sentence: str, **headers: str) -> Response:
    """A problem that names the call and where to ask for it."""
    place = outcome.location(task_id)
    detail = f"{sentence} Ask {place} what becomes of it."
    return problem(status, detail, headers={"Location": place, "X-Call-Id": task_id, **headers}, call_id=task_id)
