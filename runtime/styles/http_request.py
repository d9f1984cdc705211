"""functions-framework and Flask: `fn(request)`, with Werkzeug's own request.

Where Flask is installed the handler runs inside an application of it, so that `flask.jsonify` and `flask.abort` work.
"""

from __future__ import annotations

import base64
import importlib.util
import inspect
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from pydantic_core import to_json

from runtime.context import Context
from runtime.errors import BadInput
from runtime.file import HttpAnswer
from runtime.styles.adapt import then
from runtime.styles.answers import http_answer, pairs
from runtime.styles.names import REQUEST

_HTML = "text/html; charset=utf-8"
_TUPLES = "a handler returns a body, (body, status), (body, headers) or (body, status, headers)"


def call(handler: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Any:
    """Call it with the request; without one (a schedule, another function) with a POST of the arguments as JSON.

    What it answers is the HTTP answer of a web client, and the plain body for everybody else.
    """
    environ = _environ(arguments, context)
    if flask_is_there():
        return _in_flask(handler, environ, context)
    from werkzeug.exceptions import HTTPException
    from werkzeug.wrappers import Request

    try:
        result = handler(Request(environ))
    except HTTPException as error:  # werkzeug.exceptions.abort
        result = error.get_response(environ)
    return then(result, lambda found: _result(to_answer(found), context))


@cache
def flask_is_there() -> bool:
    return importlib.util.find_spec("flask") is not None


def _in_flask(handler: Callable[..., Any], environ: dict[str, Any], context: Context) -> Any:
    from flask import request

    app = _application()

    def answered(found: Any) -> Any:
        return _result(to_answer(app.make_response(found)), context)

    async def later(found: Awaitable[Any]) -> Any:
        with app.request_context(environ):
            try:
                return answered(await found)
            except Exception as error:  # noqa: BLE001 (Flask decides which are answers, and raises the others again)
                return answered(app.handle_user_exception(error))

    with app.request_context(environ):
        try:
            found = handler(request._get_current_object())
            return later(found) if inspect.isawaitable(found) else answered(found)
        except Exception as error:  # noqa: BLE001
            return answered(app.handle_user_exception(error))


@cache
def _application() -> Any:
    import flask

    return flask.Flask("tundish")


def _environ(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """The request as WSGI has it. Raises BadInput."""
    from werkzeug.test import EnvironBuilder

    told = arguments.get(REQUEST)
    if not isinstance(told, Mapping):
        told = {"method": "POST", "headers": [["Content-Type", "application/json"]], "body": to_json(arguments)}
    try:
        encoded, body = told.get("body_base64"), told.get("body", "")
        data = base64.b64decode(encoded) if encoded is not None else body.encode() if isinstance(body, str) else body
        builder = EnvironBuilder(
            method=str(told.get("method", "POST")),
            path=str(told.get("path", "/")),
            query_string=str(told.get("query", "")),
            headers=[(str(name), str(value)) for name, value in told.get("headers", ())],
            input_stream=io.BytesIO(data),
        )
        environ = builder.get_environ()
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{REQUEST} is no request: {error}") from error
    environ["CONTENT_LENGTH"] = str(len(data))
    environ["tundish.context"] = context
    return environ


def to_answer(found: Any) -> HttpAnswer:
    """Flask's rules for what a view returns. Raises TypeError and ValueError for what it cannot be."""
    if hasattr(found, "get_data") and hasattr(found, "status_code"):  # a response of Werkzeug or Flask
        return http_answer(found.status_code, found.headers.items(), found.get_data(), _HTML)
    status, headers, body = 200, pairs(None), found
    if isinstance(found, tuple):
        match found:
            case (body, int(status), headers):
                headers = pairs(headers)
            case (body, int(status)):
                pass
            case (body, headers):
                headers = pairs(headers)
            case _:
                raise TypeError(f"{_TUPLES}, found {len(found)} parts")
        if hasattr(body, "get_data") and hasattr(body, "status_code"):
            inner = to_answer(body)
            kind = ("Content-Type", inner.content_type)
            return http_answer(status, [kind, *inner.headers, *headers], inner.read(), _HTML)
    if body is None:
        raise TypeError(f"the handler returned nothing; {_TUPLES}")
    if not isinstance(body, str | bytes | bytearray | dict | list):
        body = b"".join(part.encode() if isinstance(part, str) else part for part in body)
    return http_answer(status, headers, body, _HTML)


def _result(answer: HttpAnswer, context: Context) -> Any:
    """The whole answer for a web client; for others JSON as what it says, text as text."""
    if context.trigger == "http":
        return answer
    if answer.status >= 400:  # nobody sees the status: it must not pass for a success
        raise RuntimeError(f"the handler answered {answer.status}: {answer.read()[:500].decode(errors='replace')}")
    data = answer.read()
    if answer.content_type.partition(";")[0].strip() == "application/json":
        return json.loads(data)
    return data.decode() if answer.content_type.startswith("text/") else data
