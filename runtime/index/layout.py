"""Where everything of an index lies in the store.

An index may have batches of several models: those of its first model in a folder of its own, those of another one
beside it. `NAME~TAG` (`shadow`) stands for an index as another model sees it, in every function here: the batches of
that model, and the versions of a migration to it until one of them becomes the index's own. Segments are shared.
"""

from __future__ import annotations

import re
from hashlib import sha256

from runtime.errors import BadInput

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_TAG = re.compile(r"[0-9a-f]{16}")
EMBEDDINGS, INDEXES = "embeddings/", "indexes/"
ROWS, VECTORS = "rows.msgpack", "vectors.npy"
META, PACK = "meta.json", ".pack"


def check_name(index: str) -> str:
    """The name of an index, if it is one; it becomes part of paths."""
    if not _NAME.fullmatch(index):
        raise BadInput(
            f"{index!r} cannot be the name of an index: use letters, digits, '_', '-' and '.', a letter first."
        )
    return index


def shadow(index: str, model: str) -> str:
    """The index as the model of this identity sees it."""
    return f"{check_name(index)}~{sha256(model.encode()).hexdigest()[:16]}"


def of_tag(index: str, tag: str) -> str:
    """The index as the model sees it whose folder has this name."""
    return f"{check_name(index)}~{tag}"


def own(index: str) -> str:
    """The index itself, whichever model is asked for."""
    return _split(index)[0]


def space(index: str, model: str, native: str) -> str:
    """Whose batches are `model`'s, where those of the index itself are `native`'s (empty: everybody's)."""
    return own(index) if not native or model == native else shadow(own(index), model)


def models(index: str) -> str:
    """The folder of the other models' batches."""
    return f"{EMBEDDINGS}{check_name(index)}/models/"


def migrations(index: str) -> str:
    """The folder of versions that are not the index's own yet."""
    return root(index) + "migrations/"


def batches(index: str) -> str:
    name, tag = _split(index)
    return f"{models(name)}{tag}/batches/" if tag else f"{EMBEDDINGS}{name}/batches/"


def batch(index: str, batch_id: str) -> str:
    return f"{batches(index)}{batch_id}/"


def root(index: str) -> str:
    return f"{INDEXES}{own(index)}/"


def segments(index: str) -> str:
    return root(index) + "segments/"


def segment(index: str, name: str) -> str:
    return f"{segments(index)}{folder(name)}/"


def packed(sha: str) -> str:
    """The name of the segment of this hash that is one object (pack.py)."""
    return sha + PACK


def is_packed(name: str) -> bool:
    return name.endswith(PACK)


def beginning(index: str, name: str) -> str:
    """The object that says what is in a segment: the file that does, or all of it where it is one object."""
    return segments(index) + name if is_packed(name) else segment(index, name) + META


def early(sha: str, folder: str) -> str:
    """The name of the segment of this hash whose folder was named before the hash was known."""
    return f"{sha}-{folder}"


def folder(name: str) -> str:
    """The folder of a segment among all segments; that of a set of tombstones has its own name."""
    return name.rpartition("-")[2]


def digest(name: str) -> str:
    """The sha256 of the file that says what is in a segment."""
    return name.partition("-")[0].removesuffix(PACK)


def tombstones(index: str) -> str:
    return root(index) + "tombstones/"


def manifests(index: str) -> str:
    return _chain(index) + "manifests/"


def manifest(index: str, generation: int) -> str:
    return f"{manifests(index)}{generation:012d}.json"


def latest(index: str) -> str:
    return _chain(index) + "latest.json"


def _chain(index: str) -> str:
    name, tag = _split(index)
    return f"{migrations(name)}{tag}/" if tag else root(name)


def _split(index: str) -> tuple[str, str]:
    name, mark, tag = index.partition("~")
    if mark and not _TAG.fullmatch(tag):
        raise BadInput(f"{index!r} is not how another model sees an index: {tag!r} is not the name of its folder.")
    return check_name(name), tag
