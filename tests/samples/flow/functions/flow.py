"""Functions for tests of gates, maps, delays and references."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.context import Context
from runtime.errors import BatchFailure


def note(path: str, text: str) -> None:
    """Append one line, whole, and on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{text}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def add(a: float, b: float = 1) -> float:
    return a + b


def mark(path: str, text: str = "", seconds: float = 0.0, user: str = "") -> str:
    note(path, f"begin {text or user} {time.time()}")
    time.sleep(seconds)
    note(path, f"end {text or user} {time.time()}")
    return text


def child(number: int, path: str, seconds: float = 0.0, fail: bool = False) -> int:
    note(path, f"child {number}")
    time.sleep(seconds)
    if fail and number == 1:
        raise ValueError("number one")
    return number * 10


def parent(
    count: int,
    path: str,
    seconds: float = 0.0,
    in_flight: int = 4,
    fail: bool = False,
    failures: bool = False,
    *,
    context: Context,
) -> dict[str, Any]:
    note(path, f"parent {context.attempt}")
    items = ({"number": number, "path": path, "seconds": seconds, "fail": fail} for number in range(count))
    found = list(context.map("child", items, in_flight=in_flight, failures=failures))
    return {"results": [one if isinstance(one, int) else str(one) for one in found], "attempt": context.attempt}


def wish(path: str, *, context: Context) -> int:
    """Submits, waits for what it submitted, and calls: three ways to children."""
    tasks = [context.submit("child", number=number, path=path) for number in range(3)]
    first = sum(context.wait(*tasks))
    second: int = context.call("child", number=9, path=path)
    return first + second


def heirs(options: dict[str, Any] | None = None, *, context: Context) -> Any:
    return context.call("heir", options=options)


def breaks(path: str) -> None:
    note(path, "try")
    raise ValueError("it broke")


def told(path: str = "", *, context: Context) -> list[list[str]]:
    """What it was told of the calls that failed."""
    return [[parent.id, parent.function, parent.result["type"], parent.result["message"]] for parent in context.parents]


def heir(*, context: Context) -> dict[str, Any]:
    return {
        "tenant": context.tenant,
        "trace": context.trace,
        "root": context.root_id,
        "late": (context.deadline or 0) > 4e9,
    }


def large(count: int = 0, text: str = "") -> dict[str, Any]:
    return {"got": len(text), "text": "x" * count}


@dataclass(frozen=True)
class Order:
    number: int
    path: str
    seconds: float = 0.0
    bad: bool = False


def score(orders: list[Order], *, context: Context) -> list[dict[str, Any]]:
    """Fails the bad ones, the first time each, and those below zero always."""
    note(orders[0].path, "call " + " ".join(str(order.number) for order in orders))
    time.sleep(max(order.seconds for order in orders))
    results: list[Any] = [{"number": order.number, "of": len(orders)} for order in orders]
    failed = {
        at: ValueError(f"order {order.number}")
        for at, order in enumerate(orders)
        if order.number < 0 or (order.bad and context.trigger == "gather")
    }
    if failed:
        raise BatchFailure(failed, results)
    return results


def relay(texts: list[str], *, context: Context) -> list[str]:
    """Submits a call for each of them."""
    return [context.submit("large", text=text) for text in texts]


def lengths(texts: list[str]) -> list[int]:
    if "die" in texts:
        os.kill(os.getpid(), signal.SIGKILL)
    if "short" in texts:
        return []
    if "sleep" in texts:
        time.sleep(60)
    return [len(text) for text in texts]


def fragile(path: str, mended: str) -> str:
    note(path, f"try {time.time()}")
    if not Path(mended).exists():
        raise ConnectionError("the other side is down")
    return "fine"
