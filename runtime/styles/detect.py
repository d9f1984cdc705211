"""Which style a handler is written in, by its parameters: a pure decision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

from runtime.config.settings import Style

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def style_of(handler: Callable[..., Any]) -> Style:
    """`plain` wherever there is doubt; a handler whose parameters cannot be read is plain."""
    try:
        return by_parameters(list(inspect.signature(handler).parameters.values()))
    except (TypeError, ValueError):
        return "plain"


def by_parameters(parameters: Sequence[Parameter]) -> Style:
    """The rule. A hint that names one of our types, or plain data, says that the handler was written for us.

    `(event, context)`: AWS Lambda. `(request)`: functions-framework or Flask, also under another name with a hint that
    ends in `Request`. `(cloud_event)`: the same with `CloudEvent`.
    """
    if any(one.kind not in _BY_POSITION for one in parameters):
        return "plain"
    match [(one.name, _hint(one)) for one in parameters]:
        case [("event", event), ("context", context)] if context != "Context" and event in _LAMBDA_EVENTS:
            return "lambda"
        case [("request", ""), *rest] if not rest:
            return "request"
        case [("cloud_event" | "cloudevent", ""), *rest] if not rest:
            return "cloud_event"
        case [(_, "Request")]:
            return "request"
        case [(_, "CloudEvent")]:
            return "cloud_event"
    return "plain"


_LAMBDA_EVENTS = ("", "Any", "dict", "Dict", "Mapping")


def _hint(parameter: Parameter) -> str:
    """The last name of a hint without what is in brackets: `flask.Request` is `Request`; empty without a hint."""
    hint = parameter.annotation
    if hint is Parameter.empty:
        return ""
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
    return str(text).partition("[")[0].strip("'\" ").rpartition(".")[2]
