"""The Lua scripts, each one atomic step. They are read once and called by hash.

Every script of ours begins with `lua/_prelude.lua`, which knows the names of runtime/keys.py and the steps that
several scripts share. All but those that accept new work may run when the broker is at its memory limit: what was
accepted must be able to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from runtime.histogram import RETRIES, SECONDS, lua
from runtime.script_keys import FOR_SCRIPTS

Argument = str | bytes | int | float

PARTS: Mapping[str, Sequence[str]] = {
    "claim": ("_gates", "_claim"),
    "take": ("_gates", "_claim"),
    "admit": ("_gates",),
    "expire": ("_gates",),
    "submit": ("_record", "_gather", "_limits", "_overload"),
    "upload": ("_limits",),
    "record": ("_record",),
    "gather_send": ("_gather",),
    "gather_begin": ("_gates",),
    "aside": ("_gates",),
}
"""What stands before a script besides the steps that all share."""
_NEW_WORK = frozenset({"submit", "upload"})
_SPENDS_MEMORY = "#!lua\n"
_MUST_RUN = "#!lua flags=allow-oom\n"


@cache
def source(name: str) -> str:
    """A script as it is sent."""
    text = "\n".join(body(part) for part in (*PARTS.get(name, ()), name))
    return around(text, new_work=name in _NEW_WORK)


@cache
def body(name: str) -> str:
    """A script without what is put before it."""
    return (files("runtime") / "lua" / f"{name}.lua").read_text()


def around(text: str, *, new_work: bool) -> str:
    """A script made of `text` with the shared steps before it; `new_work` is refused at the memory limit."""
    names = ", ".join(f"{name} = '{value}'" for name, value in FOR_SCRIPTS.items())
    bounds = f"local MS, RETRIES = {lua(SECONDS, 1000)}, {lua(RETRIES, 1)}"
    return f"{_SPENDS_MEMORY if new_work else _MUST_RUN}local K = {{{names}}}\n{bounds}\n{body('_prelude')}\n{text}"


def packed(*words: Argument) -> bytes:
    """A command as it goes over a connection."""
    result: bytes = hiredis.pack_command(words)  # type: ignore[arg-type] # its stub means a tuple of one
    return result


@cache
def sha(text: str) -> str:
    """What a server knows a script by."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # the name Redis gives a script


def run(client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    return run_text(client, source(name), keys, arguments)


def run_text(client: redis.Redis, text: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    """Run a script by its hash; the first time a server sees it, by its text."""
    try:
        return client.evalsha(sha(text), len(keys), *keys, *arguments)
    except NoScriptError:
        return client.eval(text, len(keys), *keys, *arguments)


async def run_async(client: redis.asyncio.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    text = source(name)
    try:
        return await client.evalsha(sha(text), len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(text, len(keys), *keys, *arguments)
