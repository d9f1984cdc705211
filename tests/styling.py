"""Calling a handler as its style says, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from runtime.config.settings import Style
from runtime.styles.adapt import adapt
from runtime.testing import fake_context


def called(handler: Callable[..., Any], style: Style, trigger: str = "http", **arguments: Any) -> Any:
    function, _ = adapt(handler, style)
    event = arguments.pop("of_event", None)
    result = function(**arguments, context=fake_context("work", trigger=trigger, event=event))
    return asyncio.run(result) if asyncio.iscoroutine(result) else result
