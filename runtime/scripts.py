"""The Lua scripts, each one atomic step. They are read once and called by hash.

Every script of ours begins with `lua/_prelude.lua`, which knows the names of runtime/keys.py and the steps that
several scripts share. All but those that accept new work may run when the broker is at its memory limit: what was
accepted must be able to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from runtime.script_keys import FOR_SCRIPTS

Argument = str | bytes | int | float

_PARTS = {
    "claim": ("_gates",),
    "admit": ("_gates",),
    "expire": ("_gates",),
    "submit": ("_record", "_gather"),
    "record": ("_record",),
    "gather_send": ("_gather",),
    "gather_begin": ("_gates",),
    "aside": ("_gates",),
}
_NEW_WORK = frozenset({"submit"})
_SPENDS_MEMORY = "#!lua\n"
_MUST_RUN = "#!lua flags=allow-oom\n"


@cache
def source(name: str) -> str:
    """A script as it is sent."""
    text = "\n".join(body(part) for part in (*_PARTS.get(name, ()), name))
    return around(text, new_work=name in _NEW_WORK)


@cache
def body(name: str) -> str:
    """A script without what is put before it."""
    return (files("runtime") / "lua" / f"{name}.lua").read_text()


def around(text: str, *, new_work: bool) -> str:
    """A script made of `text` with the shared steps before it; `new_work` is refused at the memory limit."""
    names = ", ".join(f"{name} = '{value}'" for name, value in FOR_SCRIPTS.items())
    return f"{_SPENDS_MEMORY if new_work else _MUST_RUN}local K = {{{names}}}\n{body('_prelude')}\n{text}"


@cache
def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # the name Redis gives a script


def run(client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    return run_text(client, source(name), keys, arguments)


def run_text(client: redis.Redis, text: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    """Run a script by its hash; the first time a server sees it, by its text."""
    try:
        return client.evalsha(_sha(text), len(keys), *keys, *arguments)
    except NoScriptError:
        return client.eval(text, len(keys), *keys, *arguments)


async def run_async(client: redis.asyncio.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    text = source(name)
    try:
        return await client.evalsha(_sha(text), len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(text, len(keys), *keys, *arguments)
