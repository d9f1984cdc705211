"""Which steps stand before a script: those that it names, and what these need, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from runtime import keys, scripts
from runtime.script_parts import FILES, _named, body, with_steps

LUA = Path(__file__).parent.parent / "runtime" / "lua"
SCRIPTS = sorted(path.stem for path in LUA.glob("[!_]*.lua"))


def test_a_script_gets_what_it_names_and_what_that_needs() -> None:
    text = with_steps("return now_ms()")
    assert "function now_us" in text
    assert "function close" not in text
    assert "function now_us" not in with_steps("-- unlike now_ms\nreturn 1"), "a comment needs nothing"


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
