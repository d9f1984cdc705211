"""The Lua scripts, each one atomic step. They are read once and called by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

Argument = str | bytes | int | float


@cache
def source(name: str) -> str:
    return (files("runtime") / "lua" / f"{name}.lua").read_text()


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
