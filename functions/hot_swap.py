"""Telling every gateway of a version. A build does so itself; this repeats it for whoever missed it, and checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.context import Context
from runtime.errors import BadInput

from ._indexes import of_parents


@dataclass(frozen=True, slots=True)
class IndexSwap:
    """The version that was announced, and how many processes listened. Generation 0: there is no version yet."""

    index: str
    generation: int
    version: str
    listeners: int


@dataclass(frozen=True, slots=True)
class SwapResult(IndexSwap):
    """The announcement of one index; of further ones, where the calls before this one built several, in `also`."""

    also: list[IndexSwap] = field(default_factory=list)


def hot_swap(index: str = "default", generation: int | None = None, *, context: Context) -> SwapResult:
    """Announce the newest version, or `generation`, of an index. After other functions: of those they name.

    Readers always load the newest version; they poll as well, so nobody depends on hearing this.
    Raises BadInput for a generation that does not exist.
    """
    names = of_parents(context, index)
    if generation is not None and len(names) > 1:
        raise BadInput(f"A generation belongs to one index; the calls before this one name {', '.join(names)}.")
    swaps = []
    for name in names:
        version, listeners = context.index.announce(name, generation)
        if version is None:
            context.log.info("index %s has no version yet: nothing to announce", name)
        swaps.append((name, version.generation if version else 0, version.version if version else "", listeners))
    first, *others = swaps
    return SwapResult(*first, also=[IndexSwap(*swap) for swap in others])
