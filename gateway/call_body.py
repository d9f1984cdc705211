"""What the body of a call is: the arguments as a JSON object, or one CloudEvent, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from gateway import body, cloudevents
from gateway.problems import refuse


@dataclass(frozen=True, slots=True)
class Given:
    """What one call was given. `key` names the event that it came as."""

    arguments: Mapping[str, Any]
    event: Mapping[str, Any] | None = None
    key: tuple[str, ...] = ()


async def read(request: Request, limit: int) -> Given | list[Given]:
    """The call, or the calls of a batch. 400, 413, 415, 422."""
    data, kind = await body.read(request, limit), body.media_type(request)
    if kind == cloudevents.BATCH:
        return [_event(event) for event in cloudevents.batch(data)]
    if kind == cloudevents.STRUCTURED:
        return _event(cloudevents.structured(data))
    if kind.startswith(cloudevents.KINDS):
        accepted = f"{cloudevents.STRUCTURED}, {cloudevents.BATCH}"
        refuse(415, f"The body is {kind}; send {accepted}, or binary mode.", headers={"Accept-Post": accepted})
    if cloudevents.is_binary(request.headers):
        return _event(cloudevents.binary(request.headers, kind, data))
    return Given(body.as_object(data, kind))


def _event(event: cloudevents.Event) -> Given:
    return Given(event.arguments, event.attributes, event.key)
