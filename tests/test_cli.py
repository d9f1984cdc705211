"""The command line against a real system, and what it says where none runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import cli
from runtime.cli.uploads import collect, fate_known
from tests.system import SAMPLE, System, clean_environ


def run(folder: Path, *words: str, **environ: str) -> Result:
    """A command in this process, where no system runs."""
    given = {"TUNDISH_FILE": str(folder / "functions.yaml"), "TUNDISH_HOME": str(folder / "home")}
    return CliRunner().invoke(cli, list(words), obj=clean_environ(**given, **environ))


@pytest.mark.parametrize("command", ["invoke stats", "search x", "index", "rm a", "buckets confirm b"])
def test_without_a_system_every_command_says_how_to_start_one(tmp_path: Path, command: str) -> None:
    result = run(tmp_path, *command.split())
    assert result.exit_code == 3
    assert "Start it with `tundish up`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_system_that_does_not_answer_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "invoke", "x", TUNDISH_URL="http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "http://127.0.0.1:9" in result.stderr


def test_an_address_that_is_no_url_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "tasks", TUNDISH_URL="localhost:8000")
    assert result.exit_code == 3
    assert result.stderr == "tundish: TUNDISH_URL is 'localhost:8000'; write it like http://127.0.0.1:8000.\n"


@pytest.mark.parametrize("data", ["[1]", "{", "@nowhere.json"])
def test_arguments_that_are_no_json_object_are_wrong_usage(tmp_path: Path, data: str) -> None:
    result = run(tmp_path, "invoke", "x", "-d", data, TUNDISH_URL="http://127.0.0.1:9")
    assert result.exit_code == 2


def test_check_reports_every_problem_and_exits_with_one(tmp_path: Path) -> None:
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions:\n  a: {handler: x.py:y, retires: 3}\n  b: {}\n")
    result = run(tmp_path, "check")
    assert result.exit_code == 1
    assert "did you mean retries?" in result.stderr
    assert "functions.b.handler" in result.stderr
    problems = json.loads(run(tmp_path, "check", "--json").stdout)["problems"]
    assert len(problems) >= 3
    assert {"path", "message", "line", "file"} == set(problems[0])


def test_check_effective_names_the_source_of_every_value() -> None:
    result = run(SAMPLE, "check", "--effective", CELERY_LOG_LEVEL="warning", CELERY_BROKER_URL="redis://:hush@h:1/0")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "log_level = WARNING  (CELERY_LOG_LEVEL)" in lines
    assert any(line.startswith("queues.work.concurrency = 2  (functions.yaml:") for line in lines)
    assert any(line.startswith("functions.greet.priority = 5  (default)") for line in lines)
    assert "hush" not in result.stdout


def test_check_names_functions_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def broken(:\n")
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions:\n  b: {handler: broken.py:broken}\n")
    result = run(tmp_path, "check")
    assert result.exit_code == 1
    assert "broken.py:1" in result.stderr


def test_functions_are_described_without_a_system() -> None:
    told = json.loads(run(SAMPLE, "functions", "--json").stdout)["functions"]
    greet = next(found for found in told if found["name"] == "greet")
    assert greet["handler"] == "functions/samples.py:greet"
    assert greet["timeout"] == "30s"
    assert greet["retries"]["max"] == 2
    assert greet["schema"]["required"] == ["name"]
    assert greet["triggers"] == [{"http": {"path": "/function/greet"}}]
    assert "did you mean greet?" in run(SAMPLE, "functions", "gret").stderr


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from runtime.cli.main import cli; cli(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "rich", "redis", "urllib3", "minio", "yaml"} & set(done.stdout.split())


def test_files_and_folders_become_keys(tmp_path: Path) -> None:
    for name in ("docs/a b+ü.txt", "docs/deep/b.md", "docs/.hidden", "docs/.git/x", "single.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    keys = [key for _, key in collect([tmp_path / "docs", tmp_path / "single.txt"])]
    assert keys == ["docs/a b+ü.txt", "docs/deep/b.md", "single.txt"]


def test_the_fate_of_the_object_before_is_not_the_fate_of_this_one() -> None:
    done = {"status": "completed", "etag": "old"}
    assert fate_known(done, "old")
    assert not fate_known(done, "new")
    assert not fate_known({**done, "searchable": False}, "old")
    assert not fate_known({"status": "processing", "etag": "old"}, "old")
    assert fate_known({"status": "failed", "etag": "old"}, "old")


def test_invoke(system: System) -> None:
    done = system.tundish("invoke", "greet", "-d", '{"name": "Ada"}')
    assert (done.returncode, json.loads(done.stdout)) == (0, "Hello, Ada!")
    done = system.tundish("invoke", "greet", "-d", "-", "--json", stdin='{"name": "Ada", "times": 2}')
    told = json.loads(done.stdout)
    assert told["result"] == "Hello, Ada! Hello, Ada!"
    assert told["attempts"] == 1
    assert told["id"]


def test_the_command_may_call_what_has_no_http_trigger(system: System) -> None:
    assert system.request("POST", "/function/inner", json={"name": "x"}).status == 403
    assert system.tundish("invoke", "inner", "-d", '{"name": "x"}').returncode == 0


def test_invoke_says_what_is_wrong_in_one_line(system: System) -> None:
    for words, expected in (
        (("invoke", "gret"), "did you mean greet?"),
        (("invoke", "greet"), "name: is missing"),
        (("invoke", "fail"), "on purpose"),
    ):
        done = system.tundish(*words)
        assert done.returncode == 1
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_invoke_without_waiting_prints_the_id(system: System) -> None:
    task = system.tundish("invoke", "greet", "-d", '{"name": "Ada"}', "--async").stdout.strip()
    assert system.request("GET", f"/api/v1/tasks/task/{task}").status == 200


def test_env_connects_other_clients(system: System) -> None:
    script = 'eval "$("$0" -P -m runtime.cli.main env)" && "$0" -c "import os, redis; '
    script += "print(redis.Redis.from_url(os.environ['REDIS_URL']).ping(), os.environ['TUNDISH_URL'])\""
    environ = clean_environ(TUNDISH_FILE=str(system.folder / "functions.yaml"), TUNDISH_HOME=str(system.home))
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", system.url], done.stderr
    told = json.loads(system.tundish("env", "--json").stdout)
    assert told["MC_HOST_tundish"].endswith(told["MINIO_ENDPOINT"])


def test_documents_go_in_are_found_and_go_out(system: System, tmp_path: Path) -> None:
    odd = tmp_path / "Größe + Maß.txt"
    odd.write_text("The tundish of a continuous caster holds forty tonnes of steel.")
    (tmp_path / "bread.md").write_text("Sourdough needs flour, water, salt and a day of patience.")
    done = system.tundish("put", str(odd), str(tmp_path / "bread.md"), "--prefix", "cli/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("searchable") == 2
    told = json.loads(system.tundish("search", "how much metal is in the caster", "-k", "1", "--json").stdout)
    assert told["results"][0]["key"] == "cli/Größe + Maß.txt"
    assert "cli/bread.md" in system.tundish("search", "baking", "-k", "1").stdout
    assert json.loads(system.tundish("index", "--json").stdout)["generation"] >= 1
    assert system.tundish("rm", "cli/bread.md", "cli/Größe + Maß.txt").returncode == 0


@pytest.mark.parametrize("option", ["lang", "=en"])
def test_metadata_without_a_name_or_value_is_wrong_usage(tmp_path: Path, option: str) -> None:
    result = run(tmp_path, "search", "x", "--meta", option)
    assert result.exit_code == 2
    assert "year=2020..2024" in result.stderr


def test_put_says_at_once_what_will_not_be_indexed(system: System, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("x")
    done = system.tundish("put", str(tmp_path / "a.xyz"))
    assert done.returncode == 0
    assert "not indexed" in done.stdout
    done = system.tundish("put", str(tmp_path / "a.xyz"), "--bucket", "nobody-watches")
    assert "nobody-watches" in done.stdout + done.stderr


def test_put_reports_a_document_that_cannot_be_read(system: System, tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"\x00\x01 this is no PDF")
    done = system.tundish("put", str(tmp_path / "bad.pdf"), "--json")
    told = json.loads(done.stdout)[0]
    assert (done.returncode, told["status"]) == (1, "failed")
    assert told["reason"]
    assert system.tundish("rm", "bad.pdf").returncode == 0


def test_put_of_nothing_is_wrong_usage(system: System, tmp_path: Path) -> None:
    assert system.tundish("put", str(tmp_path / "nowhere.txt")).returncode == 2
