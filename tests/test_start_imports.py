"""What a gateway imports before its first search, and what the command imports to print its help: no more than needed.

Names are counted, not seconds: a start that became slow did so because something was imported. The same for every
other process of a system: all of them start at once, on whatever cores there are.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.routes import TABLE, endpoint_of, import_all
from runtime.config.settings import StoreSettings

SLOW = {
    "celery",
    "cronsim",
    "difflib",
    "jsonschema_rs",
    "kombu",
    "prometheus_client",
    "tarfile",
    "torch",
    "yaml",
    "runtime.config.check",
    "runtime.config.file",
    "runtime.deployment.describe",
    "runtime.config.schema",
}
"""Not needed where a supervisor has described the functions: for calls, for a scrape, or for reading functions.yaml."""

INDEX = {"faiss", "numpy", "minio", "runtime.index.reader", "runtime.store.port"}
NUMBERS = {"faiss", "numpy", "scipy", "sklearn", "torch"}
TEXTS = {"sentence_transformers", "tokenizers", "transformers", "xberg"}
HTTP = {"starlette", "uvicorn"}
PROCESSES = {
    "help": (
        "from click.testing import CliRunner; from runtime.cli.main import cli; CliRunner().invoke(cli, ['--help'])",
        NUMBERS | TEXTS | HTTP | {"celery", "pydantic", "redis", "rich", "urllib3", "yaml"},
        180,
    ),
    "up": (
        "import runtime.cli.main, runtime.cli.up, runtime.system.house, runtime.system.watching",
        NUMBERS | TEXTS | HTTP | {"celery", "kombu", "minio", "prometheus_client"},
        620,
    ),
    "gateway": ("import gateway.serve, gateway.search.search", NUMBERS | TEXTS | {"celery", "kombu", "minio"}, 730),
    "triggers": ("import triggers.__main__", NUMBERS | TEXTS | HTTP | {"celery", "jsonschema_rs", "kombu"}, 640),
    "beat": ("import triggers.beat", NUMBERS | TEXTS | HTTP | {"jsonschema_rs", "minio"}, 760),
    "worker": (
        "import runtime.worker.process; from runtime.worker.warm import warm;"
        "from runtime.config.settings import Queue; warm('q', Queue(), None)",
        NUMBERS | TEXTS | HTTP | {"minio"},
        960,
    ),
    "embedder": (
        "import runtime.embedding.server, runtime.embedding.project, runtime.embedding.behind",
        NUMBERS | TEXTS | HTTP | {"celery", "kombu", "minio"},
        260,
    ),
}
"""What a process imports before it works, what is never among it, and how many modules that are at most."""

OTHER_ROUTES = {
    "gateway.search.admin",
    "gateway.calls.invoke",
    "gateway.operations.metrics",
    "gateway.operations.openapi",
    "gateway.operations.pages",
}


def imported(code: str) -> set[str]:
    """The names of all modules that are there after `code`, in a process of its own."""
    return set(json.loads(told(f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))")))


def told(program: str) -> str:
    """The last line that a program prints."""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()[-1]


def test_a_gateway_that_serves_a_search_has_imported_nothing_else() -> None:
    found = imported("import gateway.serve, gateway.search.search")
    assert "gateway.state" in found
    assert found & (SLOW | INDEX | OTHER_ROUTES) == set()


def test_the_index_needs_no_more_than_itself() -> None:
    found = imported("import gateway.serve, gateway.search.search, runtime.index.reader, runtime.store.port")
    assert found >= INDEX - {"minio"}
    assert found & (SLOW | OTHER_ROUTES | {"scipy", "pandas", "tantivy"}) == set()


@pytest.mark.parametrize("name", PROCESSES)
def test_what_a_process_imports_before_it_works(name: str) -> None:
    code, never, most = PROCESSES[name]
    found = imported(code)
    assert {one.partition(".")[0] for one in found} & never == set()
    assert len(found) <= most


def test_the_help_reads_no_settings() -> None:
    assert imported(PROCESSES["help"][0]) & {"runtime.config.settings", "runtime.cli.up"} == set()


def test_the_built_in_model_needs_torch_alone() -> None:
    """Sentence-transformers and what it brings take 4 s of processor time, in the embedder and in the worker."""
    code = "from runtime.embedding.backend import SentenceTransformerModels; SentenceTransformerModels().embed(['a b'])"
    found = {one.partition(".")[0] for one in imported(code)}
    assert found >= {"tokenizers", "torch"}
    assert found & {"sentence_transformers", "transformers", "scipy", "sklearn"} == set()


def test_who_asks_for_a_version_needs_neither_faiss_nor_the_client_of_the_store(store_settings: StoreSettings) -> None:
    """The first call of `stats`: it took 0.9 s with them, beside everything else that starts."""
    made = f"StoreSettings.model_validate_json({store_settings.model_dump_json()!r})"
    code = (
        "import redis\nfrom runtime.config.settings import StoreSettings\nfrom runtime.index.engines import Indexes\n"
        f"from runtime.store.port import MinioStore\nindex = Indexes(MinioStore({made}), redis.Redis())\n"
        "assert index.current('never-built') is None"
    )
    assert imported(code) & {"faiss", "numpy", "minio", "urllib3"} == set()


def test_cyclic_garbage_is_not_looked_for_before_the_start() -> None:
    served = "served = types.ModuleType('gateway.serve'); sys.modules['gateway.serve'] = served"
    main = "served.main = lambda environ: print(gc.isenabled())"
    code = f"import gc, runpy, sys, types; {served}; {main}\n"
    assert told(f"{code}try: runpy.run_module('gateway', run_name='__main__')\nexcept SystemExit: pass") == "False"


def test_every_route_of_the_table_is_there() -> None:
    import_all()
    assert all(callable(endpoint_of(name)) for methods in TABLE.values() for name in methods.values())


def test_threads_take_short_turns() -> None:
    """A version that is being opened keeps searches from Python for so long; 5 ms is what Python has by itself."""
    code = "import sys, gateway.serve as serve; assert serve.main({'TUNDISH_FILE': '/nowhere.yaml'}) == 2"
    assert told(f"{code}\nprint(sys.getswitchinterval() == serve.SWITCH_SECONDS < 0.005)") == "True"
