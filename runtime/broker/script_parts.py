"""The steps that scripts share (lua/_*.lua). A script gets those that it names, and what these need in turn.

All of a script is run from its first line whenever it is called, and a step that nobody uses costs as much to define as
one that somebody does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files

from runtime.broker.script_keys import FOR_SCRIPTS
from runtime.values.histogram import RETRIES, SECONDS, lua

FILES = ("_prelude", "_close", "_record", "_gates", "_claim", "_gather", "_limits", "_overload", "_submit")
"""In this order: a step sees those before it."""

_STEP = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)
"""How a step begins, in the first column: a function or a constant. It goes on until the next one."""
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
_STATE = re.compile(r"local \w+ = nil\n")
"""A step that is a value which other steps change."""
_SELDOM = re.compile(r"^-- Seldom: (.*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_KEY = re.compile(r"\bK\.(\w+)")


def with_steps(text: str) -> str:
    """A script behind the steps that it needs, and with names of runtime/keys.py in place of `K.name`.

    A step that it names in a line `-- Seldom: NAME, NAME` is made when it is called, with what only that step needs:
    few of its runs come to it.

    Raises KeyError for a name that runtime/broker/script_keys.py does not have.
    """
    marked = _SELDOM.search(text)
    seldom = frozenset(_NAME.findall(marked[1])) if marked else frozenset[str]()
    needed = _needed(_COMMENT.sub("", text), seldom)
    inner = {name: _needed(_steps()[name], seldom) for name in seldom}
    uses = Counter(step for steps in inner.values() for step in steps)
    for step, count in uses.items():  # what two of them share, and what keeps its value
        if count > 1 or _STATE.match(step):
            needed |= _needed(step, seldom) | {step}
    before = []
    for name, step in _steps().items():
        if name in seldom:
            before.append(
                f"local function {name}(...)\n{_in_order(inner[name] - needed)}{step}return {name}(...)\nend\n"
            )
        elif step in needed and step not in before:
            before.append(step)
    return _KEY.sub(lambda match: json.dumps(FOR_SCRIPTS[match[1]]), "".join(before) + text)


def _needed(text: str, seldom: Collection[str]) -> set[str]:
    """The steps that a text names, and what these need in turn; none of the seldom ones."""
    steps, needed = _steps(), set[str]()
    left = set(_NAME.findall(text))
    while left := {name for name in left - set(seldom) if name in steps and steps[name] not in needed}:
        found = {steps[name] for name in left}
        needed |= found
        left = {name for step in found for name in _NAME.findall(step)}
    return needed


def _in_order(needed: Collection[str]) -> str:
    return "".join(step for step in dict.fromkeys(_steps().values()) if step in needed)


@cache
def body(name: str) -> str:
    """A script without what is put before it."""
    return (files("runtime.broker") / "lua" / f"{name}.lua").read_text()


@cache
def _steps() -> Mapping[str, str]:
    """Every step by the names that it defines."""
    bounds = lua("bound_of_ms", SECONDS, 1000) + lua("bound_of_retries", RETRIES, 1)
    text = bounds + "\n".join(map(body, FILES))
    return dict(_named(_COMMENT.sub("", text)))


def _named(text: str) -> Iterator[tuple[str, str]]:
    found = list(_STEP.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    for match, end in zip(found, ends, strict=True):
        for name in match[1].split(", "):
            yield name, text[match.start() : end]
