"""The words of one segment: which rows come back, how they are scored, and the copy on this host."""

from __future__ import annotations

import math
import multiprocessing
import random
import shutil
import tarfile
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgpack
import numpy as np
import pytest

from runtime.errors import CorruptSegment
from runtime.index import lexical, lexical_file
from runtime.index.docs import Bits
from runtime.index.hybrid import terms
from runtime.index.lexical import Lexical, lookup
from runtime.index.lexical_file import LEXICAL, UNPACKED

VOCABULARY = ["boiler", "pump", "valve", "kiln", "flue", "damper", "hearth", "ladle", "mould", "slag", "torch", "vent"]
ROWS = 1500


def texts_of(count: int, seed: int) -> list[str]:
    """Texts of a few words each; the later words of the vocabulary are rare."""
    draw = random.Random(seed)
    weights = [1 / (place + 1) for place in range(len(VOCABULARY))]
    return [" ".join(draw.choices(VOCABULARY, weights, k=draw.randint(1, 8))) for _ in range(count)]


def make(folder: Path, texts: Sequence[str]) -> Lexical:
    folder.mkdir(exist_ok=True)
    rows = [["bucket", "key", "etag", 1, "default", 0, 0, len(text), text, {}] for text in texts]
    (folder / "rows.bin").write_bytes(b"".join(map(msgpack.packb, rows)))
    assert lexical_file.write(folder, folder / "rows.bin", len(texts)) == [LEXICAL]
    return Lexical(folder, digest(folder), len(texts))


def digest(folder: Path) -> str:
    return sha256((folder / LEXICAL).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of(ROWS, 1)


@pytest.fixture(scope="module")
def words(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Lexical:
    return make(tmp_path_factory.mktemp("words") / "segment", texts)


def bits(rows: set[int], count: int = ROWS) -> Bits:
    mask = np.zeros(count, bool)
    mask[list(rows)] = True
    return np.packbits(mask, bitorder="little")


def scores(segments: Sequence[Sequence[str]], query: str) -> list[dict[int, float]]:
    """BM25 of every row that has a word, by hand: how rare a word is, is counted in all segments together."""
    wanted = set(query.split())
    everything = [text.split() for texts in segments for text in texts]
    having = Counter(word for text in everything for word in set(text))
    rarity = {word: math.log(1 + (len(everything) - having[word] + 0.5) / (having[word] + 0.5)) for word in wanted}
    found = []
    for texts in segments:
        rows = [text.split() for text in texts]
        average = sum(map(len, rows)) / len(rows)
        scored = {}
        for row, text in enumerate(rows):
            counts = Counter(word for word in text if word in wanted)
            norm = 1.2 * (0.25 + 0.75 * len(text) / average)
            if counts:
                scored[row] = sum(rarity[word] * count * 2.2 / (count + norm) for word, count in counts.items())
        found.append(scored)
    return found


@pytest.mark.parametrize("few", [0, 40, ROWS], ids=["read on", "either", "named"])
def test_the_best_of_the_allowed_rows_come_back(
    words: Lexical, texts: list[str], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(lexical, "FEW", few)
    draw = random.Random(few)
    for _ in range(60):
        query = " ".join(draw.choices(VOCABULARY, k=draw.randint(1, 4)))
        asked = lookup([words], terms(query))
        allowed = set(draw.sample(range(ROWS), draw.choice([0, 1, 7, 60, 700, ROWS])))
        expected = {row: score for row, score in scores([texts], query)[0].items() if row in allowed}
        k = draw.choice([1, 5, 50, ROWS])
        found = words.search(asked, k, bits(allowed))
        assert len(found) == len(dict(map(reversed, found))) == min(k, len(expected))  # type: ignore[arg-type]
        assert [score for score, _ in found] == pytest.approx(sorted(expected.values(), reverse=True)[:k], rel=1e-4)
        assert all(score == pytest.approx(expected[row], rel=1e-4) for score, row in found)


def test_words_are_as_rare_in_a_small_segment_as_in_all(tmp_path: Path, texts: list[str]) -> None:
    segments = [texts, texts_of(3, 2), ["vent vent pump"]]
    parts = [make(tmp_path / str(number), segment) for number, segment in enumerate(segments)]
    for query in ("vent", "boiler vent", "torch pump slag"):
        asked = lookup(parts, terms(query))
        for part, expected in zip(parts, scores(segments, query), strict=True):
            found = {row: score for score, row in part.search(asked, ROWS)}
            assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("RETRIES", [0]),
        ("retry", [0]),
        ("max_retries", [0]),
        ("retries_max", []),
        ("grosse Münze", [1]),
        ("GROSSE munze", [1]),
        ("what is the E-1042?", [2]),
        ("a the of", [2, 3]),
        ("the who", [3]),
        ("数据", [4]),
        ("?!…", []),
        ("", []),
        ('nothing AND (such OR thing) text:x^2 "', []),
    ],
)
def test_what_is_one_word(tmp_path: Path, query: str, found: list[int]) -> None:
    """By stems, without accents and capitals; names of several words stand together; no query language."""
    texts = ["max_retries: 3", "Große Münzen", "the pump E-1042 of Linz", "the who", "数据 处理"]
    words = make(tmp_path / "segment", texts)
    assert sorted(row for _, row in words.search(lookup([words], terms(query)), 10)) == found


def test_a_long_text_is_asked_by_its_first_words() -> None:
    assert len(terms(" ".join(f"w{number}" for number in range(5000)))) == 100
    assert terms("pump pump Pumps the") == [("pump",)]


def test_of_nothing_there_are_no_words(tmp_path: Path) -> None:
    (tmp_path / "rows.bin").write_bytes(b"")
    assert lexical_file.write(tmp_path, tmp_path / "rows.bin", 0) == []


def opened(folder: Path, name: str, rows: int) -> None:
    words = Lexical(folder, name, rows)
    assert words.search(lookup([words], terms("boiler")), 1)


def test_several_processes_unpack_at_once(tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / "segment"
    make(folder, texts)
    shutil.rmtree(folder / UNPACKED)
    (folder / f"{UNPACKED}.part").mkdir()
    (folder / f"{UNPACKED}.part" / "left behind").touch()
    # Not forked from here: what other tests have left in this process, threads above all, would come along.
    clean = multiprocessing.get_context("forkserver")
    processes = [clean.Process(target=opened, args=(folder, digest(folder), ROWS)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(path.name for path in folder.iterdir()) == [UNPACKED, LEXICAL, "rows.bin"]


def test_a_copy_that_was_damaged_is_unpacked_again(tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / "segment"
    make(folder, texts)
    (folder / UNPACKED / "meta.json").write_text("{")
    opened(folder, digest(folder), ROWS)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_an_archive_that_is_not_what_it_was_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "segment"
    make(folder, ["one", "two"])
    name, archive = digest(folder), bytearray((folder / LEXICAL).read_bytes())
    shutil.rmtree(folder / UNPACKED)
    archive[len(archive) // 2] ^= 1
    (folder / LEXICAL).write_bytes(archive if damage == "flip" else archive[:-1])
    with pytest.raises(CorruptSegment, match=LEXICAL):
        lexical.opened(folder, name, 2)


def test_words_of_another_tantivy_are_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tarfile.open(tmp_path / LEXICAL, "w") as archive:
        archive.addfile(tarfile.TarInfo("meta.json"))
    assert lexical.opened(tmp_path, digest(tmp_path), 2) is None
    assert "its texts are not found by their words" in caplog.text
