"""AWS Lambda: `handler(event, context)`. The arguments of the call are the event."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from runtime.context import Context
from runtime.file import HttpAnswer
from runtime.styles.adapt import then
from runtime.styles.answers import http_answer, pairs

NO_LIMIT_MILLISECONDS = 900_000
"""What is left of a call that nothing stops: as much as Lambda ever gives."""


class LambdaContext:
    """What a Lambda handler asks its context; all that it does not know, ours answers (`context.store`)."""

    function_version = "$LATEST"
    memory_limit_in_mb = "0"  # nobody knows; it is a text there, too
    identity = None
    client_context = None

    def __init__(self, context: Context) -> None:
        self._context = context
        self.function_name = context.function
        self.aws_request_id = context.id
        self.invoked_function_arn = f"arn:aws:lambda:local:000000000000:function:{context.function}"
        self.log_group_name = f"/tundish/{context.function}"
        self.log_stream_name = context.id

    def get_remaining_time_in_millis(self) -> int:
        left = self._context.time_left()
        return NO_LIMIT_MILLISECONDS if left is None else int(left * 1000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def call(handler: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Any:
    """Call it, and turn a result with a `statusCode` into the HTTP answer where a web client asked."""
    event = arguments or (_tick(context) if context.trigger == "cron" else {})
    if isinstance(event.get("requestContext"), dict):
        event["requestContext"]["requestId"] = context.id
    result = handler(event, LambdaContext(context))
    return then(result, _answer) if context.trigger == "http" else result


def _answer(result: Any) -> Any:
    """An API Gateway result (of both versions) as what it means; any other result as it is."""
    if not isinstance(result, Mapping) or isinstance(result.get("statusCode"), bool):
        return result
    if not isinstance(result.get("statusCode"), int):
        return result
    return _proxied(result)


def _proxied(result: Mapping[str, Any]) -> HttpAnswer:
    body: Any = result.get("body")
    if result.get("isBase64Encoded") and isinstance(body, str):
        try:
            body = base64.b64decode(body, validate=True)
        except ValueError as error:
            raise ValueError("the handler says isBase64Encoded, but its body is not base64") from error
    several = [(name, value) for name, values in pairs(result.get("multiValueHeaders")) for value in values]
    cookies = [("Set-Cookie", cookie) for cookie in result.get("cookies") or ()]
    headers = [*several, *pairs(result.get("headers")), *cookies]
    return http_answer(result["statusCode"], headers, "" if body is None else body, "application/json")


def _tick(context: Context) -> dict[str, Any]:
    """The event of a schedule without arguments."""
    time = datetime.fromtimestamp(context.accepted, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "version": "0",
        "id": context.id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": time,
        "region": "local",
        "resources": [f"arn:aws:events:local:000000000000:rule/{context.function}"],
        "detail": {},
    }
