"""Running a generator to its end, and closing it early when nobody wants more of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any

from runtime.attempts.encode import encode_result
from runtime.attempts.items import Collected, Items


def is_plain(value: Any) -> bool:
    """Whether a result is there as it is: neither to be awaited nor made item by item."""
    return _is_plain(type(value))  # type: ignore[arg-type]


def yields(value: Any) -> bool:
    """Whether a result is made item by item: a generator or another iterator (an open file is a file)."""
    return _yields(type(value))  # type: ignore[arg-type]


def yields_async(value: Any) -> bool:
    """The same for what is iterated with `async for`."""
    return _yields_async(type(value))  # type: ignore[arg-type]


@lru_cache(1024)  # asked for every result of every call
def _is_plain(kind: type) -> bool:
    return not issubclass(kind, Awaitable | Iterator | AsyncIterator)


@lru_cache(1024)
def _yields(kind: type) -> bool:
    return issubclass(kind, Iterator) and not hasattr(kind, "read")


@lru_cache(1024)
def _yields_async(kind: type) -> bool:
    return issubclass(kind, AsyncIterator)


def collect(values: Iterator[Any], begin: Callable[[], Items]) -> Collected:
    """All items, each written when it was made. Raises what the generator raises, after its items were written."""
    items = begin()
    try:
        with contextlib.ExitStack() as stack:
            if close := getattr(values, "close", None):
                stack.callback(close)
            for value in values:
                if not items.put(encode_result(value)):
                    break
    except BaseException:
        items.end()
        raise
    return items.close()


async def collect_async(values: AsyncIterator[Any], begin: Callable[[], Items]) -> Collected:
    """`collect` for an async generator."""
    items = begin()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if close := getattr(values, "aclose", None):
                stack.push_async_callback(close)
            async for value in values:
                data = encode_result(value)
                # The loop of a slow caller's generator goes on with its other work.
                wanted = await asyncio.to_thread(items.put, data) if items.full else items.put(data)
                if not wanted:
                    break
    except BaseException:
        items.end()
        raise
    return items.close()
