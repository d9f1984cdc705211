"""The whole HTTP request as the arguments of a call, for handlers that were written for it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from gateway.calls.arguments import Given
from gateway.web import body
from gateway.web.problems import refuse
from runtime.deployment.deployment import Deployed
from runtime.styles.names import REQUEST

STYLES = ("request", "lambda_http")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "x-tundish-cli"})


def wanted(deployed: Deployed) -> bool:
    """Whether a function is called with requests instead of the arguments that they carry."""
    return deployed.style in STYLES


def check_method(request: Request, deployed: Deployed) -> None:
    """403 and 405 for what is no POST.

    A page of another site can have a browser GET an address without an `Origin`, as a picture; browsers tell that by
    another header, and old ones name the page.
    """
    name, site = deployed.spec.name, request.headers.get("sec-fetch-site", "none")
    if not wanted(deployed):
        detail = f"{name} is called with POST; only a function of style {' or '.join(STYLES)} takes {request.method}."
        refuse(405, detail, headers={"Allow": "POST"})
    if site not in ("none", "same-origin"):
        refuse(403, f"Another page ({site}) may not call {name}: only the gateway's own pages may.")
    referer = request.headers.get("referer", "")
    if referer and _host_of(referer) != request.headers.get("host", "").lower():
        refuse(403, f"The page at {referer[:200]!r} may not call {name}: only the gateway's own pages may.")


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return None


async def read(request: Request, deployed: Deployed, limit: int) -> Given:
    """The request with its body, whatever that is. 413."""
    data = await body.read(request, limit)
    content = _content(data, "body", "body_base64")
    same = {"method": request.method, "query": request.url.query, **content}  # times and headers differ in a repetition
    if deployed.style == "lambda_http":
        return Given(_event(request, data), same=same)
    headers = [list(pair) for pair in _headers(request)]
    return Given({REQUEST: {**same, "path": "/", "headers": headers}}, same=same)


def _event(request: Request, data: bytes) -> dict[str, Any]:
    """API Gateway's event, payload version 2.0, with `httpMethod` and `path` of version 1.0 beside it."""
    headers: dict[str, str] = {}
    for name, value in _headers(request):
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    now = time.time()
    source = request.client.host if request.client else ""
    http = {
        "method": request.method,
        "path": "/",
        "protocol": f"HTTP/{request.scope.get('http_version', '1.1')}",
        "sourceIp": source,
        "userAgent": headers.get("user-agent", ""),
    }
    text = _content(data, "text", "base64")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": request.url.query,
        "httpMethod": request.method,
        "path": "/",
        "headers": headers,
        "cookies": [one.strip() for one in headers.get("cookie", "").split(";") if one.strip()],
        "queryStringParameters": {
            name: ",".join(request.query_params.getlist(name)) for name in dict.fromkeys(request.query_params)
        },
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "tundish",
            "domainName": headers.get("host", ""),
            "domainPrefix": headers.get("host", "").partition(".")[0],
            "http": http,
            "requestId": "",
            "routeKey": "$default",
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "body": text.get("text", text.get("base64")),
        "isBase64Encoded": "base64" in text,
    }


def _headers(request: Request) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP)


def _content(data: bytes, text: str, encoded: str) -> dict[str, str]:
    """A body as text where it is UTF-8, else as base64, under the name that says which."""
    try:
        return {text: data.decode()}
    except UnicodeDecodeError:
        return {encoded: base64.b64encode(data).decode()}
