"""What the body of a call is: the arguments as a JSON object or with files, or one CloudEvent, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from gateway.calls import cloudevents
from gateway.calls import upload as call_upload
from gateway.web import body
from gateway.web.problems import refuse

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.deployment.deployment import Deployed


@dataclass(frozen=True, slots=True)
class Given:
    """What one call was given. `key` names the event that it came as.

    `same`: what two calls under one Idempotency-Key have in common, where that is not all of the arguments.
    """

    arguments: Mapping[str, Any]
    event: Mapping[str, Any] | None = None
    key: tuple[str, ...] = ()
    same: Mapping[str, Any] | None = None
    checked: bool = False
    """They were held against the function's schema already."""


async def read(request: Request, gateway: Gateway, deployed: Deployed, task_id: str) -> Given | list[Given]:
    """The call, or the calls of a batch. 400, 413, 415, 422."""
    kind = body.media_type(request)
    if not (body.is_json(kind) or kind.startswith(cloudevents.KINDS) or cloudevents.is_binary(request.headers)):
        found = await call_upload.arguments(request, gateway, deployed, task_id, kind)
        if found is not None:
            return Given(found[0], same=found[1], checked=True)
    data = await body.read(request, gateway.project.limits.body)
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
