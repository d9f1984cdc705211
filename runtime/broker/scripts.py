"""The Lua scripts, each one atomic step. They are read once and called by hash.

Before each stand the steps that it shares with others (runtime/broker/script_parts.py). All but those that accept new
work may run when the broker is at its memory limit: what was accepted must be able to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from runtime.broker.script_parts import body, with_steps

Argument = str | bytes | int | float

_NEW_WORK = frozenset({"submit", "submit_many", "upload"})
_SPENDS_MEMORY = "#!lua\n"
_MUST_RUN = "#!lua flags=allow-oom\n"


@cache
def source(name: str) -> str:
    """A script as it is sent."""
    return around(body(name), new_work=name in _NEW_WORK)


def around(text: str, *, new_work: bool) -> str:
    """A script made of `text` with the shared steps before it; `new_work` is refused at the memory limit."""
    return (_SPENDS_MEMORY if new_work else _MUST_RUN) + with_steps(text)


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
