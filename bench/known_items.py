"""Known items: pieces of real text, and queries that are each after exactly one of them.

The text is the docstrings of the installed libraries. An item is the body of a docstring, cut as `embed_batch` would
cut it; its summary line is left out and becomes the query: words of the same author for the same thing, but not a copy.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from functions._chunk import chunk
from runtime.context import Models
from runtime.index.hybrid import COMMON

_PACKAGES = """
celery click faiss hypothesis kombu networkx numpy PIL pyarrow pydantic redis scipy sklearn sympy torch transformers
"""
_VERBS = """
add apply build calculate check combine compute construct convert copy count create decode determine draw encode
estimate evaluate extract factor find fit generate get give integrate load make map merge move parse perform plot
predict prepare print read remove replace return run save select set simplify solve sort split transform
update validate write
"""
_PER_PACKAGE = 1300
_WORD = re.compile(r"[A-Za-z]+")
# Names as code has them: with an underscore, a digit or a capital inside.
_NAME = re.compile(r"\b(?=\w*(?:[a-z]_[a-z]|[A-Z]_[A-Z]|[a-z][A-Z]|[A-Za-z]\d))[A-Za-z]\w{4,39}\b")


@dataclass(frozen=True, slots=True)
class Item:
    """`summary` is what is asked; `text` is what is searched."""

    summary: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """`item` is the place of the one right answer."""

    kind: str
    text: str
    item: int


def items(models: Models, count: int) -> list[Item]:
    """`count` items (fewer where less is installed), the same ones for the same installed versions."""
    found: dict[str, list[Item]] = defaultdict(list)
    summaries: set[str] = set()
    texts: set[str] = set()
    folder = Path(sysconfig.get_paths()["purelib"])
    for package in _PACKAGES.split():
        for summary, body in docstrings(folder / package):
            if summary.lower() not in summaries and body not in texts:
                summaries.add(summary.lower())
                texts.add(body)
                found[package].append(Item(summary, body))
    chosen = [item for group in found.values() for item in sorted(group, key=_shuffled)[:_PER_PACKAGE]]
    cut = []
    for item in sorted(chosen, key=_shuffled)[:count]:
        start, end = chunk(item.text, models.tokenize(item.text))[0]
        cut.append(Item(item.summary, item.text[start:end]))
    return cut


def queries(found: Sequence[Item], each: int) -> list[Query]:
    """`each` queries of every kind; the names of the kinds say what they are."""
    draw = random.Random(7)
    places = [place for place, item in enumerate(found) if len(_content(item.summary)) >= 4]
    draw.shuffle(places)
    made = []
    for place in places[:each]:
        summary = found[place].summary
        keywords = _content(summary)
        picked = sorted(draw.sample(range(len(keywords)), 3))
        made += [
            Query("sentence", summary, place),
            Query("sentence, 2 typos", _misspelt(summary, 2, draw), place),
            Query("3 keywords", " ".join(keywords[n] for n in picked), place),
            Query("3 keywords, 1 typo", _misspelt(" ".join(keywords[n] for n in picked), 1, draw), place),
        ]
    asked = [(question, place) for place in places if (question := _question(found[place].summary))]
    made += [Query("question", question, place) for question, place in asked[:each]]
    names = list(_rare_names(found))
    draw.shuffle(names)
    for name, place in names[:each]:
        words = [word for word in _content(found[place].summary) if word != name.lower()]
        made += [
            Query("rare name", name, place),
            Query("rare name in a question", f"What does {name} do?", place),
            Query("rare name, 2 keywords", " ".join([name, *words[:2]]), place),
            Query("rare name, 1 typo", _misspelt(name, 1, draw), place),
        ]
    return sorted(made, key=lambda query: query.kind)


def docstrings(folder: Path, without: Sequence[str] = ("test",)) -> Iterator[tuple[str, str]]:
    """Summary and body of every docstring below `folder` that is long enough; files of a name with `without` are not
    read."""
    for file in sorted(folder.rglob("*.py")):
        name = str(file.relative_to(folder.parent))
        if any(word in name for word in without):
            continue
        try:
            tree = ast.parse(file.read_text("utf-8"))
        except (SyntaxError, ValueError):  # templates and samples of other Pythons
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                summary, _, body = (ast.get_docstring(node) or "").partition("\n\n")
                summary = " ".join(summary.split())
                if 5 <= len(summary.split()) <= 30 and len(body) >= 160:
                    yield summary, body


def _rare_names(found: Sequence[Item]) -> Iterator[tuple[str, int]]:
    """One name of each item that has a name which no other item has."""
    held = [sorted(set(_NAME.findall(item.text))) for item in found]
    everywhere = Counter(word.lower() for item in found for word in set(re.findall(r"\w+", item.text)))
    for place, names in enumerate(held):
        rare = [name for name in names if everywhere[name.lower()] == 1]
        if rare and len(_content(found[place].summary)) >= 2:
            yield min(rare, key=_shuffled), place


def _question(summary: str) -> str | None:
    """A summary that says what is done, as the question how to do it."""
    verb, _, rest = summary.rstrip(".").partition(" ")
    verb = verb.lower()
    known = _VERBS.split()
    verb = verb if verb in known else verb.removesuffix("s") if verb.removesuffix("s") in known else ""
    if not verb or "." in rest:
        return None
    return f"How can I {'get' if verb == 'return' else verb} {rest}?"


def _content(text: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(text) if len(word) > 2]
    return list(dict.fromkeys(word for word in words if word not in COMMON))


def _misspelt(text: str, count: int, draw: random.Random) -> str:
    """`text` with one letter dropped, doubled, swapped or replaced in `count` of its longer words."""
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) >= 5]
    for place in draw.sample(long, min(count, len(long))):
        word = words[place]
        at = draw.randrange(1, len(word) - 2)
        words[place] = draw.choice(
            [
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + draw.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
            ]
        )
    return " ".join(words)


def _shuffled(thing: object) -> bytes:
    """An order that is the same everywhere and has nothing to do with the content."""
    return hashlib.sha256(repr(thing).encode()).digest()
