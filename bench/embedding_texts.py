"""Texts of a chosen length that every machine has: Python's own documentation strings, cut by tokens."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from runtime.context import Models

LENGTHS = (36, 130)
"""Tokens of a text on average: a product's description or a message, and a paragraph."""

WITHOUT = ("site-packages", "dist-packages", "test", "idlelib", "lib2to3", "ensurepip", "pip")
DOCUMENT = 900
"""Tokens of a whole document on average, which is cut into chunks on its way: some pages of text."""

_SPREAD = 0.5
_PIECE = 20_000


def texts(models: Models, count: int, tokens: int, skip: int = 0) -> list[str]:
    """`count` different texts of `tokens` tokens on average, by half of it shorter or longer, in no order of length.

    `skip`: so many are left out before. Raises ValueError where Python's documentation has not enough text.
    """
    draw, found = random.Random(tokens), dict[str, None]()
    low, high = round(tokens * (1 - _SPREAD)), round(tokens * (1 + _SPREAD))
    for piece in _pieces():
        offsets, first = models.tokenize(piece), 0
        while first + high < len(offsets):
            last = first + draw.randint(low, high)
            found[piece[offsets[first][0] : offsets[last - 1][1]]] = None
            first = last
        if len(found) >= skip + count:
            return list(found)[skip : skip + count]
    raise ValueError(f"Python's documentation has {len(found)} texts of {tokens} tokens, asked were {skip + count}")


def standard_library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _pieces() -> Iterator[str]:
    """Running text, in an order that is the same everywhere and no order of subjects."""
    from pydoc_data.topics import topics

    folder = standard_library()
    found = {" ".join(text.split()) for text in topics.values()}
    for file in sorted(folder.rglob("*.py")):
        if not any(word in str(file.relative_to(folder)) for word in WITHOUT):
            found |= set(_docstrings(file))
    waiting = ""
    for text in sorted(found, key=lambda one: sha256(one.encode("utf-8", "replace")).digest()):
        waiting = f"{waiting} {text}".strip()
        if len(waiting) > _PIECE:
            yield waiting
            waiting = ""


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield " ".join((ast.get_docstring(node) or "").split())
