"""`GET /documents/BUCKET/KEY`: what became of one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.web.fields import Given, parse
from gateway.web.keypath import bucket_and_key
from runtime.buckets import documents
from runtime.errors import BadInput, IndexUnavailable, ObjectMissing
from runtime.store.names import check_new_key

if TYPE_CHECKING:
    from runtime.index.held import Held

MOST_CHARACTERS = 2**20
"""Of the extracted text, in one answer."""


class Query(Given):
    """What is wanted besides the status."""

    text: bool = False


async def status(request: Request) -> Response:
    """pending, processing, completed, failed, removed …, with the call, its reason and the chunks that are searchable.

    404 for an object that is unknown. `?text=1` adds the text that was extracted, as far as it is searchable.
    """
    gateway = state.of(request)
    bucket, key = bucket_and_key(request)
    query = parse(Query, request.query_params)
    tenancy.check_object(request, bucket, key)
    found = await documents.document_status_async(gateway.redis, gateway.project, bucket, key)
    if found is None or found["status"] in ("unwatched", "removed"):
        found = await _as_stored(gateway, bucket, key, found)
    indexed = [trigger for trigger in found["triggers"] if trigger["index"]]
    held = [await _held(gateway, bucket, key, trigger) for trigger in indexed]
    for trigger, one in zip(indexed, held, strict=True):
        trigger["chunks"] = len(one.rows) if one else None
    searchable = [one for one in held if one]
    found["chunks"] = len(searchable[0].rows) if searchable else None
    if indexed:
        found["searchable"] = len(searchable) == len(indexed)
    if query.text:
        text, whole = None, True
        if searchable:
            text, whole = await gateway.in_thread(searchable[0].text, MOST_CHARACTERS)
        found |= {"text": text, "text_truncated": not whole}
    return Response(to_json(found), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def _as_stored(gateway: state.Gateway, bucket: str, key: str, found: dict[str, Any] | None) -> dict[str, Any]:
    """What the ledger does not know: an object that has not been seen yet, or not since it came back, or is no
    trigger's. Raises ObjectMissing for one that is not there, and never was."""
    if found is None or not found["triggers"]:
        _check_name(key)
    try:
        info = await gateway.in_thread(gateway.store.head, bucket, key)
    except ObjectMissing:
        if found is None or found["status"] != "removed":
            raise
        return found
    unseen: dict[str, Any] = {"bucket": bucket, "key": key, "status": "pending", "reason": None}
    unseen |= {"notes": [], "triggers": []}
    known = found if found and found["status"] == "unwatched" else {}
    return {**unseen, **known, "etag": info.etag, "size": info.size, "invocation": None, "processed_at": None}


def _check_name(key: str) -> None:
    """SeaweedFS answers for `a//b` and for `a\\b` with `a/b`. Raises ObjectMissing."""
    try:
        check_new_key(key)
    except BadInput as error:
        raise ObjectMissing(
            f"No trigger knows such an object, and the store may have it by another name. {error}"
        ) from error


async def _held(gateway: state.Gateway, bucket: str, key: str, trigger: dict[str, Any]) -> Held | None:
    """The document in the version that answers now, if that has it as the trigger has processed it.

    Nobody can find it while the engine of its index does not answer, and there is a status all the same.
    """
    if trigger["status"] != "completed":
        return None
    try:
        held = await gateway.indexes.document(trigger["index"], bucket, key)
    except (IndexUnavailable, ObjectMissing):  # away, refused, or its collection is gone
        return None
    current = held is not None and (held.seq >= trigger["seq"] or held.etag == trigger["etag"])
    return held if current else None
