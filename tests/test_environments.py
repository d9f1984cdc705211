"""Functions with requirements: environments of their own, made once, shared, mended, swept, and used by a worker."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from celery.exceptions import Ignore
from click.testing import CliRunner, Result

from runtime.attempts.ports import PortsMaker
from runtime.attempts.task import Runner
from runtime.broker import presence
from runtime.cli.main import cli
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.deployment import environments
from runtime.deployment.deployment import Deployment, build_deployment, describe_project
from runtime.doctor.patient import Patient
from runtime.errors import ConfigError, EnvironmentFailed
from runtime.invocations import pause
from runtime.invocations.message import HEADER
from runtime.invocations.submit import Call, submit
from runtime.system.parts import Parts
from runtime.values import requirements
from runtime.worker.keeper import Keeper
from tests.channeling import waiting
from tests.doctoring import look
from tests.system import clean_environ
from tests.wheels import wheel
from tests.workers import deployment, ended, environment, kill, known, until, upkeep, worker

YAML = """
version: 1
queues: {work: {concurrency: 2, priority: 7}}
defaults: {queue: work}
functions:
  plain: {handler: mine.py:plain}
  old: {handler: mine.py:answer, requirements: ["./wheels/tinypack-1.0-py3-none-any.whl"]}
  same: {handler: mine.py:answer, requirements: ["./wheels/tinypack-1.0-py3-none-any.whl"]}
  new: {handler: mine.py:answer, requirements: ["./wheels/tinypack-2.0-py3-none-any.whl"]}
"""
CODE = """
def plain() -> int:
    return 1

def answer() -> list[str]:
    import sys, celery, tinypack
    return [tinypack.ANSWER, sys.prefix, celery.__file__]
"""
OLD, NEW = (f"./wheels/tinypack-{version}-py3-none-any.whl" for version in ("1.0", "2.0"))


def project(folder: Path, text: str = YAML) -> Settings:
    for version in ("1.0", "2.0"):
        wheel(folder / "wheels", "tinypack", version, f"ANSWER = 'tinypack {version}'\n")
    (folder / "mine.py").write_text(CODE)
    (folder / "functions.yaml").write_text(text)
    return load_settings(environment("redis://127.0.0.1:1/0"), file=folder / "functions.yaml")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[str]]:
    """A project whose environments were asked for by three at once, and what was said of it."""
    settings, said = project(tmp_path_factory.mktemp("shop")), list[str]()
    with ThreadPoolExecutor(3) as pool:  # as three processes would
        assert list(pool.map(lambda _: environments.prepare_all(settings, said.append), range(3))) == [{}] * 3
    return settings, said


def test_the_same_requirements_have_the_same_name_however_they_are_written() -> None:
    assert requirements.key(["b", " a "]) == requirements.key(("a", "b", "a"))
    assert requirements.key(["a"]) != requirements.key(["a==1"])
    assert len(requirements.key(["a"])) == 8


def test_functions_with_requirements_have_a_queue_for_each_set_of_them(made: tuple[Settings, list[str]]) -> None:
    found = made[0].project
    old, new = f"work.env-{requirements.key([OLD])}", f"work.env-{requirements.key([NEW])}"
    assert [found.functions[name].queue for name in ("plain", "old", "same", "new")] == ["work", old, old, new]
    assert set(found.queues) == {"work", old, new}
    assert found.queues[old] == found.queues["work"].model_copy(update={"requirements": (OLD,)})


def test_a_queue_that_is_not_declared_has_no_worker_that_nothing_needs(tmp_path: Path) -> None:
    found = project(
        tmp_path, f'{{version: 1, functions: {{a: {{handler: mine.py:plain, requirements: ["{OLD}"]}}}}}}'
    ).project
    assert [(name, queue.concurrency) for name, queue in found.queues.items()] == [
        (f"default.env-{requirements.key([OLD])}", 2)
    ]


def test_what_a_queue_requires_its_functions_have_too(tmp_path: Path) -> None:
    text = YAML.replace("concurrency: 2", f'concurrency: 2, requirements: ["{OLD}"]')
    found = project(tmp_path, text).project
    assert found.functions["plain"].queue == "work" and found.queues["work"].requirements == (OLD,)
    assert found.functions["old"].queue == "work.env-" + requirements.key([OLD])
    assert found.queues[found.functions["new"].queue].requirements == (OLD, NEW)


def test_an_environment_has_its_packages_before_and_ours_behind(made: tuple[Settings, list[str]]) -> None:
    settings, said = made
    for name, answer in (("old", "tinypack 1.0"), ("new", "tinypack 2.0")):
        python = environments.python_of(settings, settings.project.functions[name].queue)
        code = "import tinypack, celery, runtime.deployment.environments as e; print(tinypack.ANSWER, e.own_python())"
        done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/")
        assert done.stdout.split() == [*answer.split(), environments.own_python()]
    assert environments.python_of(settings, "work") == environments.own_python()
    assert len([line for line in said if line.startswith("Making")]) == 2
    assert len([line for line in said if "ready after" in line]) == 2 and any("Installing" in line for line in said)


def test_what_is_made_is_not_made_again(made: tuple[Settings, list[str]]) -> None:
    said: list[str] = []
    assert environments.prepare_all(made[0], said.append) == {}
    assert not said


def test_functions_are_described_in_their_environment(made: tuple[Settings, list[str]]) -> None:
    settings = made[0]
    (settings.root / "mine.py").write_text(CODE.replace("def plain", "import tinypack\n\ndef plain"))
    found = describe_project(settings, environment("redis://127.0.0.1:1/0"))
    (settings.root / "mine.py").write_text(CODE)
    assert found["old"]["error"] is None and found["new"]["error"] is None
    assert "No module named 'tinypack'" in found["plain"]["error"]


def test_the_life_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project(tmp_path)

    def folder() -> Path:
        return environments.prepare(settings, [OLD], lambda _: None).parent.parent

    first = folder()
    (first / environments.LABEL).unlink()  # as if it had broken off
    (first / "litter").touch()
    assert folder() == first and not (first / "litter").exists()
    wheel(tmp_path / "wheels", "tinypack", "1.0", "ANSWER = 'changed'\n")  # another content: another environment
    second = folder()
    python = environments.interpreter(second)
    done = subprocess.run([python, "-c", "import tinypack; print(tinypack.ANSWER)"], capture_output=True, check=True)
    assert first != second and done.stdout == b"changed\n"
    idle = settings.model_copy(update={"project": settings.project.model_copy(update={"queues": {}})})
    long_ago = time.time() - environments.KEPT_SECONDS - 60
    os.utime(first / environments.LABEL, (long_ago, long_ago))
    third = environments.prepare(settings, [NEW], lambda _: None).parent.parent
    os.utime(third / environments.LABEL, (long_ago, long_ago))
    monkeypatch.setattr("sys.prefix", str(third))
    environments.mark_used()  # as a worker that runs in it does
    begun = first.with_name("0123456789abcdef")  # whoever made it was killed
    begun.mkdir()
    for path in (begun, begun.with_suffix(".failed")):
        path.touch()
        os.utime(path, (long_ago, long_ago))
    assert environments.prepare_all(idle, lambda _: None) == {}
    assert first.is_dir(), "it is not removed in passing: a worker may run in it"
    with environments._locked(begun):  # somebody makes it anew
        environments.sweep(idle)
        assert begun.is_dir()
    environments.sweep(idle)
    # The first one has not been asked for in a week, the second one just now; the third one is in use.
    assert {path.stem for path in first.parent.iterdir()} == {second.name, third.name}
    environments.sweep(settings)
    assert second.is_dir()


def test_what_pip_cannot_install_is_told_with_its_words_and_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    text = YAML.partition("  old:")[0]
    settings = project(
        tmp_path, f'{text}  bad: {{handler: mine.py:plain, requirements: ["./broken-1.0-py3-none-any.whl"]}}'
    )
    queue, said = settings.project.functions["bad"].queue, list[str]()
    found = describe_project(settings, environment("redis://127.0.0.1:1/0"), said.append)
    assert (
        "broken-1.0" in found["bad"]["error"] and "ERROR" in found["bad"]["error"] and list(found["bad"]) == ["error"]
    )
    assert found["plain"]["error"] is None and said[0].startswith("Making")
    assert environments.python_of(settings, queue) == environments.own_python()
    said.clear()
    assert "broken-1.0" in environments.prepare_all(settings, said.append)[queue]
    assert not said  # pip is not asked again at once
    failure = next((settings.home / environments.FOLDER).glob("*.failed"))
    assert not failure.with_suffix("").exists()  # nothing is left of what could not be made
    os.utime(failure, (0, 0))
    assert queue in environments.prepare_all(settings, said.append)
    assert said


def test_a_lock_that_is_swept_away_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody waited for it meanwhile: who comes after would not see that it is held."""
    real, swept = fcntl.flock, list[int]()

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        if not swept:
            (tmp_path / "one.lock").unlink()
            swept.append(fd)

    monkeypatch.setattr(fcntl, "flock", flock)
    with environments._locked(tmp_path / "one") as held:
        assert swept
        assert os.path.samestat(os.fstat(held), (tmp_path / "one.lock").stat())
        with pytest.raises(BlockingIOError), environments._locked(tmp_path / "one", wait=False):
            pass


def test_tokens_in_addresses_are_shown_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_RETRIES", "0")
    one, said = "tinypack @ http://me:S3CRET@127.0.0.1:9/tinypack-1.0-py3-none-any.whl", list[str]()
    text = YAML.partition("  old:")[0] + f'  f: {{handler: mine.py:plain, requirements: ["{one}"]}}'
    settings = project(tmp_path, text)
    (failure,) = environments.prepare_all(settings, said.append).values()
    (kept,) = (settings.home / environments.FOLDER).glob("*.failed")
    assert "127.0.0.1:9/tinypack" in failure and "S3CRET" not in failure + kept.read_text() + "".join(said)

    def build(folder: Path, *_: object) -> None:
        (folder / "bin").mkdir(parents=True)
        environments.interpreter(folder).touch()

    kept.unlink()
    shown = run(tmp_path, "check", "--effective").output
    assert "//…@127.0.0.1" in shown and "S3CRET" not in shown
    monkeypatch.setattr("runtime.deployment.environment_build.build", build)
    assert environments.prepare_all(settings, said.append) == {}
    (label,) = (settings.home / environments.FOLDER).glob(f"*/{environments.LABEL}")
    assert json.loads(label.read_text())["requirements"] == [one.replace("me:S3CRET", "…")]
    assert "S3CRET" not in str(requirements.problem_of(f"-r {one}", tmp_path))
    assert "S3CRET" not in "".join(said)


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words], obj=clean_environ(TUNDISH_FILE=str(folder / "functions.yaml")))


def test_who_only_looks_installs_nothing(tmp_path: Path) -> None:
    settings = project(tmp_path)
    done = run(tmp_path, "check")
    assert (done.exit_code, done.stdout) == (0, f"{settings.file}: 4 functions, no problems\n")
    assert "old was not looked at: the environment that it requires is not made yet" in done.stderr
    told = json.loads(run(tmp_path, "check", "--json").stdout)
    assert (told["problems"], [one["name"] for one in told["unchecked"]]) == ([], ["old", "same", "new"])
    who = Patient(clean_environ(TUNDISH_FILE=str(settings.file)))
    found = look(who, "functions")
    assert [one.state for one in found] == ["warn", "warn", "warn", "ok"]
    assert "tundish up" in found[0].mend and found[-1].found == "1 functions can be loaded"
    assert not (settings.home / environments.FOLDER).exists()
    folder = environments._folder(settings, [OLD])
    folder.parent.mkdir(parents=True)
    folder.with_suffix(".failed").write_text("pip says no")  # somebody has tried
    assert [one.state for one in look(Patient(who.environ), "functions")] == ["warn", "fail", "fail"]
    done = run(tmp_path, "check")
    assert done.exit_code == 1 and "pip says no" in done.stderr


def test_a_worker_says_that_it_uses_its_environment(
    tmp_path: Path, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project(tmp_path)
    keeper = Keeper(redis_client, Deployment(settings, {}), "work@test")
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    keeper._beat()  # it has none
    label = tmp_path / environments.LABEL
    label.touch()

    def used() -> bool:
        os.utime(label, (0, 0))
        keeper._beat()
        return label.stat().st_mtime > 0

    assert not used()  # not so soon again
    monkeypatch.setattr("runtime.worker.keeper.MARK_SECONDS", 0.0)
    assert used()


def test_a_call_that_waited_when_requirements_came_is_not_run_without_them(
    made: tuple[Settings, list[str]], redis_client: redis.Redis, broker_url: str
) -> None:
    settings = made[0].model_copy(update={"broker_url": broker_url})
    after = build_deployment(settings, {})
    spec = after.find("old").spec
    functions = {**after.functions, "old": replace(after.find("old"), spec=spec.model_copy(update={"queue": "work"}))}
    call = submit(redis_client, Deployment(settings, functions), Call("old"))
    request = SimpleNamespace(id=call, headers={HEADER: 1})

    def runner(queue: str) -> Runner:
        return Runner(redis_client, after, f"{queue}@test", PortsMaker(redis_client, after), queue=queue)

    assert known(redis_client, call).queue == "work"
    with pytest.raises(Ignore):
        runner("work").run("old", request, (), {})
    moved = known(redis_client, call)
    assert (moved.state, moved.queue, moved.attempts) == ("queued", spec.queue, 0)
    assert len(waiting(redis_client, spec.queue)) == 1
    with pytest.raises(Exception, match="tinypack"):  # this process is no worker in that environment
        runner(spec.queue).run("old", request, (), {})
    assert known(redis_client, call).attempts == 1


def test_what_tundish_stands_on_is_not_replaced(tmp_path: Path) -> None:
    wheel(tmp_path, "redis", "0.1", "")
    settings = project(tmp_path)
    with pytest.raises(EnvironmentFailed, match=r"(?s)redis.*Tundish itself runs on"):
        environments.prepare(settings, ["./redis-0.1-py3-none-any.whl"], lambda _: None)


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("-r requirements.txt", "is for pip's command line"),
        ("requirements.txt", "is for pip's command line"),
        ("./wheels/none-1.0.whl", "there is no file"),
        ("./wheels", "is no package; name a .whl"),
        ("pan das", "is no package; write it like"),
        ("--index-url=x", "is for pip's command line"),
    ],
)
def test_what_is_no_requirement_is_reported(tmp_path: Path, requirement: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, YAML.replace(NEW, requirement))
    [problem] = caught.value.problems
    assert problem.path == "functions.new.requirements" and reason in problem.message and problem.line == 9


@pytest.mark.parametrize(
    "requirement",
    ["pandas", "pandas>=2,<3", "pandas[excel]==2.*", "pandas; python_version > '3'", "a @ https://x/a.whl"],
)
def test_what_pip_takes_is_taken(tmp_path: Path, requirement: str) -> None:
    assert requirements.problem_of(requirement, tmp_path) is None


def test_a_worker_of_their_own_runs_them(
    made: tuple[Settings, list[str]], redis_client: redis.Redis, broker_url: str
) -> None:
    settings = made[0]
    deployed = deployment(settings.file, broker_url)
    queue = deployed.functions["old"].spec.queue
    python = environments.python_of(settings, queue)
    assert Parts(deployed.settings, {}).worker(queue).argv[0] == python
    with worker(settings.file, broker_url, queue, python=python):
        for name in ("old", "same"):
            record = ended(redis_client, submit(redis_client, deployed, Call(name)))
            assert record.state == "succeeded", record.error
            answer, prefix, celery = json.loads(record.result_json or b"null")
            assert answer == "tinypack 1.0" and Path(prefix) == Path(python).parent.parent
            assert not celery.startswith(prefix)


def test_a_worker_that_is_alone_gets_its_environment_at_a_reload(
    tmp_path: Path, redis_client: redis.Redis, broker_url: str
) -> None:
    """`requirements` are added, to a function that has a call waiting, and then to its queue."""
    text = YAML.partition("  old:")[0] + "  f: {handler: mine.py:answer}"
    settings = project(tmp_path, text)
    pause.pause(redis_client, "function", "f")
    waits = submit(redis_client, deployment(settings.file, broker_url), Call("f"))
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "worker", "-f", str(settings.file)]
    process = subprocess.Popen(command, env=environment(broker_url), start_new_session=True)

    def serving(queue: str) -> set[str]:
        found = [one.name for one in presence.read(redis_client) if one.kind == "worker" and one.ready]
        return {name for name in found if name.startswith(f"{queue}.")}

    def reload(text: str) -> str:
        """The queue of f from now on."""
        settings.file.write_text(text)
        os.kill(process.pid, signal.SIGHUP)
        # Who asks for a deployment makes the environments: that is left to the worker.
        return load_settings(environment(broker_url), file=settings.file).project.functions["f"].queue

    def answer(task: str) -> str:
        record = ended(redis_client, task)
        assert record.state == "succeeded", record.error
        return str(json.loads(record.result_json or b"null")[0])

    try:
        (first,) = until(lambda: serving("work"))
        queue = reload(text.replace("answer}", f'answer, requirements: ["{OLD}"]}}'))
        until(lambda: serving(queue))
        pause.resume(redis_client, "function", "f")
        with upkeep(redis_client, deployment(settings.file, broker_url)):
            assert answer(waits) == "tinypack 1.0"

        assert reload(text.replace("7}", f'7, requirements: ["{NEW}"]}}')) == "work"
        until(lambda: serving("work") and first not in serving("work"))
        assert answer(submit(redis_client, deployment(settings.file, broker_url), Call("f"))) == "tinypack 2.0"
    finally:
        kill(process)
