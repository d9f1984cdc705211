"""The story of an invocation's states, told to somebody who looks now and then."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.tasks.story import steps_after
from runtime.invocations.invocation import Invocation

BASE = Invocation(
    id="i", function="f", state="accepted", queue="q", priority=5, tenant="t", trigger="http", attempts=0,
    created=1.0, queued=1.0, started=None, ended=None, worker=None, root="i", parent=None, arguments={},
    result_json=None, error=None,
)  # fmt: skip
NEXT = {
    "accepted": ("queued", "cancelled"),
    "queued": ("accepted", "running", "cancelled", "expired"),
    "running": ("succeeded", "failed", "dead", "retrying", "waiting", "queued", "cancelled"),
    "retrying": ("queued", "cancelled"),
    "waiting": ("queued", "cancelled"),
}


@st.composite
def lives(draw: st.DrawFn) -> list[Invocation]:
    """Every state of an invocation, one after the other, from accepted to its end."""
    found = [BASE]
    for clock, choice in enumerate(draw(st.lists(st.integers(0, 6), max_size=12)), 2):
        now = found[-1]
        if now.terminal:
            break
        state = NEXT[now.state][choice % len(NEXT[now.state])]
        changes: dict[str, dict[str, Any]] = {
            "running": {"started": float(clock), "attempts": now.attempts + 1},
            "waiting": {"attempts": now.attempts - 1, "waits": "children"},
            "queued": {"queued": float(clock)},
            "accepted": {"waits": "paused" if choice % 2 else "rate"},
        }
        found.append(replace(now, **{"state": state, "waits": None, **changes.get(state, {})}))
    return found if found[-1].terminal else [*found, replace(found[-1], state="cancelled", ended=99.0)]


@given(lives(), st.integers(0, 2**13))
def test_whoever_looks_now_and_then_hears_no_state_twice_and_the_end_always(life: list[Invocation], seen: int) -> None:
    looks = [*(record for place, record in enumerate(life[:-1]) if seen >> place & 1), life[-1], life[-1]]
    heard, mark = [], None
    for record in looks:
        steps = steps_after(mark, record)
        for step in steps:
            # Whoever is cut off after any event and comes back hears the rest, no more and no less.
            heard.append(step)
            mark = step.mark
        assert [step.mark for step in steps][-1:] in ([], [heard[-1].mark])
        for position, step in enumerate(steps):
            assert steps_after(step.mark, record) == steps[position + 1 :]
    marks = [str(step.mark) for step in heard]
    runs = [mark for mark in marks if mark.startswith("running")]
    assert heard[0].told["state"] == "accepted"
    assert heard[-1].told["state"] == life[-1].state
    assert len(runs) == len(set(runs))
    assert all(first != second for first, second in pairwise(marks))
    if any(record.state == "running" for record in life):
        assert "running" in [step.told["state"] for step in heard]
