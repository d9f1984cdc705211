"""Where an index is to move: the engine, and what is asked of it before it answers."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import BadInput, IndexUnavailable
from runtime.index.manifest import Manifest

LEAST_RECALL, SAMPLE = 0.99, 200


@dataclass(frozen=True, slots=True)
class Target:
    """`name`: the engine. `recall`: the least recall@10 against an exact scan, of `sample` queries."""

    name: str
    recall: float = LEAST_RECALL
    sample: int = SAMPLE


def movable(index: str, current: Manifest | None) -> Manifest:
    """The version that is to move. Raises BadInput where there is none, or a rollback holds it."""
    if current is None or not current.model:
        raise BadInput(
            f"Index {index} has no vectors yet: there is nothing to move. Which engine a new index gets is said by "
            f"`indexes: {{{index}: {{engine: …}}}}` in functions.yaml."
        )
    if current.held:
        raise BadInput(
            f"Index {index} is held by a rollback. Let builds go on first: tundish index release --index {index}."
        )
    return current


def compare_counts(index: str, target: Target, old: Manifest, rows: int, documents: int) -> None:
    """Raises IndexUnavailable where the new version does not hold as much as the old one."""
    if (rows, documents) != (old.vectors, old.documents):
        raise IndexUnavailable(
            f"Index {index} stays where it is: {target.name} holds {rows} chunks of {documents} documents, "
            f"the version that answers {old.vectors} of {old.documents}. `tundish index verify --index {index}` says "
            "what is wrong with the batches; then move it again."
        )


def compare_recall(index: str, target: Target, found: float) -> None:
    """Raises IndexUnavailable where too few of the nearest chunks are found."""
    if found < target.recall:
        raise IndexUnavailable(
            f"Index {index} stays where it is: recall@10 in {target.name} is {found:.4f} of {target.sample} queries; "
            f"it should be {target.recall:g} at least. Without quantization it is higher; `--recall` asks for less."
        )
