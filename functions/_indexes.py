"""Which indexes a chained function works on, and which of their batches are new."""

from __future__ import annotations

from runtime.context import Context


def of_parents(context: Context, index: str) -> list[str]:
    """The indexes that the results of the parents name, once each; without parents `index` alone.

    A result names its index as `index`, and more of them as `also: [{"index": …}, …]`.
    """
    names: list[str] = []
    for parent in context.parents:
        result = parent.result if isinstance(parent.result, dict) else {}
        names += [str(one["index"]) for one in (result, *result.get("also", ())) if "index" in one]
    return list(dict.fromkeys(names)) or [index]


def batches_of_parents(context: Context, index: str) -> list[str]:
    """The batches of an index that the results of the parents name; none where a result leaves one open."""
    named = []
    for parent in context.parents:
        result = parent.result
        if not isinstance(result, dict) or "batch_id" not in result or "also" in result:
            return []
        if result.get("index") == index:
            named.append(str(result["batch_id"]))
    return named
