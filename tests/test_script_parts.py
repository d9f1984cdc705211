"""Which steps stand before a script: those that it names, and what these need, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from runtime import keys
from runtime.broker import scripts
from runtime.broker.script_parts import FILES, _named, body, with_steps

LUA = Path(__file__).parent.parent / "runtime" / "broker" / "lua"
SCRIPTS = sorted(path.stem for path in LUA.glob("[!_]*.lua"))


def test_a_script_gets_what_it_names_and_what_that_needs() -> None:
    text = with_steps("return now_ms()")
    assert "function now_us" in text
    assert "function close" not in text
    assert "function now_us" not in with_steps("-- unlike now_ms\nreturn 1"), "a comment needs nothing"


def test_what_it_seldom_calls_is_made_when_it_is_called(redis_client: redis.Redis) -> None:
    """Behind a step that makes it, with what only it needs. What others need, too, is there from the start."""
    text = "-- Seldom: leave_gates, forget\nif is_over(ARGV[1]) then leave_gates(ARGV[1], 'a\\nb') end\nreturn now_ms()"
    found = with_steps(text)
    assert (
        found.index("function leave_gates(...)\n") < found.index("function split") < found.index("return leave_gates(")
    )
    assert found.index("function now_us") < found.index("function leave_gates(...)")
    assert "function now_us" not in found[found.index("function leave_gates(...)") : found.index("return leave_gates(")]
    redis_client.zadd(f"{keys.PREFIX}holders:a", {"gone": 1})
    redis_client.zadd(f"{keys.PREFIX}holders:b", {"gone": 1, "other": 2})
    scripts.run_text(redis_client, scripts.around(text, new_work=False), [], ["gone"])
    assert not redis_client.exists(f"{keys.PREFIX}holders:a")
    assert redis_client.zrange(f"{keys.PREFIX}holders:b", 0, -1) == [b"other"]


def test_what_seldom_steps_share_is_there_once() -> None:
    found = with_steps("-- Seldom: crowded, beyond\ncrowded({}, nil) beyond({}, {})")
    assert found.count("local clock = nil") == 1, "one moment for both"
    assert found.index("local clock") < found.index("function beyond(...)") < found.index("function crowded(...)")


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_calls_seldom_is_a_step(name: str) -> None:
    for line in re.findall(r"-- Seldom: (.*)", body(name)):
        for step in line.split(", "):
            assert f"local function {step}(...)" in scripts.source(name)


def test_names_of_keys_stand_in_it_as_they_are() -> None:
    assert with_steps("return K.record .. ARGV[1]") == f'return "{keys.invocation("")}" .. ARGV[1]'
    with pytest.raises(KeyError, match="recrod"):
        with_steps("return K.recrod")


def test_no_step_is_defined_twice() -> None:
    names = [name for file in FILES for name, _ in _named(body(file))]
    assert sorted(set(names)) == sorted(names)


def test_every_file_of_steps_is_known() -> None:
    assert {path.stem for path in LUA.glob("_*.lua")} == set(FILES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_understood_by_the_broker(redis_client: redis.Redis, name: str) -> None:
    assert redis_client.script_load(scripts.source(name)) == scripts.sha(scripts.source(name))
