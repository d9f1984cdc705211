"""What a model's folder, in the format of sentence-transformers, says of the model; its weights are not loaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import ServiceFailed

BUILT_IN = "all-MiniLM-L6-v2"
"""The model of an index for which functions.yaml names no other. It lies in a package, and its weights are known."""

MODULES, TOKENIZER = "modules.json", "tokenizer.json"
STATIC = "StaticEmbedding"
"""The module of a model without a transformer: each token has its vector, a text has their mean."""

_LONGEST = 512
"""Tokens, where a model does not say how many it reads."""

_LONGEST_STATIC = 8192
"""Tokens of a model that reads as many as there are: a text must end somewhere."""

_HEADER = 10**6
"""Bytes."""

_NO_LIMIT = 10**6
"""Tokens: tokenizers write a far larger number where they know no limit."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a model wants before a query, and before a text that is to be found."""

    query: str = ""
    document: str = ""


def weights(folder: Path) -> list[Path]:
    """The files of the weights, in a fixed order. Those of other formats may hold code, and are not used; those of
    a training's checkpoints belong to other models."""
    found = (path for path in folder.rglob("*.safetensors") if path.is_file())
    return sorted(path for path in found if not _aside(path.relative_to(folder)))


def _aside(path: Path) -> bool:
    return any(part.startswith((".", "checkpoint-")) for part in path.parts[:-1])


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    """By which it is seen that other weights were laid there: names, sizes in bytes and times of change (ns)."""
    return [(str(path), (found := path.stat()).st_size, found.st_mtime_ns) for path in weights(folder)]


def weights_hash(folder: Path) -> str:
    """The sha256 of the weights; where they are several files, that of all their names and hashes."""
    hashes = []
    for path in weights(folder):
        with path.open("rb") as file:
            hashes.append((str(path.relative_to(folder)), hashlib.file_digest(file, "sha256").hexdigest()))
    if len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def settings_hash(folder: Path) -> str:
    """The sha256 of what says how the weights are used: two models may share these, and differ in their pooling."""
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if not _aside(path.relative_to(folder)):
            data = path.read_bytes()
            found.update(f"{path.relative_to(folder)} {len(data)}\n".encode() + data)
    return found.hexdigest()


def kinds(folder: Path) -> list[str]:
    """The types of its modules, in order, as Python names them. Raises ServiceFailed."""
    return [str(module.get("type", "")) for module in _modules(folder)]


def is_static(folder: Path) -> bool:
    """Whether there is no transformer in it."""
    return any(kind == STATIC for kind, _ in _parts(folder))


def pooling(folder: Path) -> str:
    """How the vectors of the tokens become one: `mean`, `cls`, `mean+max` …; empty where the model has no such part."""
    if is_static(folder):
        return "static"
    return "+".join(_modes([config for kind, config in _parts(folder) if kind == "Pooling"][-1:]))


def dimensions(folder: Path) -> int:
    """Of a vector: what the last module that changes them says. Raises ServiceFailed where nothing says it."""
    said: object = None
    for kind, config in _parts(folder):
        if kind == "Pooling":
            size = config.get("word_embedding_dimension") or config.get("embedding_dimension")
            said = size * max(1, len(_modes([config]))) if isinstance(size, int) else None
        elif kind == "Dense":
            said = config.get("out_features")
        elif kind == STATIC:
            said = _width(folder)
    if not isinstance(said, int):
        raise ServiceFailed(f"{folder} does not say how many dimensions its vectors have.")
    return said


def longest(folder: Path) -> int:
    """Tokens that the model reads; the rest of a text is left out."""
    if is_static(folder):
        cut = _read(folder / TOKENIZER).get("truncation")
        return int(cut["max_length"]) if isinstance(cut, dict) else _LONGEST_STATIC
    said = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    if isinstance(said, int):
        return said
    # Newer versions of sentence-transformers save it with the tokenizer. A model has some positions that no token
    # takes (RoBERTa two), so that its own number alone would be too large.
    limits = (
        _read(folder / "tokenizer_config.json").get("model_max_length"),
        _read(folder / "config.json").get("max_position_embeddings"),
    )
    return min((one for one in limits if isinstance(one, int) and 0 < one < _NO_LIMIT), default=_LONGEST)


def pad_id(folder: Path) -> int:
    """The number of the token that fills up short texts; 0 where the model does not say."""
    said = _read(folder / "config.json").get("pad_token_id")
    return said if isinstance(said, int) else 0


def prompts(folder: Path) -> Prompts:
    """What the model's maker set, under the names that sentence-transformers looks for, or for all texts."""
    said = _read(folder / "config_sentence_transformers.json")
    found = said.get("prompts")
    known = {str(name): str(text or "") for name, text in found.items()} if isinstance(found, dict) else {}
    default = known.get(str(said.get("default_prompt_name")), "")

    def one(*names: str) -> str:
        return next((known[name] for name in names if known.get(name)), default)

    return Prompts(one("query"), one("document", "passage", "corpus"))


def leaves_prompt_out(folder: Path) -> bool:
    """Whether the pooling leaves out the tokens of the prompt."""
    return any(kind == "Pooling" and config.get("include_prompt") is False for kind, config in _parts(folder))


def _width(folder: Path) -> int | None:
    """Of the table of a static model: the header of a file of weights tells the shapes in it."""
    try:
        with weights(folder)[0].open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _HEADER)))
        return next(int(one["shape"][1]) for name, one in header.items() if name.startswith("embedding"))
    except (OSError, ValueError, LookupError, StopIteration):
        return None


def _modes(poolings: list[dict[str, Any]]) -> list[str]:
    for known in poolings:
        said = known.get("pooling_mode")
        on = (key.removeprefix("pooling_mode_") for key, value in known.items() if value is True)
        modes = [said] if isinstance(said, str) else said if isinstance(said, list) else on
        # Two ways of writing them, of older and of newer versions, are one model.
        names = (re.sub("_tokens?$", "", str(mode)) for mode in modes)
        return [name for name in names if name != "include_prompt"]
    return []


def _parts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module's kind and its own configuration. That of the transformer is no module's."""
    for module in _modules(folder):
        kind = str(module.get("type", "")).rpartition(".")[2]
        yield kind, _read(folder / str(module.get("path", "")) / "config.json")


def _modules(folder: Path) -> list[dict[str, Any]]:
    found = _json(folder / MODULES)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ServiceFailed(f"{folder / MODULES} is not a list of modules. Copy the model anew.")
    return found


def _read(path: Path) -> dict[str, Any]:
    """Empty where there is no such file."""
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ServiceFailed(f"{path} cannot be read: {error}. Copy the model anew.") from error
