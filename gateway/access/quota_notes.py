"""Quotas that are nearly used up: told in a header of every answer that their tenant gets, and once in the log."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from gateway.web import principal
from runtime.callers.tenant_limits import Near

HEADER = "X-Quota-Warning"
log = logging.getLogger("tundish.gateway")


class QuotaNotes:
    """What this gateway has last heard of each tenant's quotas. Written by its event loop alone."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Near, str]] = {}
        self._said: dict[tuple[str, str], str] = {}

    def note(self, tenant: str, near: Near | None) -> None:
        """What an accepted call or object has said of them."""
        if near is None:
            self._known.pop(tenant, None)
            return
        period = _period(near)
        self._known[tenant] = near, period
        if self._said.get((tenant, near.what)) != period:
            self._said[tenant, near.what] = period
            log.warning("tenant %s has used %s (%.0f %%)", tenant, near, 100 * near.used / max(near.limit, 1e-9))

    def on(self, request: Request, response: Response) -> Response:
        """The answer, with the header where there is something to say."""
        if self._known:
            tenant = principal.of(request).tenant
            near, period = self._known.get(tenant, (None, ""))
            if near is not None and period == _period(near):
                response.headers[HEADER] = str(near)
        return response


def _period(near: Near) -> str:
    """The day or month that it is about."""
    return datetime.now(UTC).strftime("%Y-%m-%d" if near.per == "day" else "%Y-%m")
