"""An index moves to Qdrant on the whole system, by the command that people use; Qdrant goes away, and comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.qdrant_server import Cut, Served, serve
from tests.system import SAMPLE, System, running_system, until

KEY = "nobody-sees-this-key"
FACTS = {
    "volcano.txt": "Volcanoes erupt when magma rises through cracks in the crust.",
    "tide.txt": "The moon causes the tides of the sea.",
    "bread.txt": "The bakery opens at seven and sells bread and rolls.",
}
MORE = """
  migrate_index:
    handler: functions.migrate_index:migrate_index
    queue: embedding
    timeout: 10m
    triggers: [{{http: {{}}}}]
indexes:
  default: {{url: '{url}', api_key: '{key}', timeout: 5s}}
  other: {{}}
"""


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(key=KEY) as running:
        yield running


@pytest.fixture
def system(tmp_path: Path, served: Served) -> Iterator[System]:
    sample = tmp_path / "sample"
    shutil.copytree(SAMPLE, sample, ignore=shutil.ignore_patterns("__pycache__"))
    with (sample / "functions.yaml").open("a") as file:
        file.write(MORE.format(url=served.url, key=KEY))
    with running_system(tmp_path, "--no-reload", sample=sample) as found:
        yield found


def test_there_away_and_back(system: System, served: Served, tmp_path: Path) -> None:
    put(system, tmp_path, FACTS)
    until(lambda: best(system, "lava") == "volcano.txt", "an answer from FAISS")
    moved = json.loads(run(system, "index", "migrate", "--engine", "qdrant", "--json"))
    assert (moved["state"], moved["model"], moved["done"]) == ("done", "qdrant", moved["total"])
    until(
        lambda: version(system)["kind"] == "qdrant" and best(system, "why is there ebb and flow?") == "tide.txt",
        "one from Qdrant",
    )
    assert run(system, "index", "verify")

    served.trouble.hook = away
    answer = system.request("GET", "/search?q=lava")
    assert answer.status == 503 and answer.headers["Retry-After"]
    assert system.request("GET", "/search?q=lava&index=other").status == 200
    put(system, tmp_path, {"bee.txt": "A bee colony keeps its brood at thirty-five degrees."}, wait=False)
    until(lambda: waits(system), "a build that waits for Qdrant")
    served.trouble.hook = lambda method, path: None
    until(lambda: best(system, "how warm is a hive?") == "bee.txt", "what came while Qdrant was away")

    run(system, "index", "migrate", "--engine", "faiss")
    until(lambda: version(system)["kind"] == "flat" and best(system, "lava") == "volcano.txt", "FAISS again")
    assert KEY not in system.log
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if KEY in read(path)]


def away(method: str, path: str) -> None:
    raise Cut


def waits(system: System) -> bool:
    told = json.loads(system.request("GET", "/api/v1/tasks?function=build_index&state=retrying").data)
    return bool(told["tasks"])


def put(system: System, folder: Path, files: dict[str, str], *, wait: bool = True) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    run(system, "put", *(str(folder / name) for name in files), "--wait" if wait else "--no-wait")


def best(system: System, question: str) -> str:
    answer = system.request("GET", "/search", fields={"q": question, "k": "1"})
    hits = json.loads(answer.data)["results"] if answer.status == 200 else []
    return str(hits[0]["key"]) if hits else ""


def version(system: System) -> Any:
    return json.loads(system.request("GET", "/admin/index-version").data)["newest"]


def run(system: System, *words: str) -> str:
    done = system.tundish(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
