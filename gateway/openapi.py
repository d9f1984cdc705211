"""`/openapi.json`: OpenAPI 3.1 of the routes, with one path for each function that has an http trigger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.search import Query
from runtime.deployment import Deployed, Deployment

_WISHES = ("X-Priority", "X-Expires", "X-Callback-Url", "Idempotency-Key", "traceparent")


async def document(request: Request) -> Response:
    """Made for the deployment that is served now."""
    return Response(to_json(build(state.of(request).deployment)), media_type="application/json")


def build(deployment: Deployment) -> dict[str, Any]:
    """The whole document as plain data."""
    base: dict[str, Any] = json.loads((files("gateway") / "openapi.json").read_text())
    base["info"]["version"] = _version()
    base["components"]["schemas"]["Query"] = _moved(Query.model_json_schema(), "Query", base)
    functions: dict[str, Any] = {}
    for name, found in deployment.functions.items():
        if found.spec.http and not found.error:
            functions[f"/function/{name}"] = {"post": _call(found, base)}
            functions[f"/async-function/{name}"] = {"post": _call_async(found)}
    base["paths"] = {**functions, **base["paths"]}
    return base


def _call(found: Deployed, base: dict[str, Any]) -> dict[str, Any]:
    name = found.spec.name
    schemas = base["components"]["schemas"]
    schemas[f"{name}.arguments"] = _moved(found.schema, f"{name}.arguments", base)
    schemas[f"{name}.result"] = _moved(found.returns or {}, f"{name}.result", base)
    answer = {
        "description": "The value that the function returned.",
        "headers": {
            header: {"$ref": f"#/components/headers/{header}"}
            for header in ("X-Call-Id", "X-Duration-Seconds", "X-Attempts", "Idempotency-Replayed", "traceparent")
        },
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}.result"}}},
    }
    return {
        "operationId": f"call_{name}",
        "tags": ["functions"],
        "summary": found.doc.strip().partition("\n")[0] or f"Run {name} and wait.",
        "parameters": _headers("Prefer", *_WISHES),
        "requestBody": _body(found),
        "responses": {
            "200": answer,
            "202": {"$ref": "#/components/responses/Accepted"},
            **_problems("400", "403", "404", "409", "410", "413", "415", "422", "500", "502", "503", "504"),
        },
    }


def _call_async(found: Deployed) -> dict[str, Any]:
    name = found.spec.name
    return {
        "operationId": f"submit_{name}",
        "tags": ["functions"],
        "summary": f"Accept a call of {name} and answer at once.",
        "parameters": _headers("X-Delay", *_WISHES),
        "requestBody": _body(found),
        "responses": {
            "202": {"$ref": "#/components/responses/Accepted"},
            **_problems("400", "403", "404", "413", "415", "422", "503"),
        },
    }


def _body(found: Deployed) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{found.spec.name}.arguments"}
    return {
        "required": bool(found.schema.get("required")),
        "description": "The keyword arguments.",
        "content": {"application/json": {"schema": schema}},
    }


def _headers(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": "#/components/responses/Problem"} for status in statuses}


def _moved(schema: Mapping[str, Any], name: str, base: dict[str, Any]) -> dict[str, Any]:
    """A schema whose `$defs` become components of their own: references are relative to the whole document."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _place(name, item) if key == "$ref" else walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    for key, definition in schema.get("$defs", {}).items():
        base["components"]["schemas"][f"{name}.{key}"] = walk(definition)
    moved: dict[str, Any] = walk({key: value for key, value in schema.items() if key != "$defs"})
    return moved


def _place(name: str, reference: Any) -> Any:
    prefix = "#/$defs/"
    if isinstance(reference, str) and reference.startswith(prefix):
        return f"#/components/schemas/{name}.{reference.removeprefix(prefix)}"
    return reference


def _version() -> str:
    try:
        return version("tundish")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
