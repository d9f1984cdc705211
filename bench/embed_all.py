"""`embed_all` end to end: many short texts in files, as objects or in a table, into an index that answers.

    make bench B=embed_all                                 100,000 rows of JSONL: half an hour without AMX
    python -m bench.embed_all --documents 5000 --kind delta
    python -m bench.embed_all --only listing               what it takes to look through a source

The whole system runs, with its shipped functions.yaml. The peer of the pace is our model alone on the same texts, one
core, times the processes of the queue; of the second run it is the first one. Texts are real: the documentation strings
of everything that is installed, cut after about 25 words.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from bench.alone import alone
from bench.common import System, report, system
from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore

WORDS = 25
WORKERS = 2
"""Processes of the queue `embedding` in the shipped functions.yaml."""

SAMPLE = 2000
"""Texts that the model alone gets."""

KINDS = ("jsonl", "csv", "parquet", "delta", "objects")
_TEXT = re.compile(r'"""(.*?)"""', re.DOTALL)
_HTTP = urllib3.PoolManager(retries=False, timeout=30.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--kind", choices=KINDS, default="jsonl")
    parser.add_argument("--only", choices=("listing", "whole"))
    given = parser.parse_args()
    texts = short_texts(given.documents)
    with system() as running:
        store = store_of(running)
        if given.only != "whole":
            for kind in KINDS[:4]:
                listing(store, kind, texts)
        if given.only != "listing":
            whole(running, store, given.kind, texts)


def whole(running: System, store: MinioStore, kind: str, texts: list[str]) -> None:
    """From the files to the version that answers, then once more."""
    arguments = laid_down(store, kind, texts, "whole")
    first = called(running, arguments)
    assert first["total_docs"] == len(texts) and not first["failed"] and first["version"], first
    with tempfile.TemporaryDirectory(prefix="tundish-bench-") as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]))
        bare = alone("embed_all_alone:pace", texts=str(file))
    print(json.dumps({"metric": "tokens", "ours": round(bare["tokens"], 1), "unit": "tokens per text"}), flush=True)
    pace = [len(texts) / first["seconds"]]
    report(f"embed_all_{kind}", pace, "docs/s", [bare["docs_per_second"] * min(WORKERS, os.cpu_count() or 1)], "model")
    report(f"embed_all_{kind}_seconds", [first["seconds"]])
    again = called(running, arguments)
    assert again["total_docs"] == len(texts), again
    report(f"embed_all_{kind}_again", [again["seconds"]], "s", [first["seconds"]], "the first run")


def listing(store: MinioStore, kind: str, texts: list[str]) -> None:
    """What it takes to look through a source of which all is new, and one of which nothing is."""
    arguments = laid_down(store, kind, texts, "listing")
    told = alone("embed_all_alone:listing", arguments=json.dumps(arguments), store=connection(store))
    for step, name in (("rows", "rows"), ("planned", "batches"), ("unchanged", "unchanged")):
        seconds, processor = told[step]
        line = {"metric": f"{name}_{kind}", "ours": round(seconds, 4), "unit": "s", "cpu": round(processor, 4)}
        print(json.dumps(line), flush=True)
    print(json.dumps({"metric": f"memory_{kind}", "ours": told["peak_mib"], "unit": "MiB"}), flush=True)


def called(running: System, arguments: dict[str, Any]) -> dict[str, Any]:
    """The result of one run, with its `seconds`."""
    began, body = time.perf_counter(), json.dumps(arguments)
    headers = {"Content-Type": "application/json"}
    answer = _HTTP.request("POST", f"{running.url}/async-function/embed_all", body=body, headers=headers)
    task = json.loads(answer.data)["task_id"]
    while True:
        time.sleep(0.2)
        told = json.loads(_HTTP.request("GET", f"{running.url}/api/v1/tasks/task/{task}").data)
        if told["ready"]:
            if not told["successful"]:
                raise SystemExit(f"embed_all {told['state']}: {told['error']}")
            result = json.loads(_HTTP.request("GET", f"{running.url}/api/v1/tasks/task/{task}/result").data)
            return {**result, "seconds": time.perf_counter() - began}


def laid_down(store: MinioStore, kind: str, texts: list[str], name: str) -> dict[str, Any]:
    """Put the texts into the store; the arguments of embed_all that name them."""
    store.ensure_bucket(bucket := f"bench-{kind}")
    rows = [{"id": f"{number:06}", "text": text, "length": len(text)} for number, text in enumerate(texts)]
    source = {"text": "text", "id": "id", "metadata": ["length"]}
    if kind == "objects":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda row: store.put(bucket, f"{name}/{row['id']}.txt", row["text"].encode()), rows))
        return {"bucket": bucket, "prefix": f"{name}/"}
    if kind == "delta":
        import pyarrow as pa
        from deltalake import write_deltalake

        found = store.connection()
        options = {
            "AWS_ENDPOINT_URL": found["endpoint"],
            "AWS_ACCESS_KEY_ID": found["access_key"],
            "AWS_SECRET_ACCESS_KEY": found["secret_key"],
            "AWS_REGION": found["region"],
            "AWS_ALLOW_HTTP": "true",
        }
        write_deltalake(f"s3://{bucket}/{name}", pa.Table.from_pylist(rows), storage_options=options)
        return {"bucket": bucket, "source": {**source, "delta": name}}
    store.put(bucket, f"{name}/rows.{kind}", _file(kind, rows))
    return {"bucket": bucket, "source": {**source, "objects": f"{name}/*"}}


def _file(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "csv":
        import csv

        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode("utf-8", "replace")
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def store_of(running: System) -> MinioStore:
    found = running.environ
    return MinioStore(
        StoreSettings(
            endpoint=found["MINIO_ENDPOINT"],
            access_key=found["MINIO_ACCESS_KEY"],
            secret_key=found["MINIO_SECRET_KEY"],
        )
    )


def connection(store: MinioStore) -> dict[str, str]:
    found = store.connection()
    return {
        "endpoint": found["endpoint"].partition("://")[2],
        "key": found["access_key"],
        "secret": found["secret_key"],
    }


def short_texts(count: int) -> list[str]:
    """`count` different texts. Raises SystemExit where not so much is installed."""
    found: dict[str, None] = {}
    for words in _docstrings():
        for first in range(0, len(words) - WORDS // 2, WORDS):
            found[" ".join(words[first : first + WORDS])] = None
        if len(found) >= count:
            return list(found)[:count]
    raise SystemExit(f"There are {len(found)} texts in the documentation of what is installed; asked were {count}.")


def _docstrings() -> Iterator[list[str]]:
    """Words of the texts in three quotes: to parse all that is installed would take minutes."""
    paths = sysconfig.get_paths()
    for folder in (Path(paths["stdlib"]), Path(paths["purelib"])):
        for file in sorted(folder.rglob("*.py")):
            if folder.name == "site-packages" or "site-packages" not in file.parts:
                with contextlib.suppress(OSError, ValueError):
                    yield from (one.split() for one in _TEXT.findall(file.read_text("utf-8")))


if __name__ == "__main__":
    main()
