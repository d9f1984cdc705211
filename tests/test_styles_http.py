"""Handlers that take a request or a CloudEvent: what they are called with, and what they may answer."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from runtime.errors import BadInput
from runtime.styles.http_request import to_answer
from runtime.styles.names import REQUEST
from tests.styling import called

# Requests


@pytest.fixture(params=["werkzeug", "flask"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With Flask, and as if it were not there."""
    monkeypatch.setattr("runtime.styles.http_request.flask_is_there", lambda: request.param == "flask")
    return str(request.param)


def asked(body: bytes = b"", kind: str = "", method: str = "POST", query: str = "") -> dict[str, Any]:
    headers = [["content-type", kind]] if kind else []
    told = {
        "method": method,
        "path": "/",
        "query": query,
        "headers": [*headers, ["x-shop", "ä".encode().decode("latin-1")]],
    }
    return {REQUEST: {**told, "body_base64": base64.b64encode(body).decode()}}


@pytest.mark.usefixtures("library")
def test_a_request_has_what_flask_has() -> None:
    def work(request: Any) -> Any:
        return {
            "method": request.method,
            "path": request.path,
            "args": request.args.getlist("a"),
            "json": request.get_json(silent=True),
            "data": request.data.decode(),
            "type": request.content_type,
            "shop": request.headers.get("X-Shop"),
        }

    answer = called(work, "request", **asked(b'{"n": "\xc3\xbc"}', "application/json", query="a=1&a=2"))
    assert json.loads(answer.read()) == {
        "method": "POST",
        "path": "/",
        "args": ["1", "2"],
        "json": {"n": "ü"},
        "data": '{"n": "ü"}',
        "type": "application/json",
        "shop": "Ã¤",
    }
    assert answer.content_type == "application/json"


@pytest.mark.usefixtures("library")
def test_a_form_with_a_file() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n\r\n\0\xff\r\n--x--\r\n'
    )

    def work(request: Any) -> Any:
        found = request.files["f"]
        return {"a": request.form["a"], "name": found.filename, "bytes": list(found.read())}

    answer = called(work, "request", **asked(body, "multipart/form-data; boundary=x"))
    assert json.loads(answer.read()) == {"a": "1", "name": "f.bin", "bytes": [0, 255]}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("result", "status", "kind", "body", "headers"),
    [
        ("<p>ü</p>", 200, "text/html; charset=utf-8", "<p>ü</p>".encode(), []),
        (b"\0", 200, "text/html; charset=utf-8", b"\0", []),
        ({"a": 1}, 200, "application/json", b'{"a":1}', []),
        ([1], 200, "application/json", b"[1]", []),
        (("no", 404), 404, "text/html; charset=utf-8", b"no", []),
        (("x", {"Content-Type": "text/plain", "X-A": "1"}), 200, "text/plain", b"x", [("X-A", "1")]),
        (({"a": 1}, 201, {"X-A": "1"}), 201, "application/json", b'{"a":1}', [("X-A", "1")]),
        (("x", 200, [("X-A", "1")]), 200, "text/html; charset=utf-8", b"x", [("X-A", "1")]),
        (lambda: iter(["a", "b"]), 200, "text/html; charset=utf-8", b"ab", []),
    ],
)
def test_what_flask_takes_for_an_answer(
    result: Any, status: int, kind: str, body: bytes, headers: list[tuple[str, str]]
) -> None:
    answer = called(lambda request: result() if callable(result) else result, "request", **asked())
    # Flask ends its JSON with a line break.
    found = (answer.status, answer.content_type, answer.read().rstrip(b"\n"), answer.headers)
    assert found == (status, kind, body, list(headers))


@pytest.mark.usefixtures("library")
def test_responses_and_aborts_of_werkzeug() -> None:
    from werkzeug.exceptions import abort
    from werkzeug.wrappers import Response

    made = Response("x", 418, {"X-A": "1"}, content_type="text/plain")
    assert called(lambda request: made, "request", **asked()).status == 418
    answer = called(lambda request: (made, 201, {"X-B": "2"}), "request", **asked())
    assert (answer.status, answer.content_type, dict(answer.headers)) == (201, "text/plain", {"X-A": "1", "X-B": "2"})
    assert called(lambda request: abort(403), "request", **asked()).status == 403


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("result", [None, (), 5])
def test_what_is_no_answer(result: Any) -> None:
    with pytest.raises(TypeError):
        called(lambda request: result, "request", **asked())


def test_what_is_no_answer_says_what_would_be_one() -> None:
    for result, reason in ((None, "returned nothing"), ((), "found 0 parts")):
        with pytest.raises(TypeError, match=reason) as caught:
            to_answer(result)
        assert "(body, status, headers)" in str(caught.value)


def test_flask_has_its_own_ways_too() -> None:
    import flask

    def work(request: Any) -> Any:
        if flask.request.args:
            flask.abort(404, "nobody")
        return flask.jsonify(a=1), 201

    async def later(request: Any) -> Any:
        await asyncio.sleep(0)
        return work(request)

    for handler in (work, later):
        made, gone = called(handler, "request", **asked()), called(handler, "request", **asked(query="a=1"))
        assert (made.status, made.read(), gone.status) == (201, b'{"a":1}\n', 404)
    with pytest.raises(ZeroDivisionError):
        called(lambda request: 1 // 0, "request", **asked())


@pytest.mark.usefixtures("library")
def test_a_call_without_a_request_is_a_post_of_its_arguments() -> None:
    assert called(lambda request: request.get_json(), "request", "cron", a=1) == {"a": 1}
    assert called(lambda request: "text", "request", "function") == "text"
    with pytest.raises(RuntimeError, match="answered 404: gone"):
        called(lambda request: ("gone", 404), "request", "cron")


@pytest.mark.usefixtures("library")
def test_an_argument_that_is_no_request_is_refused() -> None:
    broken: dict[str, Any] = {REQUEST: {"headers": [1]}}
    with pytest.raises(BadInput, match="is no request"):
        called(lambda request: "", "request", "http", **broken)


# CloudEvents


def test_an_event_keeps_its_attributes() -> None:
    attributes = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order", "subject": "4711"}

    def work(cloud_event: Any) -> Any:
        return [
            cloud_event["type"],
            cloud_event.get("none", 0),
            "id" in cloud_event,
            dict(cloud_event.get_attributes()),
            cloud_event.data,
        ]

    expected = ["order", 0, True, attributes, {"a": 1}]
    assert called(work, "cloud_event", of_event=attributes, a=1) == expected


@pytest.mark.parametrize(
    ("kind", "arguments", "data"),
    [
        ("text/plain", {"data": "ü"}, "ü"),
        ("application/json", {"data": "ü"}, {"data": "ü"}),
        ("image/png", {"data_base64": "AAE="}, b"\0\1"),
    ],
)
def test_data_that_is_no_object(kind: str, arguments: dict[str, Any], data: Any) -> None:
    event = {"id": "7", "datacontenttype": kind}
    assert called(lambda found: found.data, "cloud_event", of_event=event, **arguments) == data


def test_any_other_call_becomes_an_event() -> None:
    found = called(lambda event: [dict(event.get_attributes()), event.get_data()], "cloud_event", a=1)
    assert (found[0]["id"], found[0]["source"], found[0]["type"], found[1]) == (
        "test",
        "/functions/work",
        "tundish.call",
        {"a": 1},
    )


@pytest.mark.parametrize("is_async", [False, True])
def test_a_bucket_sends_an_event_for_each_object_as_cloud_storage_does(is_async: bool) -> None:
    objects = [
        {"bucket": "docs", "key": "a b.txt", "event": "created", "etag": "e", "size": 3, "seq": 7},
        {"bucket": "docs", "key": "old.txt", "event": "removed", "etag": None, "size": None, "seq": 8},
    ]

    def work(found: Any) -> Any:
        return [found["type"].rpartition(".")[2], found["subject"], found.data["name"], found.data["size"]]

    async def later(found: Any) -> Any:
        return work(found)

    assert called(later if is_async else work, "cloud_event", "bucket", objects=objects) == [
        ["finalized", "objects/a b.txt", "a b.txt", "3"],
        ["deleted", "objects/old.txt", "old.txt", "0"],
    ]
