"""The main job on the whole system with the shipped functions: files in, answers out, whatever is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.deleteobjects import DeleteObject

from runtime import keys
from runtime.broker.connection import connect
from runtime.invocations.invocation import read
from tests import documents
from tests.system import System, running_system, until
from tests.workers import queued

ROOT = Path(__file__).parent.parent
KINDS = ("gateway", "triggers", "beat", "embedder", "worker embedding", "worker indexing", "worker maintenance")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What is shipped, as it is; but what failed while something was killed is tried again after five seconds, and not
    after one or two minutes. A build has two retries: they are to outlast a store that starts slowly (11 s)."""
    sample = tmp_path_factory.mktemp("sample")
    shutil.copytree(ROOT / "functions", sample / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    text, changed = re.subn(r"backoff: \d+s", "backoff: 5s", (ROOT / "functions.yaml").read_text())
    assert changed == 2, "functions.yaml says it in another way now"
    (sample / "functions.yaml").write_text(text)
    with running_system(tmp_path_factory.mktemp("shipped"), "--no-reload", sample=sample) as found:
        yield found


def hits(system: System, text: str, k: int = 5) -> dict[str, str]:
    """Key → text of the answers."""
    answer = system.request("GET", "/search", fields={"q": text, "k": str(k)})
    if answer.status != 200:
        return {}
    return {hit["key"]: hit["text"] for hit in json.loads(answer.data)["results"]}


def plain(sentence: str) -> bytes:
    return sentence.encode()


def page(sentence: str) -> bytes:
    return f"<!doctype html><title>x</title><body><h1>Notes</h1><p>{sentence}</p></body>".encode()


def minio(system: System) -> Minio:
    """Another S3 client, straight at the store."""
    found = system.connections
    return Minio(
        found["MINIO_ENDPOINT"],
        access_key=found["MINIO_ACCESS_KEY"],
        secret_key=found["MINIO_SECRET_KEY"],
        secure=False,
    )


def put(system: System, path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return system.tundish("put", str(path), *flags)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("plain.txt", plain),
        ("a name with spaces.md", plain),
        ("Über+größe & 100%.txt", plain),
        ("page.html", page),
        ("report.pdf", documents.pdf),
        ("letter.docx", documents.word),
    ],
)
def test_a_dropped_file_is_searchable(shipped: System, tmp_path: Path, name: str, make: Any) -> None:
    sentence = f"The lighthouse keeper of {name} counts seventeen herons every morning."
    file = tmp_path / name
    file.write_bytes(make(sentence))
    done = put(shipped, file)
    assert done.returncode == 0, done.stderr
    assert "herons" in hits(shipped, sentence, 10)[name]
    found = shipped.tundish("search", sentence, "--json")
    assert name in {hit["key"] for hit in json.loads(found.stdout)["results"]}


def test_the_life_of_one_document(shipped: System, tmp_path: Path) -> None:
    file = tmp_path / "life.txt"
    file.write_text("Copper kettles are polished with lemon and salt.")
    assert put(shipped, file).returncode == 0
    assert put(shipped, file).returncode == 0, "the same file twice"
    assert hits(shipped, "polishing copper kettles")["life.txt"].startswith("Copper")

    file.write_text("Violins are tuned in fifths by the concertmaster.")
    assert put(shipped, file).returncode == 0
    assert hits(shipped, "tuning violins")["life.txt"].startswith("Violins")
    assert "Copper" not in hits(shipped, "polishing copper kettles", 50)["life.txt"], "the old text has left"

    assert shipped.request("DELETE", "/buckets/documents/life.txt").status in (200, 204)
    until(lambda: "life.txt" not in hits(shipped, "tuning violins", 50), "the removal")


def test_another_client_writes_straight_to_the_store(shipped: System) -> None:
    client = minio(shipped)
    names = [f"direct/{n} é+.txt" for n in range(5)]
    for name in names:
        body = f"{name}: the glassblower of the fifth furnace sings.".encode()
        client.put_object("documents", name, io.BytesIO(body), len(body))
    until(lambda: set(names) <= set(hits(shipped, "glassblower of the fifth furnace", 20)), "five direct writes")
    errors = client.remove_objects("documents", [DeleteObject(name) for name in names])
    assert not list(errors)
    until(lambda: not set(names) & set(hits(shipped, "glassblower of the fifth furnace", 50)), "five removals")


def test_a_search_is_limited_to_what_the_store_says_of_objects(shipped: System) -> None:
    client = minio(shipped)
    places = {"limits/a.txt": ("text/plain", 2021), "limits/b.md": ("text/markdown", 2022), "limits/c.txt": ("", 2023)}
    for name, (kind, year) in places.items():
        body = f"{name} tells of the ferryman who rows across the fjord.".encode()
        own = {"year": str(year), "lang": "en"}
        client.put_object("documents", name, io.BytesIO(body), len(body), kind or "application/x-tale", metadata=own)
    until(lambda: set(places) <= set(hits(shipped, "the ferryman of the fjord", 20)), "three documents")

    def found(*options: str) -> set[str]:
        done = shipped.tundish("search", "the ferryman of the fjord", "-k", "20", "--json", *options)
        assert done.returncode == 0, done.stderr
        return {hit["key"].removeprefix("limits/") for hit in json.loads(done.stdout)["results"]}

    ours = ("--prefix", "limits/")
    assert found(*ours) == {"a.txt", "b.md", "c.txt"}
    assert found("--meta", "lang=en", "--meta", "year=2022..") == {"b.md", "c.txt"}
    assert found(*ours, "--meta", "year=2021", "--meta", "year=2023", "--group") == {"a.txt", "c.txt"}
    assert found(*ours, "--type", "text/*", "--bucket", "documents") == {"a.txt", "b.md"}
    assert found(*ours, "--since", "1h", "--until", "2999-01-01") == {"a.txt", "b.md", "c.txt"}
    assert found(*ours, "--until", "1h") == found(*ours, "--min-score", "1") == set()
    done = shipped.tundish("search", "the ferryman", *ours, "--meta", "lang=no")
    assert (done.returncode, done.stdout) == (0, "")
    assert "passes all these options" in done.stderr
    refused = shipped.tundish("search", "the ferryman", "--type", "tale")
    assert refused.returncode != 0
    assert "no media type" in refused.stderr
    for name in places:
        client.remove_object("documents", name)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.txt", b"", "is empty"),
        ("noise.pdf", bytes(range(256)) * 20, "PDF"),
        ("noise.docx", b"PK\x03\x04" + bytes(range(256)) * 20, "docx"),
        ("binary.txt", bytes(range(256)) * 20, "text"),
    ],
)
def test_a_bad_file_says_what_is_wrong(
    shipped: System, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    done = put(shipped, file)
    assert done.returncode == 1
    assert name in done.stderr + done.stdout
    assert sentence.lower() in (done.stderr + done.stdout).lower()
    status = json.loads(shipped.request("GET", f"/documents/documents/{name}").data)
    assert status["status"] == "failed"
    assert sentence.lower() in status["reason"].lower()


def test_an_unreadable_new_version_takes_the_old_one_out(shipped: System, tmp_path: Path) -> None:
    file = tmp_path / "spoiled.txt"
    file.write_text("Marmalade is boiled until it sets on a cold plate.")
    assert put(shipped, file).returncode == 0
    file.write_bytes(b"")
    assert put(shipped, file).returncode == 1
    until(lambda: "spoiled.txt" not in hits(shipped, "boiling marmalade", 50), "the old version's leave")


def test_a_bucket_that_nobody_watches_is_named(shipped: System, tmp_path: Path) -> None:
    minio(shipped).make_bucket("attic")
    file = tmp_path / "x.txt"
    file.write_text("in the attic")
    done = put(shipped, file, "--bucket", "attic")
    assert "attic" in done.stdout + done.stderr
    answer = json.loads(shipped.request("PUT", "/buckets/attic/x.txt", body=b"x").data)
    assert "attic" in answer["warning"]


def test_every_shipped_function_can_be_invoked(shipped: System) -> None:
    stats = json.loads(shipped.tundish("invoke", "stats").stdout)
    assert {"version", "vectors", "dimensions", "memory_bytes", "index_type", "migration_urgency"} <= set(stats)
    first = json.loads(
        shipped.tundish("invoke", "embed_batch", "-d", '{"documents": [{"text": "tin whistles"}]}').stdout
    )
    again = json.loads(
        shipped.tundish("invoke", "embed_batch", "-d", '{"documents": [{"text": "tin whistles"}]}').stdout
    )
    assert (first["count"], first["path"]) == (1, again["path"])
    everything = json.loads(shipped.tundish("invoke", "embed_all").stdout)
    assert {"total_docs", "total_time", "docs_per_second"} <= set(everything)
    assert everything["total_docs"] > 0
    assert json.loads(shipped.tundish("invoke", "build_index").stdout)["vectors"] == stats["vectors"] + 1
    assert json.loads(shipped.tundish("invoke", "hot_swap").stdout)["listeners"] >= 1
    assert shipped.tundish("invoke", "cleanup").returncode == 0
    refused = shipped.tundish("invoke", "cleanup", "-d", '{"retention_days": 1}')
    assert refused.returncode == 1
    assert "override" in refused.stderr


def test_kill_each_child_while_files_are_dropping(shipped: System) -> None:
    """SIGKILL of every process in turn, broker and store included, while an S3 client writes: nothing is lost."""
    client = minio(shipped)
    names: list[str] = []
    stop = threading.Event()

    def drop() -> None:
        number = 0
        while not stop.is_set() and number < 2000:
            name = f"storm/{number:04}.txt"
            body = f"Storm report {number}: the barometer of station {number} fell.".encode()
            with contextlib.suppress(Exception):  # the store is killed too: what was not accepted does not count
                client.put_object("documents", name, io.BytesIO(body), len(body))
                names.append(name)
            number += 1
            stop.wait(0.2)  # the model of a worker that was killed comes back slowly, and all of them are embedded

    dropper = threading.Thread(target=drop)
    dropper.start()
    try:
        for name in (*KINDS, "valkey", "seaweedfs"):
            pid = shipped.pid(name)
            os.kill(pid, signal.SIGKILL)
            until(lambda name=name, pid=pid: shipped.pid(name) != pid, f"the restart of {name}", 90)  # type: ignore[misc]
    finally:
        stop.set()
        dropper.join()
    until(lambda: shipped.request("GET", "/readyz").status == 200, "readiness after the storm", 90)
    assert len(names) > 20

    def missing() -> list[str]:
        answers = {name: shipped.request("GET", f"/documents/documents/{name}") for name in names}
        found = {name: json.loads(answer.data) for name, answer in answers.items() if answer.status == 200}
        return [name for name in names if not found.get(name, {}).get("searchable")]

    until(lambda: not missing(), f"{len(names)} searchable documents", 150)
    assert "storm/0000.txt" in hits(shipped, "Storm report 0: the barometer of station 0 fell.", 100)
    broker = connect(shipped.connections["CELERY_BROKER_URL"])

    def states() -> set[str]:
        """Of all that was accepted; a retry waits in no queue, so the records are asked."""
        records = [
            name.decode().removeprefix(keys.invocation("")) for name in broker.scan_iter(match=keys.invocation("*"))
        ]
        return {found.state for task_id in records if (found := read(broker, task_id))}

    until(lambda: states() <= {"succeeded", "failed"}, "the end of all that was accepted", 90)
    assert len(queued(broker)) == broker.zcard(keys.RUNNING) == 0
    broker.close()
