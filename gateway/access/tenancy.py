"""What of a shared system is whose: every route that tells of calls, objects or rows asks here what it may tell.

What is another tenant's is answered as what is not there: 404, in the words that a missing one gets.
"""

from __future__ import annotations

from typing import TypedDict

from starlette.requests import Request

from gateway import state
from gateway.web import principal
from runtime.errors import BadInput, ObjectMissing
from runtime.store.names import check_new_key


class Whose(TypedDict):
    """The fields of a call that say for whom it is made."""

    tenant: str
    caller: str
    confined: bool


def whose(request: Request) -> Whose:
    """For `Call(…, **whose(request))`."""
    who = principal.of(request)
    return {"tenant": who.tenant, "caller": who.name, "confined": who.confined}


def only(request: Request) -> str | None:
    """The one tenant that a request may see; None: all of them."""
    who = principal.of(request)
    return who.tenant if who.confined else None


def sees(request: Request, tenant: str) -> bool:
    return principal.of(request).sees(tenant)


def sees_object(request: Request, bucket: str, key: str) -> bool:
    """Whether an object, whether it is there or not, is one that the request may know of."""
    tenant = only(request)
    if tenant is None:
        return True
    try:
        check_new_key(key)  # SeaweedFS answers for `a//b` and for `a\b` with `a/b`, which may be somebody else's
    except BadInput:
        return False
    gateway = state.of(request)
    return bucket != gateway.settings.store.bucket and gateway.owners.of(bucket, key) == tenant


def check_object(request: Request, bucket: str, key: str) -> None:
    """Raises ObjectMissing for an object that is not the caller's, as for one that is not there."""
    if not sees_object(request, bucket, key):
        endpoint = state.of(request).settings.store.endpoint
        raise ObjectMissing(f"There is no object {key!r} in bucket {bucket!r} in the store at {endpoint}.")


def check_new_object(request: Request, bucket: str, key: str) -> None:
    """Raises ObjectMissing for a place that is not the caller's, with those that are."""
    if not sees_object(request, bucket, key):
        who, gateway = principal.of(request), state.of(request)
        places = ", ".join(gateway.owners.places(who.tenant)) or "none"
        raise ObjectMissing(f"{bucket}/{key} is no place of the tenant {who.tenant}; its places are: {places}.")
