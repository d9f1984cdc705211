"""A handler of any style as a function of ours: keyword arguments and a context."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from runtime.config.settings import Style
from runtime.context import Context
from runtime.styles.detect import style_of

Handler = Callable[..., Any]
Call = Callable[[Handler, dict[str, Any], Context], Any]


def adapt(handler: Handler, style: Style | None) -> tuple[Handler, Style]:
    """The function to call, and its style: as it is written in functions.yaml, or as the parameters say.

    A plain handler comes back as it is. Any other one takes whatever it is given, as its event or its request.
    """
    found = style or style_of(handler)
    if found == "plain":
        return handler, found
    call = _call_of(found)

    def adapted(*, context: Context, **arguments: Any) -> Any:
        return call(handler, arguments, context)

    # Not functools.wraps: the parameters are those of `adapted`, not of what it wraps.
    functools.update_wrapper(adapted, handler, updated=())
    del adapted.__wrapped__  # type: ignore[attr-defined]
    adapted.__annotations__ = {"context": Context, "arguments": Any}
    return adapted, found


def _call_of(style: Style) -> Call:
    if style == "request":
        from runtime.styles import http_request

        return http_request.call
    if style == "cloud_event":
        from runtime.styles import cloud_event

        return cloud_event.call
    from runtime.styles import aws

    return aws.call


def then(result: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of a result, also of one that is awaited first."""
    return _later(result, change) if inspect.isawaitable(result) else change(result)


async def _later(result: Awaitable[Any], change: Callable[[Any], Any]) -> Any:
    return change(await result)
