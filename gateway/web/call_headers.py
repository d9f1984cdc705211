"""What the headers of a call ask for. Everything that is wrong with them is one 400."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import Headers

from gateway.web.problems import field_errors, refuse
from runtime.errors import FieldError
from runtime.security.callback_address import parse
from runtime.values.trace_context import Trace, state_of
from runtime.values.units import parse_duration

LONGEST_SECONDS = 30 * 86400.0
"""The longest X-Delay and X-Expires."""

_NAMES = frozenset(
    {b"prefer", b"x-priority", b"x-delay", b"x-expires", b"x-callback-url", b"idempotency-key", b"traceparent"}
)
"""All that is read here: most calls have none of them."""

T = TypeVar("T")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# A later version may add fields behind the four of version 00.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x20-\x7e]{1,200})?")
_PREFERENCE = re.compile(r"\s*(respond-async|wait)\s*(?:=\s*\"?([0-9]{1,9})\"?\s*)?(?:;.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wishes:
    """`wait` is None where the answer is waited for as long as the function may take; `later` asks for none."""

    later: bool = False
    wait: float | None = None
    priority: int | None = None
    delay: float = 0.0
    expires: float | None = None
    callback: str | None = None
    key: str | None = None
    trace: str | None = None
    preferred: str = ""
    """The preference that is followed, for the header Preference-Applied."""


_WAITS, _LATER = Wishes(), Wishes(later=True)


def read(headers: Headers, *, waits: bool, allowed: Sequence[str]) -> Wishes:
    """The wishes of a request. `waits`: the route waits unless told otherwise; `allowed`: `callbacks.allow`.

    Preferences and trace contexts that are not valid are ignored, as their standards want it.
    """
    if _NAMES.isdisjoint(name for name, _ in headers.raw):
        return _WAITS if waits else _LATER
    later, wait = prefer(headers.getlist("prefer"))
    problems: list[FieldError] = []

    def one(name: str, check: Callable[[str], T]) -> T | None:
        given = headers.getlist(name)
        try:
            if len(given) > 1:
                raise ValueError(f"is given {len(given)} times")
            return check(given[0].strip()) if given else None
        except ValueError as error:
            problems.append(FieldError(name, str(error)))
            return None

    waiting = waits and not (later and wait is None)
    preferred = f"wait={wait:.0f}" if waiting and wait is not None else "respond-async" if later and not waiting else ""
    found = Wishes(
        later=not waiting,
        wait=wait if waiting else None,
        priority=one("X-Priority", _priority),
        delay=one("X-Delay", _delay_of_one_that_waits if waiting else _duration) or 0.0,
        expires=one("X-Expires", _expires),
        callback=one("X-Callback-Url", lambda url: _callback(url, allowed)),
        key=one("Idempotency-Key", _key),
        trace=trace_of(headers.getlist("traceparent"), headers.getlist("tracestate")),
        preferred=preferred,
    )
    if problems:
        detail = "; ".join(f"{error.field} {error.message}" for error in problems)
        refuse(400, f"{detail}.", errors=field_errors(problems))
    return found


def prefer(given: Sequence[str]) -> tuple[bool, float | None]:
    """Whether `respond-async` is preferred, and the seconds of `wait`. The first of each counts (RFC 7240)."""
    found = [match for part in ",".join(given).split(",") if (match := _PREFERENCE.fullmatch(part))]
    later = any(match[1].lower() == "respond-async" and match[2] is None for match in found)
    waits = [float(match[2]) for match in found if match[1].lower() == "wait" and match[2]]
    return later, waits[0] if waits else None


def trace_of(given: Sequence[str], states: Sequence[str] = ()) -> Trace | None:
    """The one valid W3C traceparent, with its tracestate where that is valid, too; None otherwise."""
    if len(given) != 1:
        return None
    text = given[0].strip()
    match = _TRACE.fullmatch(text)
    return Trace(text, state_of(states)) if match and not (text.startswith("00") and match[1]) else None


def _priority(text: str) -> int:
    if not re.fullmatch("[0-9]", text):
        raise ValueError(f"is {text[:20]!r}; priorities are 0–9, and 9 runs first")
    return int(text)


def _duration(text: str) -> float:
    seconds = float(text) if _NUMBER.fullmatch(text) else parse_duration(text[:50])
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"is {text[:20]!r}; the most is {LONGEST_SECONDS / 86400:g}d")
    return seconds


def _delay_of_one_that_waits(text: str) -> float:
    if _duration(text):
        raise ValueError("is for calls that nobody waits for: POST /async-function/NAME, or Prefer: respond-async")
    return 0.0


def _expires(text: str) -> float:
    seconds = _duration(text)
    if not seconds:
        raise ValueError("is no time at all; write a duration like 30s")
    return seconds


def _callback(url: str, allowed: Sequence[str]) -> str:
    parse(url, allowed)
    return url


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError(f"is 1 to 255 visible ASCII characters without spaces, found {len(text)}: {text[:20]!r}")
    return text
