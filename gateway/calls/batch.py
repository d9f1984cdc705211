"""A batch of CloudEvents: every event is a call of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from gateway.calls.accepting import accept_call
from gateway.calls.arguments import Given
from gateway.state import Gateway
from gateway.web.problems import refuse, retry_after, status_of
from runtime.errors import BrokerDown, FieldError, InvalidArguments, KeyReused, LimitReached
from runtime.invocations.submit import Call

_MOST_ERRORS = 100


def check_all(gateway: Gateway, function: str, events: Sequence[Given]) -> None:
    """The arguments of every event against the function's schema. Raises InvalidArguments with all that is wrong."""
    errors: list[FieldError] = []
    for position, given in enumerate(events):
        try:
            gateway.schemas.check(function, given.arguments)
        except InvalidArguments as error:
            errors += [FieldError(f"[{position}].{one.field}", one.message) for one in error.errors]
        if len(errors) > _MOST_ERRORS:
            break
    if errors:
        raise InvalidArguments(errors[:_MOST_ERRORS])


async def accept_all(gateway: Gateway, works: Sequence[Call]) -> Response:
    """202 with what became of each event, in their order: its id, or why it was refused."""
    tasks: list[dict[str, Any]] = []
    for work in works:
        try:
            taken = await accept_call(gateway, work)
        except KeyReused:
            message = "an event with this source and id, but with other data, was taken before"
            tasks.append({"task_id": None, "status": "refused", "error": message})
        except (BrokerDown, LimitReached) as error:
            detail = f"Only {len(tasks)} of {len(works)} events were taken; send all of them again. {error}"
            refuse(status_of(error), detail, headers=retry_after(error), tasks=tasks)
        else:
            tasks.append({"task_id": taken.id, "status": "submitted"})
    return Response(to_json({"tasks": tasks}), 202, media_type="application/json")
