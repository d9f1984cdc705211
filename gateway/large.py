"""Arguments that are too large for a record go to the store before their call is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from runtime.blobs import ARGUMENTS_LIMIT, by_reference
from runtime.submit import Call

if TYPE_CHECKING:
    from gateway.state import Gateway


async def lightened(gateway: Gateway, request: Request, calls: list[Call]) -> list[Call]:
    """The calls of one request, with large arguments by reference. A small body holds none and costs nothing here."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) <= ARGUMENTS_LIMIT:
        return calls
    return await gateway.in_thread(lambda: [by_reference(call, gateway.blobs) for call in calls])
