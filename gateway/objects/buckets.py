"""`/admin/buckets` and `GET /documents`: the bucket triggers, the confirmation of a loss, the documents they know."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.buckets import bucket_state, document_list, holds
from runtime.buckets.document_list import Wanted
from runtime.buckets.documents import Status


class Query(Given):
    """Which documents are listed."""

    bucket: Annotated[str, Field(min_length=1)] | None = None
    status: Status | None = None
    prefix: str = ""
    cursor: str | None = None


async def listing(request: Request) -> Response:
    """Every bucket trigger: what wakes it, its documents by state, what is out, its last listing, a held loss.

    And how many bytes an upload may have.
    """
    gateway, mine = state.of(request), tenancy.only(request)
    found = await gateway.in_thread(bucket_state.read, gateway.sync_redis, gateway.project)
    triggers = []
    for watch, told in found:
        if mine is not None and not gateway.owners.whole(mine, watch.trigger.bucket, watch.trigger.prefix):
            continue  # its numbers are of others, too
        counted = await gateway.ledgers.of(gateway, watch)
        triggers.append({**told, "states": counted.states, "counted_at": counted.at})
    return _answer({"triggers": triggers, "upload_limit": gateway.project.limits.upload})


async def documents(request: Request) -> Response:
    """One page of the documents that the ledgers know, in no order. `cursor` is null at the end."""
    gateway, query = state.of(request), parse(Query, request.query_params)
    if query.bucket is not None:
        _known(gateway, query.bucket)
    wanted = Wanted(query.bucket, query.status, query.prefix, tenancy.only(request))
    try:
        found = await gateway.in_thread(document_list.page, gateway.sync_redis, gateway.project, wanted, query.cursor)
    except document_list.BadCursor as error:
        refuse(400, str(error))
    headers = {}
    if found.cursor:
        following = urlencode({**request.query_params, "cursor": found.cursor})
        headers["Link"] = f'<{request.url.path}?{following}>; rel="next"'
    return _answer({"documents": found.documents, "cursor": found.cursor}, headers)


async def confirm(request: Request) -> Response:
    """Say that a sudden loss of most of a bucket is meant; the next listing carries it out."""
    gateway, bucket = state.of(request), request.path_params["bucket"]
    _known(gateway, bucket)
    held = await gateway.in_thread(holds.confirm, gateway.sync_redis, gateway.project, bucket)
    return _answer({"bucket": bucket, "confirmed": held})


def _known(gateway: state.Gateway, bucket: str) -> None:
    watched = gateway.project.buckets()
    if bucket not in watched:
        refuse(404, f"No trigger watches the bucket {bucket}; watched buckets: {', '.join(watched) or 'none'}.")


def _answer(told: object, headers: dict[str, str] | None = None) -> Response:
    return Response(
        to_json(told), headers={"Cache-Control": "no-store"} | (headers or {}), media_type="application/json"
    )
