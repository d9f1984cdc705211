"""Ways to rank texts by words. SQLite's FTS5 comes with Python; the others are measured where they are installed."""

from __future__ import annotations

import importlib.util
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import msgpack

from runtime.index import lexical, lexical_file
from runtime.index.hybrid import COMMON, terms
from runtime.index.segment import ROW_FIELDS

TEXT_FIELD = ROW_FIELDS.index("text")

_WORD = re.compile(r"\w+")


class Ranker(Protocol):
    """Built over texts in a folder; `rank` gives the places of at most `depth` texts, best first."""

    def rank(self, query: str, depth: int) -> list[int]: ...


class Fts5:
    """SQLite full text search: an index without the texts. A name with `_` is looked up as a phrase of its parts."""

    def __init__(self, folder: Path, texts: Sequence[str] | None = None, tokenizer: str = "porter unicode61") -> None:
        self._db = sqlite3.connect(folder / "lexical.sqlite")
        if texts is not None:
            self._db.execute(f"CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='{tokenizer}')")
            rows = enumerate(texts)
            self._db.executemany("INSERT INTO t(rowid, text) VALUES (?, ?)", rows)
            self._db.execute("INSERT INTO t(t) VALUES ('optimize')")
            self._db.commit()

    def rank(self, query: str, depth: int) -> list[int]:
        words = dict.fromkeys(word for word in _WORD.findall(query) if word.lower() not in COMMON)
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words)
        found = self._db.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?", (match, depth))
        return [row for (row,) in found]


class Bm25s:
    """bm25s: scores of every word and text worked out beforehand, as sparse arrays of numpy."""

    def __init__(self, folder: Path, texts: Sequence[str] | None = None) -> None:
        bm25s: Any = importlib.import_module("bm25s")
        if texts is None:
            self._bm25 = bm25s.BM25.load(str(folder), mmap=True)
            return
        self._bm25 = bm25s.BM25()
        self._bm25.index([_words(text) for text in texts], show_progress=False)
        self._bm25.save(str(folder), show_progress=False)

    def rank(self, query: str, depth: int) -> list[int]:
        words = [word for word in dict.fromkeys(_words(query)) if word in self._bm25.vocab_dict]
        if not words:
            return []
        places, scores = self._bm25.retrieve([words], k=depth, show_progress=False)
        return [int(place) for place in places[0][scores[0] > 0]]


class Tantivy:
    """What the engine has (runtime/index/lexical.py): tantivy, the search library in Rust, with English stems."""

    def __init__(self, folder: Path, texts: Sequence[str] | None = None) -> None:
        noted = folder / "noted.json"
        if texts is not None:
            rows = folder / "rows.bin"
            with rows.open("wb") as file:
                for text in texts:
                    file.write(msgpack.packb([None] * TEXT_FIELD + [text]))
            lexical_file.write(folder, rows, len(texts))
            rows.unlink()
            noted.write_text(json.dumps([sha256((folder / lexical_file.LEXICAL).read_bytes()).hexdigest(), len(texts)]))
        digest, count = json.loads(noted.read_text())
        self._words = lexical.Lexical(folder, digest, count)

    def rank(self, query: str, depth: int) -> list[int]:
        return [row for _, row in self._words.search(lexical.lookup([self._words], terms(query)), depth)]


RANKERS: dict[str, Callable[..., Ranker]] = {"fts5": Fts5, "bm25s": Bm25s, "tantivy": Tantivy}


def installed() -> list[str]:
    return [name for name in RANKERS if name == "fts5" or importlib.util.find_spec(name)]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in COMMON]
