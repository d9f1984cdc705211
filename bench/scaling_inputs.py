"""What the sums of bench/scaling.py begin with: each number with the measurement or the page that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_HERE = "[performance](performance.md#embedding)"
_BATCH = "`python -m bench.scaling --measure`"
_ENGINES = "[FAISS beside Qdrant](performance.md#faiss-beside-qdrant)"
_FLEET = "`python -m bench.scaling_fleet`"
_LAION = "[Qdrant, 400 million vectors](https://qdrant.tech/documentation/tutorials-operations/large-scale-search/)"
_CAPACITY = "[Qdrant, capacity planning](https://qdrant.tech/documentation/guides/capacity-planning/)"
_S3 = "[list price of S3](https://aws.amazon.com/s3/pricing/), us-east-1, as third parties quote it"


@dataclass(frozen=True, slots=True)
class Input:
    """`source` is Markdown."""

    value: float
    unit: str
    meaning: str
    source: str


INPUTS: Mapping[str, Input] = {
    "short_rate": Input(
        135, "chunks/s", "one process, 36 tokens: 163 by the model, 0.83 of it on the whole way", _HERE
    ),
    "page_rate": Input(40, "chunks/s", "one process, 130 tokens: 44 by the model, 0.92 of it on the whole way", _HERE),
    "batch_documents": Input(1000, "documents", "most that `embed_all` puts into a batch", "[embed_all](embed-all.md)"),
    "batch_text": Input(4 * 2**20, "characters", "most text in a batch", "`functions/_source_parts.py`"),
    "token_letters": Input(3.2, "characters", "of a token of English documentation", _BATCH),
    "in_flight": Input(
        8, "batches", "that an `embed_all` has out unless it is told otherwise", "[embed_all](embed-all.md)"
    ),
    "run_batches": Input(100_000, "batches", "of one run: each is a call of one map", "`runtime/invocations/calls.py`"),
    "processes": Input(2, "processes", "of a worker", "shipped functions.yaml"),
    "gets": Input(9, "GETs", "of a batch of `embed_all`", _BATCH),
    "lists": Input(3, "LISTs", "of a batch", _BATCH),
    "puts": Input(2, "PUTs", "of a batch", _BATCH),
    "chunk_bytes": Input(1890, "bytes", "written to the store for a chunk of 49 tokens, vector and row", _BATCH),
    "fetched_bytes": Input(210, "bytes", "read from the store for such a chunk", _BATCH),
    "document_cpu": Input(10e-6, "s", "of the broker for a document: its newest version asked for and noted", _BATCH),
    "document_bytes": Input(134, "bytes", "to the broker for a document", _BATCH),
    "document_memory": Input(105, "bytes", "of the broker's memory for a document, for ever", _BATCH),
    "call_cpu": Input(2e-3, "s", "of the broker for a batch: submitted, taken, renewed, ended; 1.7 to 2.5 ms", _FLEET),
    "call_bytes": Input(13_000, "bytes", "to the broker for a batch", _FLEET),
    "call_trips": Input(5, "round trips", "to the broker for a batch", _FLEET),
    "waiting_memory": Input(1760, "bytes", "of the broker's memory for a batch that waits", _FLEET),
    "idle_share": Input(0.12, "cores", "of the broker for 1,000 workers that only live", "[many hosts](many-hosts.md)"),
    "ledger_memory": Input(115, "bytes", "of the broker's memory for an object of a bucket trigger", "`resync_memory`"),
    "trigger_cpu": Input(0.8e-3, "s", "of `triggers` for a new object", "[performance](performance.md)"),
    "builder_cpu": Input(240e-6, "s", "of the builder for a chunk that goes to Qdrant; 214 to 268 µs", _ENGINES),
    "request_points": Input(256, "points", "most in a request to Qdrant", "`runtime/index/qdrant/sending.py`"),
    "point_bytes": Input(8620, "bytes", "of JSON for a chunk of 49 tokens, its vector 384 numbers", _BATCH),
    "node_indexed": Input(4000, "points/s", "that such a node puts into its graph", _LAION),
    "ram_factor": Input(1.5, "×", "of the vectors, all in memory", _CAPACITY),
    "graph_bytes": Input(128, "bytes", "of the graph for a vector: 2 × 16 edges of 4 bytes", _LAION),
    "own_memory": Input(1535, "bytes", "of Qdrant beside a vector: ids, payload indexes in memory", _ENGINES),
    "own_memory_disk": Input(526, "bytes", "the same with payload indexes on disk", _ENGINES),
    "disk_float": Input(5464, "bytes", "of Qdrant's disk for a chunk that is a document", _ENGINES),
    "disk_int8": Input(6240, "bytes", "the same with `quantization: int8`", _ENGINES),
    "node_memory": Input(64e9, "bytes", "of a node", "chosen"),
    "store_cpu": Input(10e-9, "s", "of SeaweedFS for a byte", "[performance](performance.md#the-index)"),
    "prefix_puts": Input(
        3500,
        "PUTs/s",
        "that S3 takes below one prefix, and 5,500 GETs",
        "[AWS](https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html)",
    ),
    "put_price": Input(5e-6, "$", "for a PUT or a LIST", _S3),
    "get_price": Input(4e-7, "$", "for a GET", _S3),
    "store_price": Input(0.023, "$", "for a GB in the store for a month", _S3),
    "core_price": Input(
        0.0425,
        "$",
        "for a core for an hour: c6i.large, 2 vCPU, $62.05 for 730 hours",
        "[infracost](https://gist.github.com/alikhajeh1/6107727c5218382b9cc6af69be562111)",
    ),
    "memory_price": Input(
        0.0102,
        "$",
        "for a GB of memory for an hour: m7g.large, 8 GB, $0.0816",
        "[list price, June 2026](https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/)",
    ),
}


def value(name: str) -> float:
    return INPUTS[name].value
