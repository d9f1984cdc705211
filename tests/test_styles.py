"""Handlers of other runners: which style they are taken for, and what they are called with and may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.config.settings import Style
from runtime.context import Context
from runtime.deployment.signature import Signature
from runtime.file import HttpAnswer
from runtime.styles.adapt import adapt
from runtime.styles.cloud_event import CloudEvent
from runtime.styles.detect import style_of
from runtime.testing import fake_context
from tests.styling import called


class Request:
    """Stands for flask.Request in a hint."""


# What a handler's parameters say. Hints are texts as well as types.


def lambda_plain(event, context): ...  # type: ignore[no-untyped-def]
def lambda_default(event, context=None): ...  # type: ignore[no-untyped-def]
def lambda_hinted(event: dict[str, Any], context: Any) -> None: ...
async def lambda_async(event, context): ...  # type: ignore[no-untyped-def]
def ours_by_context(event: dict[str, Any], context: Context) -> None: ...
def ours_by_keyword(event, *, context): ...  # type: ignore[no-untyped-def]
def ours_by_event(event: list[str], context) -> None: ...  # type: ignore[no-untyped-def]
def ours_by_order(context, event): ...  # type: ignore[no-untyped-def]
def ours_by_third(event, context, more): ...  # type: ignore[no-untyped-def]
def ours_by_event_alone(event): ...  # type: ignore[no-untyped-def]
def ours_by_nothing() -> None: ...
def ours_open(**event: Any) -> None: ...
def request_plain(request): ...  # type: ignore[no-untyped-def]
def request_hinted(req: Request) -> None: ...
def request_quoted(req: flask.Request) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def ours_request(request: dict[str, Any]) -> None: ...
def ours_request_and(request, times=1): ...  # type: ignore[no-untyped-def]
def event_plain(cloud_event): ...  # type: ignore[no-untyped-def]
def event_hinted(found: CloudEvent) -> None: ...
def ours_event(cloud_event: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "style"),
    [
        (lambda_plain, "lambda"),
        (lambda_default, "lambda"),
        (lambda_hinted, "lambda"),
        (lambda_async, "lambda"),
        (ours_by_context, "plain"),
        (ours_by_keyword, "plain"),
        (ours_by_event, "plain"),
        (ours_by_order, "plain"),
        (ours_by_third, "plain"),
        (ours_by_event_alone, "plain"),
        (ours_by_nothing, "plain"),
        (ours_open, "plain"),
        (request_plain, "request"),
        (request_hinted, "request"),
        (request_quoted, "request"),
        (ours_request, "plain"),
        (ours_request_and, "plain"),
        (event_plain, "cloud_event"),
        (event_hinted, "cloud_event"),
        (ours_event, "plain"),
        (print, "plain"),
    ],
)
def test_the_parameters_say_the_style(handler: Callable[..., Any], style: Style) -> None:
    assert style_of(handler) == style
    assert adapt(handler, None)[1] == style
    assert adapt(handler, "plain") == (handler, "plain")


def test_an_adapted_handler_takes_anything_and_keeps_its_name() -> None:
    def work(event, context):  # type: ignore[no-untyped-def]
        """What it is for."""

    function, _ = adapt(work, None)
    signature = Signature(function)
    assert (function.__name__, function.__doc__, signature.names) == ("work", "What it is for.", ())
    assert signature.open and signature.takes_context


# Lambda


def test_a_lambda_handler_gets_its_event_and_its_context() -> None:
    def work(event: Any, context: Any) -> Any:
        context.store.put("tundish", "seen", b"by ours")
        return [
            event,
            context.function_name,
            context.aws_request_id,
            context.invoked_function_arn.rpartition(":")[2],
            context.get_remaining_time_in_millis() > 0,
            context.store.get("tundish", "seen").data.decode(),
        ]

    assert called(work, "lambda", a=1) == [{"a": 1}, "work", "test", "work", True, "by ours"]


def test_what_is_left_of_the_time() -> None:
    function, _ = adapt(lambda event, context: context.get_remaining_time_in_millis(), "lambda")
    import time

    assert 0 < function(context=fake_context(deadline=time.time() + 60)) <= 60_000
    assert function(context=fake_context()) == 900_000


@pytest.mark.parametrize(
    ("result", "status", "kind", "body", "headers"),
    [
        ({"statusCode": 201, "body": "made"}, 201, "application/json", b"made", []),
        ({"statusCode": 204}, 204, "application/json", b"", []),
        ({"statusCode": 200, "body": {"a": 1}}, 200, "application/json", b'{"a":1}', []),
        (
            {
                "statusCode": 200,
                "headers": {"content-type": "image/png", "X-A": 1},
                "body": "AAE=",
                "isBase64Encoded": True,
            },
            200,
            "image/png",
            b"\0\1",
            [("X-A", "1")],
        ),
        ({"statusCode": 302, "headers": {"Location": "/x"}}, 302, "application/json", b"", [("Location", "/x")]),
        (
            {"statusCode": 200, "multiValueHeaders": {"X-A": ["1", "2"]}, "cookies": ["a=b", "c=d"], "body": ""},
            200,
            "application/json",
            b"",
            [("X-A", "1"), ("X-A", "2"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")],
        ),
        (
            {"statusCode": 500, "headers": {"Content-Length": "7", "Connection": "close"}},
            500,
            "application/json",
            b"",
            {},
        ),
    ],
)
def test_a_proxy_result_is_the_http_answer(
    result: Any, status: int, kind: str, body: bytes, headers: list[tuple[str, str]]
) -> None:
    answer = called(lambda event, context: result, "lambda")
    assert isinstance(answer, HttpAnswer)
    assert (answer.status, answer.content_type, answer.read(), answer.headers) == (status, kind, body, list(headers))


@pytest.mark.parametrize("result", [{"statusCode": "200"}, {"statusCode": True}, {"status": 200}, [1], None, "text"])
def test_any_other_result_stays_what_it_is(result: Any) -> None:
    assert called(lambda event, context: result, "lambda") == result


def test_who_is_no_web_client_gets_the_result_itself() -> None:
    result = {"statusCode": 200, "body": "x"}
    assert called(lambda event, context: result, "lambda", "function") == result


def test_an_async_lambda_is_answered_too() -> None:
    async def work(event: Any, context: Any) -> Any:
        return {"statusCode": 202, "body": ""}

    assert called(work, "lambda").status == 202


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"statusCode": 99}, "status 99"),
        ({"statusCode": 700}, "status 700"),
        ({"statusCode": 200, "headers": {"X-A": "1\r\nX-B: 2"}}, "'X-A'"),
        ({"statusCode": 200, "headers": {"X A": "1"}}, "'X A'"),
        ({"statusCode": 200, "headers": {"X-A": "€"}}, "'X-A'"),
        ({"statusCode": 200, "body": "%", "isBase64Encoded": True}, "not base64"),
    ],
)
def test_an_answer_that_http_does_not_have(result: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        called(lambda event, context: result, "lambda")


@pytest.mark.parametrize(
    ("status", "name", "text"),
    [
        (99, "X-A", "1"),
        (True, "X-A", "1"),
        (600, "X-A", "1"),
        (200, "X-A", "1\nX-B: 2"),
        (200, "X-A", "\0"),
        (200, "X-A", "€"),
        (200, "X A", "1"),
        (200, "X-A\r\nX-B", "1"),
        (200, "", "1"),
    ],
)
def test_no_answer_is_made_that_http_does_not_have(status: int, name: str, text: str) -> None:
    for headers in ({name: text}, [("X-Good", "1"), (name, text)]):
        with pytest.raises(ValueError, match="the handler answered with"):
            HttpAnswer(b"", status, headers)
    assert HttpAnswer(b"", 200, {"X-A": " ü\tb "}).headers == [("X-A", "ü\tb")]


def test_a_tick_has_the_event_of_a_schedule_unless_it_has_arguments() -> None:
    event = called(lambda event, context: event, "lambda", "cron")
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", {})
    assert called(lambda event, context: event, "lambda", "cron", a=1) == {"a": 1}
