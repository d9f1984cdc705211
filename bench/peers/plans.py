"""How each peer is started: a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """`client` and `servers` are command lines; in them `{python}` is the peer's interpreter, `{bin}` its folder of
    commands, `{ours}` our interpreter, `{folder}` this folder, `{url}` its database and `{port}` a free port."""

    name: str
    module: str
    """What must be installed for it, and in the next field as what."""
    distribution: str
    client: str
    servers: Sequence[str]
    what: str
    """What one should know of it to read its numbers."""
    database: int | None = None
    """Its number on the broker; None for what has no queue."""
    ours: bool = False
    """It runs in our own environment."""
    count: int = 1000
    """How many calls it is given at once where calls are counted: slow ones get fewer."""
    clients: int = 256
    """How many clients it is asked to stand."""
    polls: bool = False
    """Its workers ask so often that they are stopped while others are measured."""
    environ: Mapping[str, str] = field(default_factory=dict)


PLANS = (
    Plan(
        "celery",
        "celery",
        "celery",
        "{python} -m bench.peers.with_celery",
        ["{python} -m celery -A bench.peers.with_celery worker -c 2 -l ERROR"],
        "`delay().get()`, two processes, results kept",
        database=1,
        ours=True,
    ),
    Plan(
        "flower",
        "flower",
        "flower",
        "{python} -m bench.peers.with_http flower http://127.0.0.1:{port}",
        ["{python} -m celery -A bench.peers.with_celery flower --address=127.0.0.1 --port={port} --logging=error"],
        "its HTTP API in front of the same Celery worker",
        database=1,
        ours=True,
        count=200,
        clients=16,
        environ={"FLOWER_UNAUTHENTICATED_API": "true"},
    ),
    Plan(
        "taskiq",
        "taskiq_redis",
        "taskiq",
        "{python} -m bench.peers.with_taskiq",
        ["{bin}/taskiq worker bench.peers.with_taskiq:broker --workers 2 --log-level ERROR"],
        "list broker, two processes of many calls each; a message that was taken is nowhere but there",
        database=2,
    ),
    Plan(
        "taskiq-stream",
        "taskiq_redis",
        "taskiq",
        "{python} -m bench.peers.with_taskiq",
        ["{bin}/taskiq worker bench.peers.with_taskiq:broker --workers 2 --log-level ERROR"],
        "the same over a Redis stream, with acknowledgements",
        database=7,
        clients=16,
        environ={"BENCH_TASKIQ": "stream"},
    ),
    Plan(
        "dramatiq",
        "dramatiq",
        "dramatiq",
        "{python} -m bench.peers.with_dramatiq",
        ["{bin}/dramatiq bench.peers.with_dramatiq --processes 2 --threads 1"],
        "two processes of a thread each, results kept; it polls, with pauses of up to a second when there was nothing",
        database=3,
        clients=16,
    ),
    Plan(
        "arq",
        "arq",
        "arq",
        "{python} -m bench.peers.with_arq",
        ["{bin}/arq bench.peers.with_arq.Worker"] * 2,
        "two processes of ten coroutines each; it polls, here every 1 ms instead of every 0.5 s",
        database=4,
        count=300,
        clients=16,
        polls=True,
    ),
    Plan(
        "rq",
        "rq",
        "rq",
        "{python} -m bench.peers.with_rq",
        ["{bin}/rq worker --quiet --url {url} peer"] * 2,
        "two workers, each of which forks for every call, as is RQ's default",
        database=5,
        count=60,
        clients=16,
    ),
    Plan(
        "redis hops",
        "redis",
        "redis",
        "{python} -m bench.peers.with_redis",
        ["{python} -m bench.peers.with_redis serve"] * 2,
        "LPUSH, BRPOP, LPUSH, BLPOP and no more, two processes",
        database=6,
        ours=True,
        clients=16,
    ),
    Plan(
        "functions-framework",
        "functions_framework",
        "functions-framework",
        "{ours} -m bench.peers.with_http plain http://127.0.0.1:{port}",
        ["{bin}/functions-framework --source {folder}/with_functions.py --target call --host 127.0.0.1 --port {port}"],
        "HTTP without a queue, gunicorn with threads",
    ),
    Plan(
        "starlette",
        "starlette",
        "starlette",
        "{python} -m bench.peers.with_http plain http://127.0.0.1:{port}",
        ["{python} -m uvicorn bench.peers.with_starlette:app --port {port} --log-level error --no-access-log"],
        "HTTP and nothing behind it, one process under uvicorn",
        ours=True,
    ),
)
