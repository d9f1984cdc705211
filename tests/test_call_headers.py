"""What the headers of a call mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from gateway.web.call_headers import prefer, read, trace_of
from gateway.web.problems import Refused

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in pairs])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["respond-async"], (True, None)),
        (["wait=5"], (False, 5.0)),
        (['Respond-Async; a=b, WAIT="7"'], (True, 7.0)),
        (["handling=lenient", "wait = 3"], (False, 3.0)),
        (["wait=1, wait=2"], (False, 1.0)),
        # RFC 7240: what is not understood is ignored.
        (["wait=abc"], (False, None)),
        (["wait=-1"], (False, None)),
        (["wait"], (False, None)),
        (["wait=99999999999999"], (False, None)),
        (["respond-async=no"], (False, None)),
        (["xwait=1, respond-asynchronously"], (False, None)),
        ([""], (False, None)),
    ],
)
def test_prefer(given: list[str], meant: tuple[bool, float | None]) -> None:
    assert prefer(given) == meant


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        (TRACE, True),
        (TRACE.replace("00-", "01-", 1) + "-more", True),
        (TRACE + "-more", False),
        (TRACE.upper(), False),
        (TRACE.replace("00-", "ff-", 1), False),
        (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), False),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), False),
        (TRACE[:-1], False),
        ("", False),
    ],
)
def test_traceparent(given: str, valid: bool) -> None:
    assert trace_of([given]) == (given if valid else None)
    assert trace_of([given, given]) is None


def test_everything_at_once() -> None:
    given = headers(
        ("X-Priority", "0"),
        ("X-Delay", "1h30m"),
        ("X-Expires", "0.5"),
        ("X-Callback-Url", "https://example.com/hook"),
        ("Idempotency-Key", "k"),
        ("traceparent", TRACE),
        ("Prefer", "respond-async"),
    )
    found = read(given, waits=True, allowed=())
    assert found.later and found.wait is None and found.preferred == "respond-async"
    assert (found.priority, found.delay, found.expires, found.key) == (0, 5400.0, 0.5, "k")
    assert (found.callback, found.trace) == ("https://example.com/hook", TRACE)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("X-Priority", "10", "0–9"),
        ("X-Priority", "-1", "0–9"),
        ("X-Priority", "5.0", "0–9"),
        ("X-Priority", "٣", "0–9"),
        ("X-Priority", "", "0–9"),
        ("X-Delay", "soon", "not a duration"),
        ("X-Delay", "-1s", "not a duration"),
        ("X-Delay", "nan", "not a duration"),
        ("X-Delay", "31d", "the most is 30d"),
        ("X-Delay", "9" * 400 + "s", "not a duration"),
        ("X-Expires", "0", "no time at all"),
        ("X-Expires", "tomorrow", "not a duration"),
        ("X-Callback-Url", "http://127.0.0.1/", "callbacks.allow"),
        ("X-Callback-Url", "ftp://example.com/", "http:// or https://"),
        ("X-Callback-Url", "http://me:word@example.com/", "user name"),
        ("Idempotency-Key", "", "1 to 255"),
        ("Idempotency-Key", "a b", "1 to 255"),
        ("Idempotency-Key", "k" * 256, "1 to 255"),
        ("Idempotency-Key", "schlüssel", "1 to 255"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str, word: str) -> None:
    given = Headers(raw=[(name.lower().encode(), value.encode())])
    with pytest.raises(Refused) as caught:
        read(given, waits=False, allowed=())
    assert caught.value.status == 400
    (error,) = caught.value.members["errors"]
    assert error["field"] == name and word in error["message"]
    assert name in caught.value.detail


def test_all_problems_are_in_one_answer() -> None:
    given = headers(("X-Priority", "10"), ("X-Delay", "x"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b"))
    with pytest.raises(Refused) as caught:
        read(given, waits=False, allowed=())
    told = {error["field"]: error["message"] for error in caught.value.members["errors"]}
    assert set(told) == {"X-Priority", "X-Delay", "Idempotency-Key"}
    assert told["Idempotency-Key"] == "is given 2 times"


@pytest.mark.parametrize("preference", ["", "wait=5"])
def test_who_waits_cannot_ask_for_a_delay(preference: str) -> None:
    with pytest.raises(Refused, match="POST /async-function/NAME"):
        read(headers(("X-Delay", "5s"), ("Prefer", preference)), waits=True, allowed=())
    assert read(headers(("X-Delay", "0s"), ("Prefer", preference)), waits=True, allowed=()).delay == 0.0
