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
from gateway.access import rules
from gateway.calls.upload import MULTIPART
from gateway.calls.upload_fields import Upload, of_body, uploads
from gateway.search.search import Query
from gateway.web.accepts import JSON, STREAMS
from runtime.deployment.deployment import Deployed, Deployment
from runtime.deployment.upload_hints import FILE, STREAM
from runtime.file import BINARY

_WISHES = ("X-Priority", "X-Expires", "X-Callback-Url", "Idempotency-Key", "traceparent")


async def document(request: Request) -> Response:
    """Made once for the deployment that is served now: 8 ms, in which nobody else would be answered."""
    gateway = state.of(request)
    if gateway.openapi is None or gateway.openapi[0] is not gateway.deployment:
        gateway.openapi = gateway.deployment, to_json(build(gateway.deployment))
    return Response(gateway.openapi[1], media_type="application/json")


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
    for path, operations in base["paths"].items():
        for method, operation in operations.items():
            _guard(operation, _rule(path, method.upper()))
    return base


def _rule(path: str, method: str) -> str:
    """What a described path needs: those of functions need what their common route does."""
    kind = path.split("/")[1]
    common = f"/{kind}/{{name}}" if kind in ("function", "async-function") else path.replace("{key}", "{key:key}")
    return rules.RULES[common][method]


def _guard(operation: dict[str, Any], rule: str) -> None:
    """Say who may, and what others are answered."""
    if rule == "public":
        return
    operation["security"] = [{"event_token": []}] if rule == "token" else [{}, {"key": []}, {"session": []}]
    if rule != "open":
        operation["responses"] = {**_problems("401", "403", "429"), **operation["responses"]}
        operation["x-role"] = rule


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
        "content": _answers(found, {"$ref": f"#/components/schemas/{name}.result"}),
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
            **_problems("400", "403", "404", "409", "410", "413", "415", "422", "429", "500", "502", "503", "504"),
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
            **_problems("400", "403", "404", "413", "415", "422", "429", "503"),
        },
    }


def _body(found: Deployed) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{found.spec.name}.arguments"}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    files = uploads(found.schema)
    if files:
        content[MULTIPART] = {"schema": _form(found.schema, files)}
    if raw := of_body(files):
        content |= {kind: {} for kind in raw.kinds or ("*/*",)}
    return {
        "required": bool(found.schema.get("required")),
        "description": "The keyword arguments."
        + (" A raw body is one file, and the query has the rest." if raw else ""),
        "content": content,
    }


def _form(schema: Mapping[str, Any], files: Mapping[str, Upload]) -> dict[str, Any]:
    """The parts of a form: files are binary, everything else as in JSON."""
    binary: dict[str, Any] = {"type": "string", "contentMediaType": BINARY}
    parts = {name: {"type": "array", "items": binary} if one.many else binary for name, one in files.items()}
    others: dict[str, Any] = {name: {} for name in schema.get("properties", {}) if name not in files}
    return {"type": "object", "properties": {**parts, **others}, "required": list(schema.get("required", ()))}


def _answers(found: Deployed, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a result is sent as."""
    returns = found.returns or {}
    if returns.get(FILE):
        return {"*/*": {"schema": schema}}
    items = {kind: {"schema": {"type": "string"}} for kind in STREAMS if kind != JSON} if returns.get(STREAM) else {}
    return {**items, JSON: {"schema": schema}}


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
