"""Where a model lies on this machine, and whether it can be used. Nothing is fetched, and no code of it is run."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from runtime.errors import ServiceFailed
from runtime.models import folder as folders
from runtime.models.folder import MODULES, STATIC, TOKENIZER

_LIBRARY = "sentence_transformers."
_READS = ("Transformer", STATIC)
_BEHIND = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "WeightedLayerPooling")
"""Modules that can stand behind the first one."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_POINTER = b"version https://git-lfs"
_CODE = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights in a format that may hold code."""

_SAVE = "Save it anew with SentenceTransformer(…).save(folder)."


def resolve(value: str, root: Path) -> Path:
    """The folder that functions.yaml means: a path relative to `root`, an installed package with a model in it, or a
    name of the Hugging Face hub that was fetched to this machine's cache.

    Raises ServiceFailed with what is wrong.
    """
    folder = root / Path(value).expanduser()
    if not folder.is_dir():
        folder = _packaged(value.replace("-", "_")) or _fetched(value) or folder
        if not folder.is_dir():
            raise ServiceFailed(_nowhere(value, root))
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Raises ServiceFailed where the folder's model cannot be used as it is."""
    for name in (MODULES, TOKENIZER):
        if not (folder / name).is_file():
            raise ServiceFailed(
                f"{folder} is not a model of sentence-transformers: there is no {name} in it. "
                "Save one there with SentenceTransformer(…).save(folder)."
            )
    first, *others = folders.kinds(folder) or [""]
    for place, kind in enumerate((first, *others)):
        name = kind.rpartition(".")[2]
        if not kind.startswith(_LIBRARY):
            raise ServiceFailed(f"The model in {folder} wants code of its own ({kind or 'no type'}), which is not run.")
        if name not in (_BEHIND if place else _READS):
            raise ServiceFailed(
                f"The model in {folder} has a module {name} as its number {place + 1}, which is not supported: there "
                f"is {' or '.join(_READS)}, and behind it {', '.join(_BEHIND)}."
            )
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    found = folders.weights(folder)
    for path in found:
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ServiceFailed(f"{path} is a pointer of git lfs, not the weights. Fetch them: git lfs pull")
    for name in _CODE:
        for path in (folder / name, *folder.glob(f"*/{name}")):
            if path.is_file() and not any(other.parent == path.parent for other in found):
                raise ServiceFailed(
                    f"The weights {path} are in a format that may hold code; they must be in the format safetensors. "
                    f"{_SAVE}"
                )
    if not found:
        raise ServiceFailed(f"There are no weights in {folder}; they must be in the format safetensors.")


def _packaged(value: str) -> Path | None:
    """The folder of a model inside a package; nothing of the package is run."""
    try:
        found = find_spec(value) if value.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    for place in (found.submodule_search_locations or ()) if found else ():
        inside = sorted(Path(place).rglob(MODULES), key=lambda path: len(path.parts))
        if inside:
            return inside[0].parent
    return None


def _fetched(value: str) -> Path | None:
    """The folder of a model in the cache of the Hugging Face hub, in which other programs have fetched it."""
    if not _HUB_NAME.fullmatch(value):
        return None
    from huggingface_hub import try_to_load_from_cache  # 0.2 s, for who names a model so

    found = try_to_load_from_cache(value, MODULES)
    return Path(found).parent if isinstance(found, str) else None


def _nowhere(value: str, root: Path) -> str:
    if (root / Path(value).expanduser()).is_file():
        return f"{value} is a file; a model is a folder, which has one named {MODULES} in it."
    told = f"There is no folder {value}, and no installed package of this name that has a model in it."
    if _HUB_NAME.fullmatch(value):
        told += f" Nor is it in the cache of the Hugging Face hub; nothing is fetched by itself: hf download {value}"
    return told
