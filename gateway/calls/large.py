"""Arguments that are too large for a record go to the store before their call is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from runtime.errors import ObjectMissing
from runtime.invocations.blobs import ARGUMENTS_LIMIT, by_reference
from runtime.invocations.submit import Call

if TYPE_CHECKING:
    from gateway.state import Gateway

_MOST_GROWTH = 3
"""Arguments can be longer in a record than in JSON: a number of four characters takes nine bytes there."""


async def lightened(gateway: Gateway, request: Request, calls: list[Call]) -> list[Call]:
    """The calls of one request, with large arguments by reference. A small body holds none and costs nothing here."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) * _MOST_GROWTH <= ARGUMENTS_LIMIT:
        return calls

    def lighten(call: Call) -> Call:
        try:
            return by_reference(call, gateway.blobs, gateway.deployment.find(call.function).spec)
        except ObjectMissing:  # a store without our bucket keeps nothing
            return call

    return await gateway.in_thread(lambda: [lighten(call) for call in calls])
