"""Which indexes a chained function works on."""

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
