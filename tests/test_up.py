"""`tundish up` as a whole: killed children, saved files, a second start, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.host.free_ports import Ports
from runtime.system import services
from tests.conftest import running
from tests.system import System, clean_environ, group_is_gone, running_system, until

YAML = """
version: 1
queues: {left: {}, right: {}}
defaults: {timeout: 30s, retries: {max: 0}}
functions:
  one: {handler: functions/one.py:answer, queue: left, triggers: [{http: {}}]}
  two: {handler: functions/two.py:answer, queue: right, triggers: [{http: {}}]}
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    (folder / "functions").mkdir()
    (folder / "functions.yaml").write_text(YAML)
    for name in ("one", "two"):
        (folder / "functions" / f"{name}.py").write_text(f"def answer() -> str:\n    return '{name}'\n")
    return folder


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[System]:
    """A system that follows its files; tests may kill its children."""
    with running_system(tmp_path_factory.mktemp("living"), sample=sample) as found:
        yield found


def call(system: System, name: str) -> object:
    response = system.request("POST", f"/function/{name}")
    return json.loads(response.data) if response.status == 200 else response.status


def test_no_model_is_loaded_where_nothing_is_searched(living: System) -> None:
    checks = json.loads(living.request("GET", "/readyz").data)["checks"]
    assert checks["embedder"]["ready"]
    assert "nobody has searched yet" in checks["embedder"]["detail"]


@pytest.mark.parametrize("name", ["valkey", "seaweedfs", "gateway", "triggers", "beat", "worker left", "embedder"])
def test_a_killed_child_comes_back_and_calls_work(living: System, name: str) -> None:
    before = living.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: living.pid(name) != before, f"the return of {name}")
    assert f"{name} was ended by SIGKILL" in living.log
    until(lambda: living.tundish("invoke", "one").returncode == 0, "a call")


def test_calls_are_taken_while_the_broker_restarts(living: System) -> None:
    """The outbox is on without a word in functions.yaml, and what was answered 202 has its result in the end."""
    before, taken = living.pid("valkey"), []
    os.kill(before, signal.SIGKILL)
    while living.pid("valkey") == before:
        answer = living.request("POST", "/async-function/one")
        assert answer.status == 202, answer.data
        taken.append(answer.headers["Location"])
    until(lambda: all(living.request("GET", f"{place}/result").status == 200 for place in taken), "their results")


def test_a_saved_file_is_taken_over_by_its_workers(living: System) -> None:
    untouched = living.pid("worker right")
    (living.folder / "functions" / "one.py").write_text("def answer() -> str:\n    return 'one, again'\n")
    until(lambda: call(living, "one") == "one, again", "the new answer")
    until(lambda: "The new code runs on left" in living.log, "the word")
    assert call(living, "two") == "two"
    assert living.pid("worker right") == untouched, "the file is the handler of another queue's function"


def test_a_file_that_does_not_load_changes_nothing(living: System) -> None:
    file = living.folder / "functions" / "two.py"
    good = file.read_text()
    before = living.pid("worker right")
    file.write_text("def answer() -> str:\n    return (\n")
    until(lambda: "two.py: not taken over, everything keeps running as it was" in living.log, "the word")
    assert re.search(r"two: .*two\.py:2", living.log)
    assert call(living, "two") == "two"
    assert living.pid("worker right") == before
    file.write_text(good.replace("two", "mended"))
    until(lambda: call(living, "two") == "mended", "the mended answer")


NOT_TAKEN = "functions.yaml: not taken over, everything keeps running as it was"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("three: {handlr: functions/one.py:answer}", "did you mean handler?"),
        (
            "tick: {handler: functions/one.py:answer, triggers: [{every: 1h, with: {x: 1}}]}",
            "functions.tick.triggers: answer cannot be called so: ",
        ),
    ],
    ids=["a mistake", "what check refuses"],
)
def test_what_is_wrong_in_the_yaml_is_not_taken_over(living: System, line: str, word: str) -> None:
    file = living.folder / "functions.yaml"
    good, before = file.read_text(), living.log.count(NOT_TAKEN)
    file.write_text(f"{good}  {line}\n")
    try:
        until(lambda: living.log.count(NOT_TAKEN) > before and word in living.log, "the word")
        assert call(living, "one") not in (404, 503)
        assert call(living, line.partition(":")[0]) == 404
    finally:
        file.write_text(good)


REFUSED = """\
version: 1
functions:
  broken: {handler: broken.py:broken}
  copy: {handler: shop.py:copy, triggers: [{bucket: shop, prefix: in/}]}
  tick: {handler: shop.py:tick, triggers: [{every: 1h, with: {nmae: x}}]}
  blind: {handler: shop.py:tick, triggers: [{bucket: other}]}
"""
SHOP = """\
def copy(objects: list, *, context) -> None:
    context.store.put("shop", "in/x", b"")


def tick(name: str = "") -> str:
    return name
"""


def test_what_check_refuses_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def broken(:\n")
    (tmp_path / "shop.py").write_text(SHOP)
    file = tmp_path / "functions.yaml"
    file.write_text(REFUSED)

    def tundish(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "runtime.cli.main", *words]
        environ = clean_environ()
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=120
        )

    told = tundish("check").stderr.splitlines()
    assert [line.partition(": ")[0] for line in told] == [f"functions.yaml:{number}" for number in (3, 5, 6, 4)]
    done = tundish("up", "--port", "0", "--no-reload")
    assert done.returncode == 1, done.stdout
    log = done.stdout.splitlines()
    assert [line.partition("| ")[2] for line in log if "| functions.yaml:" in line] == told[1:]
    assert "Ready after" not in done.stdout
    assert not (tmp_path / ".tundish" / "functions.json").exists()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[System]:
    """A system of which one function cannot be loaded. The last test that asks for it ends it."""
    folder = tmp_path_factory.mktemp("half")
    project = shutil.copytree(sample, folder / "project")
    (project / "functions" / "two.py").write_text("def answer(:\n")
    with running_system(folder, "--no-reload") as found:
        yield found


def test_a_function_that_does_not_load_keeps_nobody_from_starting(half: System) -> None:
    assert "Function two is not available: functions/two.py:1" in half.log
    assert call(half, "one") == "one"


def test_a_new_function_on_a_new_queue_is_served(living: System) -> None:
    file = living.folder / "functions.yaml"
    text = file.read_text().replace("right: {}", "right: {}, third: {}")
    file.write_text(text + "  three: {handler: functions/two.py:answer, queue: third, triggers: [{http: {}}]}\n")
    until(lambda: call(living, "three") not in (404, 503), "the new function")
    until(lambda: living.pid("worker third"), "its worker")
    file.write_text(file.read_text().replace(", third: {}", "").replace("queue: third", "queue: left"))
    pid = living.pid("worker third")
    until(lambda: group_is_gone(pid), "the end of its worker")


def test_a_second_start_on_the_same_state_folder_names_the_first(living: System) -> None:
    done = living.tundish("up")
    assert done.returncode == 1
    assert f"pid {living.process.pid}" in done.stderr
    assert living.url in done.stderr


def test_celery_control_shutdown_is_respected(living: System) -> None:
    environ = clean_environ(TUNDISH_FILE=str(living.folder / "functions.yaml"), TUNDISH_HOME=str(living.home))
    before = living.pid("worker left")
    command = [sys.executable, "-P", "-m", "celery", "-A", "runtime.celery_app", "control", "shutdown"]
    subprocess.run(command, env=environ, check=False, capture_output=True, timeout=60, cwd=living.folder)
    until(lambda: "worker left left on request" in living.log, "the word")
    assert living.pid("worker left") == before


def groups_of(pid: int) -> set[int]:
    lines = subprocess.run(["ps", "-eo", "ppid,pgid"], capture_output=True, text=True, check=True).stdout.splitlines()[
        1:
    ]
    return {int(group) for parent, group in map(str.split, lines) if int(parent) == pid} - {pid}


def test_an_end_by_signal_leaves_nothing_and_the_data_is_there_again(half: System) -> None:
    task = half.tundish("invoke", "one", "--async").stdout.strip()
    until(lambda: half.request("GET", f"/api/v1/tasks/task/{task}/result").status == 200, "the result")
    groups = groups_of(half.process.pid)
    assert len(groups) >= 8
    half.process.send_signal(signal.SIGINT)
    assert half.process.wait(40) == 0
    assert all(map(group_is_gone, groups))
    assert not (half.home / "run.json").exists()
    with running_system(half.folder.parent, "--no-reload") as second:
        assert second.request("GET", f"/api/v1/tasks/task/{task}").status == 200
        groups = groups_of(second.process.pid)
        second.process.kill()
        second.process.wait()
        until(lambda: all(map(group_is_gone, groups)), "the end of everything", 30)
        assert second.tundish("invoke", "one").returncode == 3


def test_a_broker_of_ones_own_is_waited_for_and_used(tmp_path: Path, sample: Path) -> None:
    home = tmp_path / "services"
    credentials, ports = services.load_credentials(home), Ports(home)
    service, url = services.valkey(home, ports, credentials, durability="fast")
    log_file = tmp_path / "up.log"
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "up", "--port", "0", "--no-reload"]
    environ = clean_environ(CELERY_BROKER_URL=url, TUNDISH_HOME=str(tmp_path / "home"))
    with log_file.open("wb") as log:
        process = subprocess.Popen([*command], cwd=sample, env=environ, stdout=log, stderr=log)
    try:
        until(lambda: "does not answer" in log_file.read_text(), "the complaint")
        assert "CELERY_BROKER_URL" in log_file.read_text()
        assert credentials.broker_password not in log_file.read_text()
        with running(service):
            until(lambda: "Ready after" in log_file.read_text(), "the start")
            assert "valkey is ready" not in log_file.read_text()
            process.terminate()
            assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()


def test_an_open_address_is_refused(tmp_path: Path, sample: Path) -> None:
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "up", "--host", "0.0.0.0", "--home", str(tmp_path / "h")]
    environ = clean_environ(TUNDISH_AUTH="off")
    done = subprocess.run(command, cwd=sample, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "TUNDISH_AUTH=off asks nobody" in done.stderr
