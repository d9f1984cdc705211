"""The loop that coroutines run in: kept from call to call, left clean by each of them, never shared with a parent."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import pytest

from runtime.deployment.async_loop import AsyncLoop


async def here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_thread_keeps_its_loop_and_shares_it_with_nobody() -> None:
    loop, others = AsyncLoop(), list[Any]()
    first = loop.run(here())
    assert loop.run(here()) is first
    thread = threading.Thread(target=lambda: others.append(loop.run(here())))
    thread.start()
    thread.join()
    assert others[0] is not first and others[0].is_closed()


def test_what_a_call_leaves_behind_ends_with_it_and_its_cleanup_runs() -> None:
    loop, ended = AsyncLoop(), list[str]()

    async def forgotten() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("forgotten")

    async def call() -> str:
        asyncio.get_running_loop().create_task(forgotten())
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.run(call())
    assert ended == ["forgotten"]


def test_a_time_limit_that_is_raised_in_the_loop_itself_ends_the_call_and_not_the_loop() -> None:
    loop, ended = AsyncLoop(), list[str]()

    async def call() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("call")

    def strike(*_: object) -> None:
        raise TimeoutError("the limit")

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with pytest.raises(TimeoutError, match="the limit"):
            loop.run(call())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended == ["call"] and loop.run(here())


def test_a_child_has_a_loop_of_its_own() -> None:
    loop = AsyncLoop()
    first = loop.run(here())
    child = os.fork()
    if child == 0:
        os._exit(0 if loop.run(here()) is not first else 1)
    assert os.waitpid(child, 0)[1] == 0
