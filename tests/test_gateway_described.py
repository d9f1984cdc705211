"""What the gateway says of itself: functions, OpenAPI, pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from gateway.operations.openapi import build
from gateway.routes import TABLE
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployed, Deployment
from tests.gatewaying import deployment, problem, serving


def test_functions(web: TestClient) -> None:
    functions = {found["name"]: found for found in web.get("/functions").json()["functions"]}
    assert list(functions) == ["add", "cut", "hidden", "broken", "embed"]
    assert functions["add"]["summary"] == "Add two numbers."
    assert functions["add"]["triggers"] == [{"http": {"path": "/function/add"}}]
    assert functions["embed"]["triggers"][0]["bucket"] == "documents"
    assert functions["broken"]["error"] == "No module named 'numpyy'"
    told = web.get("/functions/add").json()
    assert told["schema"]["required"] == ["a"]
    assert told["timeout"] == "5s"
    assert told["retries"]["backoff"] == "1m"
    assert "did you mean embed?" in problem(web.get("/functions/embedd"), 404)["detail"]


def test_openapi_names_every_route_and_function(web: TestClient) -> None:
    document = web.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {
        (path.replace("{key}", "{key:key}"), method.upper())
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert {(path, method) for path, methods in TABLE.items() for method in methods} <= described
    assert ("/function/add", "POST") in described
    assert ("/function/hidden", "POST") not in described
    assert ("/function/broken", "POST") not in described
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            given = {part["name"] for part in operation.get("parameters", []) if part.get("in") == "path"}
            assert given == set(re.findall(r"{(\w+)}", path)), path


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_openapi_holds_together(made: Settings) -> None:
    document = build(deployment(made))
    for reference in set(references(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    arguments = {"$ref": "#/components/schemas/add.arguments", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(arguments)
    assert validator.is_valid({"a": 1, "items": [{"text": "x"}]})
    assert not validator.is_valid({"a": 1, "items": [{}]})


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.outside: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        places = (given.get("src") or "", given.get("href") or "")
        self.outside += [place for place in places if place and not place.startswith(("/", "#"))]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("path", ["/plain", "/docs"])
def test_pages_need_nothing_from_outside(web: TestClient, path: str) -> None:
    answer = web.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert page.inline == []
    assert page.outside == []
    assert "add" in page.text
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_pages_escape_what_they_show(made: Settings) -> None:
    evil = '<script>alert("x")</script>'
    functions = dict(deployment(made).functions)
    functions["add"] = Deployed(spec=made.project.functions["add"], doc=evil, error=evil)
    with serving(made) as web:
        web.app.state.gateway.adopt(Deployment(made, functions))  # type: ignore[attr-defined]
        for path in ("/plain", "/docs", f"/plain?q={evil}"):
            assert Page(web.get(path).text).inline == []


def test_the_description_is_made_once_for_what_is_served(made: Settings) -> None:
    whole = deployment(made)
    without = {name: found for name, found in whole.functions.items() if name != "add"}
    with serving(made) as web:
        gateway = web.app.state.gateway  # type: ignore[attr-defined]
        assert "/function/add" in web.get("/openapi.json").json()["paths"]
        kept = gateway.openapi
        assert web.get("/openapi.json").content == kept[1] and gateway.openapi is kept
        gateway.adopt(Deployment(made, without))
        assert "/function/add" not in web.get("/openapi.json").json()["paths"]
        gateway.adopt(whole)
        assert web.get("/openapi.json").content == kept[1]


def test_static_files(web: TestClient) -> None:
    page = web.get("/").text + web.get("/plain").text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        answer = web.get(path)
        assert answer.status_code == 200
        again = web.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    problem(web.get("/static/plain.html"), 404)
    problem(web.get("/static/dashboard/index.html"), 404)
    problem(web.get("/static/dashboard/nothing.js"), 404)
    problem(web.get("/static/..%2Fapp.py"), 404)


def test_a_rebuild_calls_embed_all(made: Settings) -> None:
    with serving(made) as web:
        assert "embed_all" in problem(web.post("/admin/trigger-rebuild"), 404)["detail"]
    spec = made.project.functions["hidden"].model_copy(update={"name": "embed_all"})
    functions = {**made.project.functions, "embed_all": spec}
    project = made.project.model_copy(update={"functions": functions})
    with serving(made.model_copy(update={"project": project})) as web:
        for path in ("/admin/trigger-rebuild", "/admin/rebuild-embeddings"):
            told = web.post(path, json={}).json()
            assert web.get(f"/api/v1/tasks/task/{told['task_id']}").json()["function"] == "embed_all"


def test_confirming_a_loss(web: TestClient) -> None:
    assert web.post("/admin/buckets/documents/confirm").json() == {"bucket": "documents", "confirmed": []}
    assert "documents" in problem(web.post("/admin/buckets/other/confirm"), 404)["detail"]
