"""Real text and its vectors: docstrings and Markdown of the installed libraries, through the project's own model.

They are embedded once and kept in the user's cache folder, named after the model and the installed versions: the same
versions give the same corpus. What a run does not finish, the next one goes on with.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from importlib.metadata import distributions
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.index_data import QUERIES, Corpus, Vectors
from runtime.embedding.backend import SentenceTransformerModels

SHARD = 2048
SHORTEST, LONGEST = 80, 300
_SURPLUS = 1.05
_SPACE = re.compile(r"\s+")


def prepared(count: int, home: Path | None = None) -> Corpus:
    """A corpus of at least `count` real vectors besides the queries; embeds what is missing, on all cores."""
    home = home or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tundish-bench"
    home.mkdir(parents=True, exist_ok=True)
    count += QUERIES
    model = sha256(SentenceTransformerModels().name.encode()).hexdigest()[:8]
    installed = sorted(f"{one.metadata['Name']} {one.version}" for one in distributions())
    stem = f"{model}-{sha256(f'{count} {installed}'.encode()).hexdigest()[:16]}"
    texts, vectors = home / f"{stem}.json", home / f"{stem}.npy"
    if not texts.exists():
        _write(texts, json.dumps(_texts(count)).encode())
    if not vectors.exists():
        _embed(json.loads(texts.read_text()), home, model, vectors)
    return Corpus(str(vectors), str(texts))


def _texts(count: int) -> list[str]:
    """The first `count` pieces in the order of their hashes, which is no order of subjects."""
    _tell(f"reading the text of the installed libraries until there are {count} pieces")
    folder = Path(sysconfig.get_paths()["purelib"])
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".md")]
    files.sort(key=lambda path: sha256(path.relative_to(folder).as_posix().encode()).digest())
    found: dict[str, str] = {}
    for path in files:
        for piece in _pieces(path):
            found.setdefault(piece.lower(), piece)
        if len(found) > count * _SURPLUS:
            break
    if len(found) < count:
        raise SystemExit(f"The installed libraries have {len(found)} pieces of text, not {count}: ask for fewer.")
    return sorted(found.values(), key=lambda piece: sha256(piece.encode()).digest())[:count]


def _pieces(path: Path) -> Iterator[str]:
    for text in _documents(path):
        for paragraph in text.split("\n\n"):
            rest = _SPACE.sub(" ", paragraph).strip()
            while len(rest) >= SHORTEST:
                end = len(rest) if len(rest) <= LONGEST else rest.rfind(" ", SHORTEST, LONGEST)
                if end < 0:  # one endless word is no text
                    break
                piece, rest = rest[:end], rest[end:].lstrip()
                if sum(letter.isalpha() or letter == " " for letter in piece) > 0.75 * len(piece):
                    yield piece


def _documents(path: Path) -> Iterator[str]:
    try:
        source = path.read_text("utf-8")
        if path.suffix == ".md":
            yield source
            return
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):  # templates, and samples of other Pythons
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _embed(texts: list[str], home: Path, model: str, target: Path) -> None:
    """Vectors of an older corpus are taken from it: a library more or less changes few of the texts."""
    known = dict(_known(home, model))
    missing = [text for text in texts if text not in known]
    shards = [missing[start : start + SHARD] for start in range(0, len(missing), SHARD)]
    parts = [home / f"{model}-{sha256(json.dumps(shard).encode()).hexdigest()[:16]}.part.npy" for shard in shards]
    todo = [pair for pair in zip(parts, shards, strict=True) if not pair[0].exists()]
    workers = os.cpu_count() or 1
    _tell(f"embedding {sum(len(shard) for _, shard in todo)} of {len(texts)} texts on {workers} cores")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, _ in enumerate(pool.map(_embed_part, todo), 1):
            _tell(f"  {number} of {len(todo)}")
    for path, shard in zip(parts, shards, strict=True):
        known.update(zip(shard, np.load(path), strict=True))
    temporary = target.with_suffix(".new.npy")
    np.save(temporary, np.array([known[text] for text in texts]), allow_pickle=False)
    temporary.replace(target)
    for path in parts:
        path.unlink()


def _known(home: Path, model: str) -> Iterator[tuple[str, Vectors]]:
    for vectors in home.glob(f"{model}-*.npy"):
        texts = vectors.with_suffix(".json")
        if texts.exists():
            yield from zip(json.loads(texts.read_text()), np.load(vectors), strict=True)


def _embed_part(asked: tuple[Path, list[str]]) -> None:
    path, texts = asked
    temporary = path.with_suffix(".new.npy")
    np.save(temporary, _model().embed(texts), allow_pickle=False)
    temporary.replace(path)


@cache
def _model() -> SentenceTransformerModels:
    """Once in each process of the pool."""
    return SentenceTransformerModels()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(path)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
