"""The answers to a call that say that it is accepted, or that it has not ended."""

from __future__ import annotations

from pydantic_core import to_json
from starlette.responses import Response

from gateway.calls import outcome
from gateway.calls.accepting import Taken
from gateway.calls.idempotency import REPLAYED
from gateway.web.call_headers import Wishes
from gateway.web.problems import problem


def accepted(taken: Taken, wishes: Wishes) -> Response:
    """202 with the id of the call, or of the first one with the same idempotency key."""
    content = to_json({"task_id": taken.id, "status": "submitted"})
    response = Response(content, 202, media_type="application/json")
    place, name = outcome.location(taken.id).encode("latin-1"), taken.id.encode("latin-1")
    response.raw_headers += ((b"location", place), (b"x-call-id", name))
    if taken.replayed:
        response.headers.update(REPLAYED)
    if wishes.preferred:
        response.headers["Preference-Applied"] = "respond-async" if taken.kept else wishes.preferred
    return response


def not_yet(status: int, task_id: str, sentence: str, **headers: str) -> Response:
    """A problem that names the call and where to ask for it."""
    place = outcome.location(task_id)
    detail = f"{sentence} Ask {place} what becomes of it."
    return problem(status, detail, headers={"Location": place, "X-Call-Id": task_id, **headers}, call_id=task_id)
