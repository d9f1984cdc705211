"""A record with its result, also where that is in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.calls import file_answer
from gateway.calls.outcome import location
from runtime.invocations.invocation import Invocation

if TYPE_CHECKING:
    from gateway.state import Gateway


async def whole(gateway: Gateway, record: Invocation) -> Invocation:
    """The record with the bytes of its result in it; a file is only told of.

    Raises StoreDown, StoreDenied, ObjectMissing.
    """
    if record.result_type is not None:
        return replace(record, result_json=file_answer.described(record, location(record.id)))
    if record.result_ref is None or record.result_json is not None:
        return record
    return replace(record, result_json=await gateway.in_thread(gateway.blobs.get, record.result_ref))
