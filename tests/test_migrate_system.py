"""From one real model to another on the whole system: by the command that people use, while files come in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import second_model
from tests.system import SAMPLE, System, running_system, until

pytestmark = pytest.mark.skipif(bool(second_model.missing()), reason=second_model.missing())

FACTS = {
    "volcano.txt": "Volcanoes erupt when magma rises through cracks in the crust.",
    "tide.txt": "The moon causes the tides of the sea.",
    "tax.txt": "The income tax return is due at the end of July.",
    "bread.txt": "The bakery opens at seven and sells bread and rolls.",
}
ASKED = {"lava and eruptions": "volcano.txt", "why is there ebb and flow?": "tide.txt", "file my taxes": "tax.txt"}
MORE = """
  migrate_index:
    handler: functions.migrate_index:migrate_index
    queue: embedding
    timeout: 10m
    triggers: [{{http: {{}}}}]
models:
  mpnet: {folder}
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    sample = tmp_path / "sample"
    shutil.copytree(SAMPLE, sample, ignore=shutil.ignore_patterns("__pycache__"))
    with (sample / "functions.yaml").open("a") as file:
        file.write(MORE.format(folder=second_model.folder(os.environ)))
    with running_system(tmp_path, "--no-reload", sample=sample) as found:
        yield found


def test_from_minilm_to_mpnet_and_back(system: System, tmp_path: Path) -> None:
    put(system, tmp_path, FACTS)
    assert answers(system) == ASKED
    before = version(system)
    assert (before["dimensions"], before["documents"]) == (384, 4)

    migrated = told(system, "migrate", "--model", "mpnet", "--json")
    assert (migrated["state"], migrated["done"]) == ("done", migrated["total"])
    until(lambda: version(system)["dimensions"] == 768 and answers(system) == ASKED, "answers in the new model")
    after = version(system)
    assert (after["documents"], after["vectors"]) == (before["documents"], before["vectors"])
    assert after["model"].startswith("mpnet@78c0197b6159/mean/384")

    put(system, tmp_path, {"bee.txt": "A bee colony keeps its brood at thirty-five degrees."})
    until(lambda: answers(system, "how warm is a hive?") == "bee.txt", "a new document in the new model")
    assert system.tundish("index", "verify").returncode == 0

    told(system, "rollback", str(before["generation"]), "--json")
    until(lambda: version(system)["dimensions"] == 384 and answers(system) == ASKED, "answers in the old model")
    told(system, "release", "--json")
    until(lambda: answers(system, "how warm is a hive?") == "bee.txt", "what came in the new model in the old one")
    until(lambda: version(system)["dimensions"] == 384, "the old model still, after the release")


def put(system: System, folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    done = system.tundish("put", *(str(folder / name) for name in files), "--wait")
    assert done.returncode == 0, done.stderr


def answers(system: System, question: str = "") -> Any:
    """The best key for each of ASKED, or for one question."""
    found = {}
    for one in [question] if question else ASKED:
        answer = system.request("GET", "/search", fields={"q": one, "k": "1"})
        if answer.status == 200 and (results := json.loads(answer.data)["results"]):
            found[one] = results[0]["key"]
    return found.get(question) if question else found


def version(system: System) -> dict[str, Any]:
    """What the gateway answers from, if it is the newest."""
    found = json.loads(system.request("GET", "/admin/index-version").data)
    newest: dict[str, Any] = found["newest"] if found["up_to_date"] else {"dimensions": 0}
    return newest


def told(system: System, *words: str) -> Any:
    done = system.tundish("index", *words)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)
