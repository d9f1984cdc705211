"""functions.yaml: complete, strict, and every problem in one report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.config.load import load, load_settings
from runtime.config.schema import json_schema
from runtime.config.shapes import SHAPES
from runtime.errors import ConfigError
from runtime.values.units import format_duration, format_size, parse_duration, parse_share, parse_size

ROOT = Path(__file__).parent.parent


def write(folder: Path, text: str) -> Path:
    (folder / "shop.py").write_text("def sell(): ...\n")
    file = folder / "functions.yaml"
    file.write_text(text)
    return file


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Path → message of everything that is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ or {}, file=write(folder, text))
    return {problem.path: problem.message for problem in caught.value.problems}


def test_the_shipped_file_is_right() -> None:
    project = load_settings({}, file=ROOT / "functions.yaml").project
    indexing = {"build_index", "compact_index", "hot_swap", "migrate_index"}
    assert set(project.functions) == {"embed_batch", "embed_all", "cleanup", "stats", *indexing}
    embed = project.functions["embed_batch"]
    assert (embed.queue, embed.priority, embed.timeout, embed.soft_timeout) == ("embedding", 9, 300.0, 270.0)
    assert embed.retries.backoff == 60.0
    assert embed.on_success is not None
    assert (embed.on_success.function, embed.on_success.debounce) == ("build_index", 0.2)
    assert project.buckets() == ["documents"]
    assert project.functions["build_index"].retries.max == 2
    assert project.functions["build_index"].retries.max_backoff == 600.0, "the rest comes from defaults"


def test_every_error_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
version: 1
queues:
  a: {pool: threads, autoscale: [0, 2], max_tasks_per_child: 5, prioritty: 3}
  a: {}
  c: 4
functions:
  embed:
    handler: functions/shop.py:embed
    retires: {max: 2}
    timeout: 5 minutes
    queue: aa
    on_success: embe
    triggers:
      - {crn: "x"}
      - {cron: "99 * * * *"}
      - {http: {x: 1}}
      - {bucket: docs, prefx: a}
      - {cron: "* * * * *", timezone: Mars}
  b: {queue: a, timeout: 5s, on_success: d}
  d: {handler: shop.py:sell, on_success: b, priority: 12}
  "bad name!": {handler: shop.py:sell}
""",
    )
    assert found["functions.embed.retires"] == "unknown key, did you mean retries?"
    assert found["queues.a.prioritty"] == "unknown key, did you mean priority?"
    assert found["functions.embed.triggers[3].prefx"] == "unknown key, did you mean prefix?"
    assert "did you mean cron?" in found["functions.embed.triggers[0]"]
    assert "did you mean a?" in found["functions.embed.queue"]
    assert "did you mean embed?" in found["functions.embed.on_success"]
    assert "written twice" in found["queues.a"]
    assert "pool threads" in found["queues.a.autoscale"]
    assert "pool threads" in found["queues.a.max_tasks_per_child"]
    assert "pool threads" in found["functions.b.timeout"]
    assert "b → d → b" in found["functions.b.on_success"]
    assert found["functions.b.handler"] == "is missing"
    assert set(found) >= {
        "queues.c",
        "functions.embed.handler",
        "functions.embed.timeout",
        "functions.embed.triggers[1].cron",
        "functions.embed.triggers[2].http.x",
        "functions.embed.triggers[4].timezone",
        "functions.d.priority",
        "functions.bad name!",
    }


def test_a_problem_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(
            {}, file=write(tmp_path, "version: 1\nfunctions:\n  a:\n    handler: shop.py:sell\n    retires: 1\n")
        )
    assert str(caught.value) == "functions.yaml:5: functions.a.retires: unknown key, did you mean retries?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a", "is not a mapping"),
        ("a: [", "is not valid YAML"),
        ("version: 1\nfunctions: {a: !!python/object:os.system {}}", "functions.a.handler: is missing"),
        ("version: 2\nfunctions: {}", "version: must be 1"),
        ("functions: []", "functions: must be a mapping"),
        ("version: 1\nfunctions: &x {a: *x}", "nested more than 40 levels deep"),
    ],
)
def test_files_that_are_no_project(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        load_settings({}, file=write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings({}, file=tmp_path / "functions.yaml")


def test_variables_from_the_environment(tmp_path: Path) -> None:
    text = """\
version: 1
queues: {q: {concurrency: "${N}"}}
functions: {a: {handler: "shop.py:${NAME:-sell}", queue: q, env: {PRICE: "$$5", N: "${N}"}}}
"""
    project = load_settings({"N": "3"}, file=write(tmp_path, text)).project
    assert project.queues["q"].concurrency == 3
    assert project.functions["a"].handler == "shop.py:sell"
    assert project.functions["a"].env == {"PRICE": "$5", "N": "3"}
    assert "${N} is not set" in problems(tmp_path, text)["queues.q.concurrency"]


PLAIN = "version: 1\nqueues: {q: {concurrency: 2}}\nfunctions: {a: {handler: shop.py:sell, queue: q, timeout: 9s}}\n"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "CELERY_WORKER_CONCURRENCY": "7",
        "CELERY_WORKER_PREFETCH_MULTIPLIER": "4",
        "CELERY_WORKER_MAX_MEMORY_PER_CHILD": "2048",
        "CELERY_WORKER_MAX_TASKS_PER_CHILD": "10",
        "CELERY_TASK_TIME_LIMIT": "30",
        "CELERY_TASK_SOFT_TIME_LIMIT": "20",
        "CELERY_LOG_LEVEL": "debug",
        "REDIS_URL": "redis://second/1",
        "CELERY_BROKER_URL": "redis://first/0",
        "MINIO_ENDPOINT": "https://store:9000",
        "MINIO_ACCESS_KEY": "key",
        "MINIO_SECRET_KEY": "hush-hush",
        "TUNDISH_PORT": "81",
    }
    loaded = load(environ, file=write(tmp_path, PLAIN), port=80)
    settings = loaded.settings
    queue, function = settings.project.queues["q"], settings.project.functions["a"]
    assert (queue.concurrency, queue.prefetch, queue.max_memory_per_child) == (7, 4, 2 * 2**20)
    assert (function.timeout, function.soft_timeout) == (30.0, 20.0)
    assert (settings.broker_url, settings.result_backend) == ("redis://first/0", "redis://first/0")
    assert (settings.store.endpoint, settings.store.secure) == ("store:9000", True)
    assert (settings.port, settings.log_level) == (80, "DEBUG"), "a flag wins over the environment"
    assert loaded.sources[("queues", "q", "concurrency")] == "CELERY_WORKER_CONCURRENCY"
    assert loaded.sources[("functions", "a", "handler")].startswith("functions.yaml:3")
    assert "hush-hush" not in repr(settings)


def test_a_wrong_environment_is_reported_like_a_wrong_file(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        PLAIN,
        {
            "CELERY_BROKER_URL": "valkey://x",
            "MINIO_ENDPOINT": "store",
            "TUNDISH_PORT": "http",
            "CELERY_WORKER_CONCURRENCY": "many",
            "CELERY_LOG_LEVEL": "loud",
        },
    )
    assert "redis://" in found["CELERY_BROKER_URL"]
    assert set(found) == {
        "CELERY_BROKER_URL",
        "MINIO_ACCESS_KEY",
        "MINIO_SECRET_KEY",
        "TUNDISH_PORT",
        "CELERY_WORKER_CONCURRENCY",
        "CELERY_LOG_LEVEL",
    }


def test_a_pool_from_the_environment_is_checked_like_one_of_the_file(tmp_path: Path) -> None:
    text = PLAIN.replace("{concurrency: 2}", "{max_tasks_per_child: 5}")
    found = problems(tmp_path, text, {"CELERY_WORKER_POOL": "threads"})
    assert "pool threads" in found["queues.q.max_tasks_per_child"]
    assert "pool threads" in found["functions.a.timeout"]
    mixed = PLAIN.replace("{q: {concurrency: 2}}", "{q: {}, s: {pool: solo}, t: {pool: threads}}")
    environ = {"CELERY_WORKER_CONCURRENCY": "3", "CELERY_WORKER_MAX_TASKS_PER_CHILD": "9"}
    queues = load_settings(environ, file=write(tmp_path, mixed)).project.queues
    assert [queues[name].concurrency for name in "qst"] == [3, 1, 3]
    assert [queues[name].max_tasks_per_child for name in "qst"] == [9, None, None]
    assert "found 'fibers'" in problems(tmp_path, text, {"CELERY_WORKER_POOL": "fibers"})["CELERY_WORKER_POOL"]


def test_a_running_system_is_found_by_its_state_folder(tmp_path: Path) -> None:
    file = write(tmp_path, PLAIN)
    (tmp_path / ".tundish").mkdir()
    (tmp_path / ".tundish" / "run.json").write_text(json.dumps({"environ": {"CELERY_BROKER_URL": "redis://run/0"}}))
    assert load_settings({}, file=file).broker_url == "redis://run/0"
    assert load_settings({"CELERY_BROKER_URL": "redis://mine/0"}, file=file).broker_url == "redis://mine/0"
    assert load({}, file=file).sources[("broker_url",)] == "run.json (CELERY_BROKER_URL)"


def test_an_address_of_ones_own_gets_no_keys_of_a_running_system(tmp_path: Path) -> None:
    (tmp_path / ".tundish").mkdir()
    run = {
        "MINIO_ENDPOINT": "a:1",
        "MINIO_ACCESS_KEY": "x",
        "MINIO_SECRET_KEY": "y",
        "CELERY_BROKER_URL": "redis://a/0",
    }
    (tmp_path / ".tundish" / "run.json").write_text(json.dumps({"environ": run}))
    assert load_settings({"REDIS_URL": "redis://b/0"}, file=write(tmp_path, PLAIN)).broker_url == "redis://b/0"
    assert set(problems(tmp_path, PLAIN, {"MINIO_ENDPOINT": "b:1"})) == {"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"}


def test_routes_by_name_pattern(tmp_path: Path) -> None:
    text = """\
version: 1
queues: {mail: {priority: 2}, other: {}}
routes: {"email_*": {queue: mail, priority: 3}, "email_late*": {queue: other}}
functions:
  email_send: {handler: shop.py:sell}
  email_own: {handler: shop.py:sell, queue: other}
  plain: {handler: shop.py:sell, queue: mail}
  loose: {handler: shop.py:sell}
"""
    functions = load_settings({}, file=write(tmp_path, text)).project.functions
    assert (functions["email_send"].queue, functions["email_send"].priority) == ("mail", 3)
    assert (functions["email_own"].queue, functions["email_own"].priority) == ("other", 3)
    assert (functions["plain"].queue, functions["plain"].priority) == ("mail", 2)
    assert (functions["loose"].queue, functions["loose"].priority) == ("default", 5)


def test_a_function_that_no_pool_can_stop_has_no_time_limit(tmp_path: Path) -> None:
    text = "version: 1\nqueues: {t: {pool: threads}}\nfunctions: {a: {handler: shop.py:sell, queue: t}}\n"
    assert load_settings({}, file=write(tmp_path, text)).project.functions["a"].timeout is None


def test_editors_get_the_schema_that_is_checked() -> None:
    shipped = json.loads((ROOT / "runtime" / "functions.schema.json").read_text())
    assert shipped == json.loads(json.dumps(json_schema())), "write it again: make fmt"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("4m30s", 270), ("7d", 604800), (3, 3)],
)
def test_durations(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("64KiB", 65536), ("2GiB", 2**31), ("10MB", 10**7), ("1.5MiB", 1572864), (9, 9)]
)
def test_sizes(text: str | int, count: int) -> None:
    assert parse_size(text) == count
    assert parse_size(format_size(count)) == count


@pytest.mark.parametrize("wrong", ["", "5", "s", "-1s", "1 h", True, None, -1, "1x"])
def test_what_is_no_duration(wrong: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(wrong)


def test_shares() -> None:
    assert (parse_share("10%"), parse_share(0.5)) == (0.1, 0.5)
    with pytest.raises(ValueError, match="not a share"):
        parse_share("110%")


def test_what_a_function_needs_to_run_is_checked(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
version: 1
queues: {t: {pool: threads}, LONG: {}}
routes: {"t.*": {queue: t}}
functions:
  a: {handler: shop.py:sell, setup: shp.py:open, style: lambda, gather: {}}
  b: {handler: shop.py:sell, setup: open, style: aws}
  t.c: {handler: shop.py:sell, env: {A: 1}, secrets: {B: none}}
  d: {handler: shop.py:sell, queue: LONG, requirements: [pandas]}
""".replace("LONG", "q" * 88),
    )
    assert set(found) == {
        *("functions.a.setup", "functions.a.style", "functions.b.setup", "functions.b.style"),
        "functions.d.requirements",
        *("functions.t.c.env", "functions.t.c.secrets", "functions.t.c.secrets.B"),
    }
    assert "did you mean shop.py?" in found["functions.a.setup"]
    assert "takes a list" in found["functions.a.style"]
    assert "path/to/file.py:function" in found["functions.b.setup"]
    assert "lambda_http" in found["functions.b.style"]
    assert "all functions share one environment" in found["functions.t.c.env"]


def test_every_pattern_has_words() -> None:
    """Nobody who made a slip is shown a regular expression."""

    def patterns(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(patterns, schema))
        if not isinstance(schema, dict):
            return set()
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(schema.get("patternProperties", {}), *map(patterns, schema.values()))

    assert patterns(json_schema()) <= set(SHAPES)
