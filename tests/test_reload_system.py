"""Saved files in a running system: who runs the new code, who is left alone, and that nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import keys
from runtime.broker.connection import connect
from runtime.system import reload_state
from runtime.system.reload_state import Reload
from tests.chaos import processes
from tests.system import System, running_system, until

YAML = """
version: 1
queues: {left: {concurrency: 2}, right: {}, model: {preload_model: true}}
defaults: {timeout: 60s, retries: {max: 0}}
functions:
  one: {handler: functions/one.py:answer, queue: left, triggers: [{http: {}}]}
  slow: {handler: functions/slow.py:slow, queue: left, triggers: [{http: {}}]}
  two: {handler: functions/two.py:answer, queue: right, triggers: [{http: {}}]}
  ask: {handler: functions/two.py:ask, queue: right, triggers: [{http: {}}]}
  size: {handler: functions/size.py:size, queue: model, triggers: [{http: {}}]}
"""
CODE = {
    "one.py": "import os\nfrom ._words import word\n\ndef answer() -> list:\n    return [word(), os.getppid()]\n",
    "_words.py": "def word() -> str:\n    return 'first'\n",
    "slow.py": """
import pathlib, time
from ._words import word

def slow(file: str) -> str:
    while not pathlib.Path(file).exists():
        time.sleep(0.02)
    return word()
""",
    "two.py": """
import os
from runtime.context import Context

def answer() -> list:
    return ["two", os.getppid()]

def ask(function: str, *, context: Context) -> str:
    return context.submit(function)
""",
    "size.py": """
from runtime.context import Context

def size(*, context: Context) -> int:
    return int(context.models.embed(["words"]).shape[1])
""",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    (folder / "functions").mkdir()
    (folder / "functions.yaml").write_text(YAML)
    for name, text in CODE.items():
        (folder / "functions" / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("living"), sample=sample) as found:
        yield found


def call(system: System, name: str, **arguments: Any) -> Any:
    response = system.request("POST", f"/function/{name}", json=arguments)
    return json.loads(response.data) if response.status == 200 else response.status


def save(system: System, name: str, text: str) -> None:
    """As editors do: the file is never there in part."""
    path = system.folder / name
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").replace(path)


def newest(system: System) -> Reload | None:
    with connect(system.connections["CELERY_BROKER_URL"]) as client:
        return reload_state.read(client.get(keys.RELOAD))


def reloaded(system: System, *, after: float = 0.0) -> Reload:
    def look() -> Reload | None:
        found = newest(system)
        return found if found and found.at > after else None

    found: Reload = until(look, "a reload")
    return found


def test_a_helper_is_followed_and_only_its_workers_are_new(living: System) -> None:
    _, left = call(living, "one")
    _, right = call(living, "two")
    assert call(living, "size") == 384
    parent = living.pid("worker left")
    save(living, "functions/_words.py", CODE["_words.py"].replace("first", "again"))
    until(lambda: call(living, "one")[0] == "again", "the new answer")
    assert call(living, "one")[1] != left
    assert call(living, "two")[1] == right
    assert living.pid("worker left") == parent, "its libraries stay loaded"


def test_code_saved_twice_in_a_second_runs_as_it_was_saved_last(living: System) -> None:
    """The same length, the same second: Python's own cache of compiled code would not see the difference."""
    for number in range(6):
        save(living, "functions/_words.py", CODE["_words.py"].replace("first", f"same{number}"))
        until(lambda number=number: call(living, "one")[0] == f"same{number}", "the new answer")  # type: ignore[misc]


def test_calls_that_run_finish_and_none_is_lost(living: System, tmp_path: Path) -> None:
    word = call(living, "one")[0]
    answers: list[Any] = []
    over = threading.Event()

    def clients() -> None:
        while not over.is_set():
            answers.append(call(living, "one"))

    waiting = threading.Thread(target=lambda: answers.append(("slow", call(living, "slow", file=str(tmp_path / "go")))))
    threads = [waiting, *(threading.Thread(target=clients) for _ in range(3))]
    for thread in threads:
        thread.start()
    until(lambda: json.loads(living.request("GET", "/api/v1/tasks/tasks/active").data)["tasks"], "the slow call")
    for number in range(5):
        save(living, "functions/_words.py", CODE["_words.py"].replace("first", f"busy{number}"))
        until(lambda number=number: call(living, "one")[0] == f"busy{number}", "the new answer")  # type: ignore[misc]
    (tmp_path / "go").touch()
    over.set()
    for thread in threads:
        thread.join(60)
    assert ("slow", word) in answers, "it ends with the code that it began with"
    failed = [answer for answer in answers if not isinstance(answer, list | tuple)]
    assert not failed
    assert len(answers) > 10


def test_a_mistake_keeps_the_last_good_version_and_is_shown(living: System) -> None:
    before, began = call(living, "two"), reloaded(living).at
    save(living, "functions/two.py", "import nowhere_to_be_found\n" + CODE["two.py"])
    refused = reloaded(living, after=began)
    assert not refused.ok
    assert refused.files == ["two.py"]
    assert "nowhere_to_be_found" in refused.message
    assert json.loads(living.request("GET", "/admin/reload").data)["reload"]["ok"] is False
    checked = living.tundish("check")
    assert checked.returncode == 1
    assert "nowhere_to_be_found" in checked.stdout + checked.stderr
    assert call(living, "two") == before
    asked = living.tundish("reload")
    assert asked.returncode == 1
    assert "nowhere_to_be_found" in asked.stderr
    began = newest_at(living)
    save(living, "functions/two.py", CODE["two.py"])
    assert reloaded(living, after=began).ok


def test_code_that_is_never_imported_to_its_end_waits_for_nobody(living: System) -> None:
    """The save that mends it is taken at once, not when the first import has been given up."""
    save(living, "functions/two.py", "while True:\n    pass\n")
    until(lambda: _importing(living), "the import")
    assert call(living, "two")[0] == "two"
    save(living, "functions/two.py", CODE["two.py"].replace('"two"', '"mended"'))
    until(lambda: call(living, "two")[0] == "mended", "the new answer")
    save(living, "functions/two.py", CODE["two.py"])
    until(lambda: call(living, "two")[0] == "two", "the old answer")


def _importing(system: System) -> bool:
    """Whether the describing process has forked one that is busy."""
    everybody = processes.running()
    describers = [
        one.pid for one in everybody if "runtime.deployment.describer" in one.argv and one.parent == system.process.pid
    ]
    return any(one.parent in describers for one in everybody)


def newest_at(system: System) -> float:
    found = newest(system)
    return found.at if found else 0.0


def test_a_worker_that_dies_meanwhile_comes_back_with_the_last_good_yaml(living: System) -> None:
    file = living.folder / "functions.yaml"
    good, began = file.read_text(), newest_at(living)
    save(living, "functions.yaml", good + "  bad: [\n")
    assert not reloaded(living, after=began).ok
    before = living.pid("worker right")
    os.kill(before, signal.SIGKILL)
    until(lambda: living.pid("worker right") != before, "the return of the worker")
    assert call(living, "two")[0] == "two"
    began = newest_at(living)
    save(living, "functions.yaml", good)
    assert reloaded(living, after=began).ok


def test_what_is_declared_comes_and_goes_and_leaves_others_alone(living: System) -> None:
    file, began = living.folder / "functions.yaml", newest_at(living)
    good = file.read_text()
    _, right = call(living, "two")
    save(living, "functions.yaml", good.replace("one: {", "uno: {").replace("model: {", "third: {}, model: {"))
    done = reloaded(living, after=began)
    assert done.ok
    assert set(done.queues) == {"left", "third"}
    assert call(living, "one") == 404
    task = call(living, "ask", function="uno")  # from a worker that was left alone, and knows of it
    assert call(living, "two")[1] == right
    ended = until(
        lambda: json.loads(living.request("GET", f"/api/v1/tasks/task/{task}").data)["state"] == "succeeded", "its end"
    )
    assert ended
    # A schedule is the business of those who send calls: no worker is replaced for it.
    save(
        living,
        "functions.yaml",
        good.replace("answer, queue: right, triggers: [", "answer, queue: right, triggers: [{every: 1h}, "),
    )
    done = reloaded(living, after=done.at)
    assert done.ok
    assert "right" not in done.queues
    assert call(living, "two")[1] == right
    until(lambda: "two" in living.tundish("schedule").stdout, "the new schedule")
    # Moved to another queue: its callers do not notice.
    save(living, "functions.yaml", good.replace("one.py:answer, queue: left", "one.py:answer, queue: right"))
    done = reloaded(living, after=done.at)
    assert done.ok
    assert set(done.queues) == {"left", "right"}
    assert call(living, "one")[1] == call(living, "two")[1]
    save(living, "functions.yaml", good)
    assert reloaded(living, after=done.at).ok
    assert call(living, "one")[1] != call(living, "two")[1]


def test_a_queue_whose_worker_does_not_come_up_is_tried_again(living: System) -> None:
    file = living.folder / "functions.yaml"
    good, began = file.read_text(), newest_at(living)
    new = "  late: {handler: functions/late.py:late, queue: late, triggers: [{http: {}}]}\n"
    save(living, "functions/late.py", "def late() -> str:\n    return 'late'\n")
    save(living, "functions.yaml", good.replace("model: {", "late: {preload: [nowhere]}, model: {", 1) + new)
    failed = until(lambda: (r := newest(living)) and r.at > began and "late" in r.queues and r, "the reload")
    assert not failed.ok
    assert "late" in failed.message
    assert living.tundish("reload").returncode == 1, "not forgotten, and not said to be well"
    began = newest_at(living)
    save(living, "functions/late.py", "def late() -> str:\n    return 'at last'\n")
    assert not reloaded(living, after=began).ok
    assert call(living, "two")[0] == "two"
    save(living, "functions.yaml", good.replace("model: {", "late: {}, model: {", 1) + new)
    until(lambda: call(living, "late") == "at last", "the new function")
    began = newest_at(living)
    save(living, "functions.yaml", good)
    assert reloaded(living, after=began).ok


def test_files_of_a_new_folder_are_seen(living: System) -> None:
    """What is written between two watches is found all the same."""
    for number in range(5):
        began = newest_at(living)
        folder = living.folder / f"deep{number}"
        folder.mkdir()
        (folder / "words.py").write_text(f"def word() -> str:\n    return 'deep{number}'\n")
        line = f"from deep{number}.words import word"
        save(living, "functions/one.py", CODE["one.py"].replace("from ._words import word", line))
        until(lambda number=number: call(living, "one")[0] == f"deep{number}", "the new answer")  # type: ignore[misc]
        assert reloaded(living, after=began).ok


def test_reload_on_request_takes_what_has_changed(tmp_path: Path, sample: Path) -> None:
    project = shutil.copytree(sample, tmp_path / "project")
    light = YAML.replace(", model: {preload_model: true}", "").partition("  size:")[0]  # nothing embeds here
    (project / "functions.yaml").write_text(light)
    with running_system(tmp_path, "--no-reload") as system:
        first = call(system, "one")
        assert "othing has changed" in system.tundish("reload").stdout
        save(system, "functions/_words.py", CODE["_words.py"].replace("first", "asked"))
        assert call(system, "one") == first, "nobody looks at files here"
        done = system.tundish("reload", "--json")
        told = json.loads(done.stdout)
        assert (done.returncode, told["ok"], told["queues"], told["files"]) == (0, True, ["left"], ["_words.py"])
        assert call(system, "one")[0] == "asked"
        save(system, "functions/_words.py", CODE["_words.py"].replace("first", "by signal"))
        save(system, "functions/_spare.py", "")
        assert system.tundish("reload").returncode == 0
        (system.folder / "functions" / "_spare.py").unlink()
        assert "_spare.py" in system.tundish("reload").stdout
        assert "othing has changed" in system.tundish("reload").stdout, "what was removed counts once"
        system.process.send_signal(signal.SIGHUP)
        until(lambda: call(system, "one")[0] == "by signal", "the new answer")


def test_reload_where_nothing_runs_says_so(tmp_path: Path, sample: Path) -> None:
    system = System("", sample, tmp_path / "home", None, tmp_path / "log")  # type: ignore[arg-type]
    done = system.tundish("reload")
    assert done.returncode == 3
    assert "start `tundish up`" in done.stderr


def test_what_a_killed_system_has_left_is_asked_nothing(tmp_path: Path, sample: Path) -> None:
    """Its PID may belong to somebody else by now, whom SIGHUP would end."""
    home = tmp_path / "home"
    home.mkdir()
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (home / "run.json").write_text(json.dumps({"pid": stranger.pid, "url": "http://127.0.0.1:9", "environ": {}}))
        (home / "lock").write_text(json.dumps({"pid": stranger.pid}))
        done = System("", sample, home, None, tmp_path / "log").tundish("reload")  # type: ignore[arg-type]
        assert done.returncode == 3
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
