"""The steps that scripts share (lua/_*.lua). A script gets those that it names, and what these need in turn.

All of a script is run from its first line whenever it is called, and a step that nobody uses costs as much to define as
one that somebody does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from runtime.histogram import RETRIES, SECONDS, lua
from runtime.script_keys import FOR_SCRIPTS

FILES = ("_prelude", "_close", "_record", "_gates", "_claim", "_gather", "_limits", "_overload", "_submit")
"""In this order: a step sees those before it."""

_STEP = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)
"""How a step begins, in the first column: a function or a constant. It goes on until the next one."""
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_KEY = re.compile(r"\bK\.(\w+)")


def with_steps(text: str) -> str:
    """A script behind the steps that it needs, and with names of runtime/keys.py in place of `K.name`.

    Raises KeyError for a name that runtime/script_keys.py does not have.
    """
    steps, needed = _steps(), set[str]()
    left = set(_NAME.findall(_COMMENT.sub("", text)))
    while left := {name for name in left if name in steps and steps[name] not in needed}:
        found = {steps[name] for name in left}
        needed |= found
        left = {name for step in found for name in _NAME.findall(step)}
    before = [step for step in dict.fromkeys(steps.values()) if step in needed]
    return _KEY.sub(lambda match: json.dumps(FOR_SCRIPTS[match[1]]), "".join(before) + text)


@cache
def body(name: str) -> str:
    """A script without what is put before it."""
    return (files("runtime") / "lua" / f"{name}.lua").read_text()


@cache
def _steps() -> Mapping[str, str]:
    """Every step by the names that it defines."""
    text = f"local MS = {lua(SECONDS, 1000)}\nlocal RETRIES = {lua(RETRIES, 1)}\n" + "\n".join(map(body, FILES))
    return dict(_named(_COMMENT.sub("", text)))


def _named(text: str) -> Iterator[tuple[str, str]]:
    found = list(_STEP.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    for match, end in zip(found, ends, strict=True):
        for name in match[1].split(", "):
            yield name, text[match.start() : end]
