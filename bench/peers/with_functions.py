"""For `functions-framework --source bench/peers/with_functions.py --target call`: HTTP without a queue."""

from __future__ import annotations

from typing import Any

from bench.peers import work


def call(request: Any) -> Any:
    """The path says which function."""
    answer = getattr(work, request.path.strip("/"))(**request.get_json())
    return {"answer": answer}
