"""Which code runs where, while a new version comes to one host after the other. Two folders stand for two hosts."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import redis

from runtime.broker import presence
from runtime.config.load import load_settings
from runtime.deployment.code_version import code_version, of_queue
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES, ended, until, worker

FILE = SAMPLES / "life" / "functions.yaml"


def copied(folder: Path) -> Path:
    shutil.copytree(FILE.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / FILE.name


def version(file: Path, queue: str | None = None) -> str:
    return of_queue(file.parent, load_settings({}, file=file).project.functions, queue)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return copied(tmp_path / "one")


def test_it_is_the_same_in_every_folder(file: Path, tmp_path: Path) -> None:
    assert version(file) == version(copied(tmp_path / "elsewhere" / "two"))
    assert len(version(file)) == 8


def test_code_and_declaration_change_it(file: Path) -> None:
    before = version(file)
    code = file.parent / "life.py"
    code.write_text(code.read_text() + "\n# changed\n")
    changed = version(file)
    file.write_text(file.read_text().replace("timeout: 2m", "timeout: 3m"))
    assert len({before, changed, version(file)}) == 3
    (file.parent / "unrelated.py").write_text("x = 1")
    assert version(file) == version(file)


def test_what_other_queues_do_does_not(file: Path) -> None:
    before = version(file, "side")
    file.write_text(file.read_text().replace("timeout: 2m", "timeout: 3m"))
    assert version(file, "side") == before


def test_a_file_that_is_gone_is_no_error(file: Path) -> None:
    functions = load_settings({}, file=file).project.functions
    (file.parent / "life.py").unlink()
    assert code_version(file.parent, functions)


def test_a_roll_out_over_two_hosts_can_be_followed(
    redis_client: redis.Redis, broker_url: str, file: Path, tmp_path: Path, deployed: Deployment
) -> None:
    other = copied(tmp_path / "two")

    def versions() -> dict[str, str]:
        found = [one for one in presence.read(redis_client) if one.kind == "worker" and one.ready]
        return {one.name.rpartition("@")[2]: one.version for one in found}

    def answers(calls: int = 6) -> set[tuple[str, str | None]]:
        """What came of so many calls at once, and which code they ran."""
        ids = [submit(redis_client, deployed, Call("note", {"path": ""})) for _ in range(calls)]
        found = [ended(redis_client, task_id) for task_id in ids]
        return {((one.result_json or b"").decode().strip('"'), one.version) for one in found}

    old = version(file, "work")
    with (
        worker(file, broker_url, "work", name="work@one") as one,
        worker(other, broker_url, "work", name="work@two") as two,
    ):
        until(lambda: versions() == {"one": old, "two": old})
        held = submit(redis_client, deployed, Call("sleep", {"path": str(tmp_path / "held"), "seconds": 4.0}))
        until((tmp_path / "held").exists)
        for place in (file, other):
            code = place.parent / "life.py"
            code.write_text(code.read_text().replace('CODE = "old"', 'CODE = "new"'))
        new = version(file, "work")
        one.send_signal(signal.SIGHUP)  # the first host
        until(lambda: versions().get("one") == new)
        assert versions()["two"] == old, "the second one goes on with what it has"
        assert answers() <= {("old", old), ("new", new)}
        two.send_signal(signal.SIGHUP)
        until(lambda: versions() == {"one": new, "two": new})
        until(lambda: answers() == {("new", new)})  # the old one may still have received the first of them
        assert ended(redis_client, held).version == old, "what ran already ended with the code it began with"
