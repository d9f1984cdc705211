"""How fast and how faithful the back ends are on this machine. `python -m runtime.embedding.measuring …` prints it.

It runs in a process of its own: a worker must not compute before it forks, and what is refused is to leave no trace.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.embedding import probes
from runtime.embedding.engine import Engine, load
from runtime.embedding.given import Given
from runtime.embedding.tokens import Ids, passes
from runtime.models import backends

if TYPE_CHECKING:
    from runtime.context import Vectors

COSINE = 0.999
"""The least mean cosine to the vectors of fp32."""

RANK_LOSS = 0.002
"""How much of the mean reciprocal rank of the known answers may be lost against fp32."""

SHORT, LONG = 36, 130
"""Tokens of the texts that are timed: a sentence or two, a paragraph."""

FAILED = "it failed: "
"""How a refusal begins whose reason may pass: a full disk, too little memory, a library that is mended."""

_PASS_TOKENS = 1024
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """One back end with one model on one machine. `short` and `long`: texts of 36 and 130 tokens a second, by one
    thread. `rank`: the mean reciprocal rank of the known answers. `refused`: why it may not be used, or nothing. `at`:
    when that was, in seconds since the epoch, where it failed."""

    backend: str
    short: float = 0.0
    long: float = 0.0
    cosine: float = 0.0
    rank: float = 0.0
    refused: str = ""
    at: float = 0.0


def measure(given: Given, names: Iterable[str], loaded: Callable[[str, Given, int], Engine] = load) -> list[Measured]:
    """All of `names` against fp32, which is measured in any case and comes first."""
    exact, reference = _one(backends.EXACT, given, loaded, None)
    found = [exact]
    for name in names:
        if name == backends.EXACT:
            continue
        try:
            found.append(_one(name, given, loaded, reference)[0])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others are there
            said = str(error).strip().splitlines()[:1] or [type(error).__name__]
            found.append(Measured(name, refused=f"{FAILED}{said[0]}", at=time.time()))
    return found


def verdict(cosine: float, rank: float, exact_rank: float) -> str:
    """Why a back end is not faithful enough; nothing where it is."""
    if not cosine >= COSINE:  # a NaN is none
        return f"its vectors differ from those of fp32: mean cosine {cosine:.5f}, at least {COSINE} is wanted"
    if exact_rank - rank > RANK_LOSS:
        return f"it finds known answers worse than fp32: mean reciprocal rank {rank:.4f}, was {exact_rank:.4f}"
    return ""


def _one(
    name: str, given: Given, loaded: Callable[[str, Given, int], Engine], reference: Vectors | None
) -> tuple[Measured, Vectors]:
    engine = loaded(name, given, 1)
    vectors = embed(engine, probes.texts())
    exact = vectors if reference is None else reference
    some = (exact * exact).sum(axis=1) > 0.5  # a text of which a static model knows nothing has no direction
    cosine, rank = float((vectors * exact).sum(axis=1)[some].mean()), _rank(vectors)
    refused = verdict(cosine, rank, _rank(exact))
    clock = (
        time.perf_counter if name == "cuda" else time.process_time
    )  # the time of others on a busy CPU is not its own
    lengths = (min(tokens, given.longest) for tokens in (SHORT, LONG))
    short, long = (0.0, 0.0) if refused else (_speed(engine, tokens, clock) for tokens in lengths)
    return Measured(name, round(short, 1), round(long, 1), round(cosine, 6), round(rank, 4), refused), vectors


def embed(engine: Engine, texts: list[str]) -> Vectors:
    """Unit vectors of `texts`, in their order."""
    import numpy as np

    ids = engine.ids(texts)
    order = list(passes([len(one) for one in ids]))
    found = np.concatenate([engine.vectors([ids[place] for place in places]) for places in order])
    back = np.argsort([place for places in order for place in places])
    vectors: Vectors = found[back]
    return vectors


def _rank(vectors: Vectors) -> float:
    """The mean reciprocal rank of each question's own passage among all passages."""
    import numpy as np

    count = len(probes.PASSAGES)
    scores = vectors[count : 2 * count] @ vectors[:count].T
    ranks = (scores >= np.diagonal(scores)[:, None]).sum(axis=1)
    return float((1 / ranks).mean())


def _speed(engine: Engine, tokens: int, clock: Callable[[], float]) -> float:
    """Texts of so many tokens a second: the best of a few passes, after one that is not counted."""
    whole = engine.ids([" ".join(probes.PASSAGES)])[0]
    text: Ids = (whole * (tokens // len(whole) + 1))[: tokens - 1] + whole[-1:]
    batch = [text] * max(1, _PASS_TOKENS // tokens)
    times = []
    for _ in range(_REPEATS + 1):
        began = clock()
        engine.vectors(batch)
        times.append(clock() - began)
    return len(batch) / max(min(times[1:]), 1e-9)


def main(arguments: list[str]) -> None:
    folder, weights, longest, *names = arguments
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = measure(Given(Path(folder), weights, int(longest)), names)
    sys.stdout.write(json.dumps([asdict(one) for one in found]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
