"""Where everything of an index lies in the store."""

from __future__ import annotations

import re

from runtime.errors import BadInput

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
EMBEDDINGS, INDEXES = "embeddings/", "indexes/"
ROWS, VECTORS = "rows.msgpack", "vectors.npy"


def check_name(index: str) -> str:
    """The name of an index, if it is one; it becomes part of paths."""
    if not _NAME.fullmatch(index):
        raise BadInput(
            f"{index!r} cannot be the name of an index: use letters, digits, '_', '-' and '.', a letter first."
        )
    return index


def batches(index: str) -> str:
    return f"{EMBEDDINGS}{check_name(index)}/batches/"


def batch(index: str, batch_id: str) -> str:
    return f"{batches(index)}{batch_id}/"


def root(index: str) -> str:
    return f"{INDEXES}{check_name(index)}/"


def segments(index: str) -> str:
    return root(index) + "segments/"


def segment(index: str, sha: str) -> str:
    return f"{segments(index)}{sha}/"


def tombstones(index: str) -> str:
    return root(index) + "tombstones/"


def manifests(index: str) -> str:
    return root(index) + "manifests/"


def manifest(index: str, generation: int) -> str:
    return f"{manifests(index)}{generation:012d}.json"


def latest(index: str) -> str:
    return root(index) + "latest.json"
