"""Whatever is sent, the answer is one that `/openapi.json` names: no 5xx that nobody has explained."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import urllib3
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import create_app
from gateway.operations.openapi import build
from gateway.web.body import parse, suspect
from gateway.web.problems import Refused
from runtime.broker import connection as broker
from runtime.config.settings import Settings, StoreSettings
from tests.gatewaying import Hand, deployment, settings

EXAMPLES = 12
"""For each operation."""


class Steady(Hand):
    """Ends whatever comes; what was cancelled or delayed meanwhile is not its."""

    def end(self, task_id: str) -> None:
        with contextlib.suppress(AssertionError):
            super().end(task_id)


@pytest.fixture(scope="module")
def url(broker_url: str, store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway behind its real HTTP server, whose functions end at once."""
    made = quick(settings(broker_url, store_settings, tmp_path_factory.mktemp("gateway")))
    client = broker.connect(broker_url)
    client.flushall()
    server = uvicorn.Server(uvicorn.Config(create_app(made, deployment(made)), log_level="critical", ws="none"))
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        Steady(client, made, lambda *_: ("succeeded", {"result": "1"})),
    ):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    client.close()


@pytest.fixture(scope="module")
def known(url: str) -> dict[str, str]:
    """Names that there are: an answer to one that is not there says little of what is behind it."""
    ended = urllib3.request("POST", f"{url}/function/cut")
    assert ended.status == 200
    urllib3.request("PUT", f"{url}/buckets/documents/a.txt", body=b"text")
    return {
        "id": ended.headers["X-Call-Id"],
        "bucket": "documents",
        "key": "a.txt",
        "source": "minio",
        "file": "app.js",
    }


def quick(made: Settings) -> Settings:
    functions = {name: spec.model_copy(update={"timeout": 0.2}) for name, spec in made.project.functions.items()}
    return made.model_copy(update={"project": made.project.model_copy(update={"functions": functions})})


DOCUMENT = build(deployment(settings("", StoreSettings(), Path())))
OPERATIONS = [f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item]


@rules(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def answered(case: schemathesis.Case[Any], url: str, known: dict[str, str]) -> None:
    check(case, url)
    names = known | {"name": "default" if "/queue/" in case.path else "cut"}
    if any(name in names for name in case.path_parameters):
        case.path_parameters.update({name: names[name] for name in case.path_parameters if name in names})
        check(case, url)


@pytest.fixture(scope="module")
def tests() -> dict[str, Callable[..., None]]:
    """By operation. Made here and not by `parametrize`: they are seconds of work, which every process that collects
    tests would do, and one of them runs them."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    made = get_all_tests(schema=schema, test_func=answered, settings=None, given_kwargs=None)
    return {operation.label: test for operation, test in (each.ok() for each in made if isinstance(each, Ok))}


def test_the_document_is_the_one_that_is_served(url: str) -> None:
    assert urllib3.request("GET", f"{url}/openapi.json").json() == DOCUMENT


def test_no_operation_is_left_out(tests: dict[str, Callable[..., None]]) -> None:
    assert sorted(tests) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_one_that_is_described(
    tests: dict[str, Callable[..., None]], operation: str, url: str, known: dict[str, str]
) -> None:
    tests[operation](url=url, known=known)


def check(case: schemathesis.Case[Any], url: str) -> None:
    response = case.call(base_url=url, timeout=30)
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    case.validate_response(response, checks=checks)
    # A failure of the function itself would be 500, and none of them fails here.
    assert response.status_code != 500, response.text


def raw(url: str, request: bytes) -> int:
    """The status of the answer to these very bytes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 30) as sock:
        sock.sendall(request)
        head = b""
        while b"\r\n" not in head and (received := sock.recv(4096)):
            head += received
    return int(head.split(b" ")[1])


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % path.encode(), b"Host: 127.0.0.1", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"Connection: close", b"", body])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("/async-function/cut", b"{}"), 202),
        (post("/async-function/cut", b"{}", b"X-Priority: 1\x00"), 400),
        (post("/async-function/cut", b"{}", b"Idempotency-Key: \xff\xfe"), 400),
        (post("/async-function/cut", b"{}", b"X-Callback-Url: http://\xe9.example/"), 400),
        (post("/async-function/cut", b"{}", b"traceparent: \xff"), 202),
        (post("/async-function/cut", b"{}", b"Prefer: wait=\xb2"), 202),
        (post("/async-function/cut", b"{}", b"ce-id: 1"), 400),
        (post("/async-function/cut", b"{}", b"ce-id: %ff"), 400),
        (post("/async-function/cut", b"{}", b"Content-Length: 7"), 400),
        (post("/async-function/cut", b"{}", b"X-Long: " + b"x" * 100_000), 431),
        (post("/async-function/%00", b"{}"), 404),
        (post("/async-function/%ff", b"{}"), 404),
        (post("/async-function/cut\x00", b"{}"), 400),
        (post("/async-function/cut", b"{" * 100_000), 400),
        (post("/async-function/cut", b'{"a":' * 100_000), 400),
        (post("/async-function/cut", b'{"a": ' + b"9" * 100_000 + b"}"), 400),
        (post("/async-function/cut", b'{"a": ' + b"9" * 1000 + b"}"), 422),
        (post("/async-function/cut", b'{"a": "\\ud800"}'), 400),
        (post("/async-function/cut", b'{"a": 1, "a": 2}'), 400),
        (post("/function/add", b'{"a": 1, "items": [{"text": "", "te\\u0078t": ""}]}'), 400),
    ],
    ids=range(20),
)
def test_bytes_that_no_client_library_sends(url: str, request_: bytes, status: int) -> None:
    assert raw(url, request_) == status


HEADERS = (b"X-Priority", b"X-Delay", b"X-Expires", b"X-Callback-Url", b"Idempotency-Key", b"traceparent", b"Prefer")
VALUES = st.one_of(
    st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n\0")),
    st.from_regex(r"\A[0-9.]{0,12}(ms|s|m|h|d|)\Z").map(str.encode),
    st.from_regex(r"\Ahttps?://[ -~]{0,30}\Z").map(str.encode),
)


@rules(max_examples=150, deadline=None)
@given(headers=st.lists(st.tuples(st.sampled_from([*HEADERS, b"ce-id", b"ce-type"]), VALUES), max_size=4))
def test_any_headers_are_followed_or_explained(url: str, headers: list[tuple[bytes, bytes]]) -> None:
    lines = [b"%s: %s" % pair for pair in headers]
    # 422: the key of another body of these tests.
    assert raw(url, post("/async-function/cut", b"{}", *lines)) in (202, 400, 422)


NAMES = st.sampled_from(["a", "b", 'a":', "\u00e9", " "])
TREES = st.recursive(
    st.sampled_from(["1", '"x\\": "', "null", '"\\u0022:"', '"a\\u0020\\u003a"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(NAMES, st.sampled_from(["", " "]), inner), max_size=3).map(
            lambda members: "{" + ",".join(f"{json.dumps(name)}{gap}:{value}" for name, gap, value in members) + "}"
        )
    ),
    max_leaves=10,
)


def has_repeated_names(text: str) -> bool:
    found = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in pairs}) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    return any(found)


@rules(max_examples=300, deadline=None)
@given(data=st.text("0123456789eE+-. ", max_size=40).map(str.encode) | st.binary(max_size=40))
def test_numbers_that_cannot_be_passed_on_are_seen_without_a_regular_expression(data: bytes) -> None:
    """Which takes 33 ms for a megabyte, while nobody else is answered."""
    assert suspect(data) == bool(re.search(rb"\d{19}|[eE]\+?\d{3}", data))


@rules(max_examples=500, deadline=None)
@given(text=TREES)
def test_repeated_names_are_found_wherever_they_are(text: str) -> None:
    try:
        parse(text.encode())
        refused = False
    except Refused as error:
        assert "twice" in error.detail
        refused = True
    assert refused == has_repeated_names(text)


MEMBERS = ("specversion", "id", "source", "type", "time", "subject", "data", "data_base64", "x", "X")
ANY: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("1.0") | st.just({}) | st.just([1])
)


@rules(max_examples=150, deadline=None)
@given(event=st.dictionaries(st.sampled_from(MEMBERS), ANY), whole=st.booleans(), kind=st.sampled_from(["", "-batch"]))
def test_any_event_is_taken_or_explained(url: str, event: dict[str, Any], whole: bool, kind: str) -> None:
    full = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", **event} if whole else event
    body = json.dumps([full] if kind else full)
    headers = {"Content-Type": f"application/cloudevents{kind}+json"}
    answer = urllib3.request("POST", f"{url}/async-function/cut", body=body.encode(), headers=headers)
    assert answer.status in (202, 400, 422), answer.data
    assert (answer.headers["Content-Type"] == "application/json") == (answer.status == 202)
