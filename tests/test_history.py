"""Rates and times of the last hour: sampled from what is kept anyway, told by the gateway."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.config.settings import Settings, StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from runtime.metrics import history
from runtime.metrics.history import EVERY_SECONDS, LINES, Line, Load, Work
from runtime.metrics.sampler import MOST_EXAMINED, Sampler, spread
from tests.gatewaying import deployment, problem, serving, settings

AT = 1_772_366_400.0


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return settings(broker_url, StoreSettings(), tmp_path)


@pytest.fixture
def deployed(made: Settings) -> Deployment:
    return deployment(made)


def end(client: redis.Redis, deployed: Deployment, state: str = "succeeded", function: str = "add") -> None:
    task_id = submit(client, deployed, Call(function, {"a": 1}))
    attempt = claim(client, task_id, "hand")
    assert not isinstance(attempt, str)
    assert finish(client, deployed.settings.project.functions[function], attempt, state, {})


def now_slot() -> float:
    """The end of the ten seconds that are under way."""
    return (time.time() // EVERY_SECONDS + 1) * EVERY_SECONDS


def test_what_ended_is_counted_exactly(redis_client: redis.Redis, deployed: Deployment) -> None:
    end(redis_client, deployed)
    sampler = Sampler(redis_client, deployed)
    assert sampler.step(AT) is None, "what ended before the first look is not known to be new"
    for state, count in (("succeeded", 5), ("failed", 2), ("dead", 1), ("cancelled", 3)):
        for _ in range(count):
            end(redis_client, deployed, state)
    end(redis_client, deployed, function="cut")
    submit(redis_client, deployed, Call("add", {"a": 1}))
    line = sampler.step(AT + EVERY_SECONDS)
    assert line
    assert (line.functions["add"].succeeded, line.functions["add"].failed) == (5, 3)
    assert line.functions["cut"].succeeded == 1
    assert set(line.functions) == {"add", "cut"}
    assert (line.queues["default"].queued, line.queues["other"].queued) == (1, 0)
    quiet = sampler.step(AT + 2 * EVERY_SECONDS)
    assert quiet and not quiet.functions, "who has nothing to do is not in a line"


def test_times_are_those_of_the_window(redis_client: redis.Redis, deployed: Deployment) -> None:
    sampler = Sampler(redis_client, deployed)
    sampler.step(AT)
    for _ in range(3):
        end(redis_client, deployed)
    ids = [name.decode() for name in redis_client.zrange(keys.ended("succeeded"), 0, -1)]  # type: ignore[union-attr]
    moments = {ids[0]: (1_000, 3_000, 4_000), ids[1]: (1_000, 1_500, 6_500), ids[2]: (0, 0, 90_000)}
    for task_id, (waits, starts, ends) in moments.items():
        told = {"queued": waits, "started": starts, "ended": ends}
        redis_client.hset(keys.invocation(task_id), mapping={k: int(AT * 1000) + v for k, v in told.items()})
        redis_client.zadd(keys.ended("succeeded"), {task_id: int(AT * 1000) + ends})
    line = sampler.step(AT + EVERY_SECONDS)
    assert line
    assert line.functions["add"] == Work(3, 0, run=(1.0, 5.0), wait=(0.5, 2.0))


def test_a_flood_costs_a_bounded_look(redis_client: redis.Redis, deployed: Deployment) -> None:
    sampler = Sampler(redis_client, deployed)
    sampler.step(AT)
    with redis_client.pipeline() as pipe:
        for number in range(MOST_EXAMINED * 3):
            when = int(AT * 1000) + number
            pipe.hset(keys.invocation(f"i{number}"), mapping={"function": "add", "queued": when, "started": when})
            pipe.hset(keys.invocation(f"i{number}"), "ended", when + (1000 if number >= MOST_EXAMINED * 2 else 0))
            pipe.zadd(keys.ended("succeeded"), {f"i{number}": when})
        pipe.hset(keys.TOTALS, "add:succeeded", MOST_EXAMINED * 3)
        pipe.execute()
    line = sampler.step(AT + EVERY_SECONDS)
    assert line
    assert line.functions["add"].succeeded == MOST_EXAMINED * 3
    assert line.functions["add"].run == (1.0, 1.0), "the newest are looked at"


def test_of_two_samplers_one_line_is_kept(redis_client: redis.Redis, deployed: Deployment) -> None:
    one, two = Sampler(redis_client, deployed), Sampler(redis_client, deployed)
    for at in (AT, AT + EVERY_SECONDS, AT + 2 * EVERY_SECONDS):
        one.step(at)
        two.step(at)
    assert redis_client.xlen(keys.HISTORY) == 2
    assert not history.write(redis_client, Line(AT))


def test_a_clock_that_was_wrong_is_forgotten(redis_client: redis.Redis) -> None:
    assert history.write(redis_client, Line(AT + 365 * 86_400))
    assert history.write(redis_client, Line(AT))
    assert redis_client.xlen(keys.HISTORY) == 1
    assert not history.write(redis_client, Line(AT - EVERY_SECONDS)), "a beat that lags behind"


def test_only_an_hour_is_kept(redis_client: redis.Redis) -> None:
    for number in range(LINES + 5):
        assert history.write(redis_client, Line(AT + number * EVERY_SECONDS))
    assert redis_client.xlen(keys.HISTORY) == LINES


def test_a_counter_that_began_again_is_not_negative(redis_client: redis.Redis, deployed: Deployment) -> None:
    sampler = Sampler(redis_client, deployed)
    redis_client.hset(keys.TOTALS, "add:succeeded", 1000)
    sampler.step(AT)
    redis_client.hset(keys.TOTALS, "add:succeeded", 4)
    line = sampler.step(AT + EVERY_SECONDS)
    assert line and not line.functions


def test_gaps_are_null_and_rest_is_nothing() -> None:
    lines = [
        Line(AT + 10, {"f": Work(4, 1, (0.1, 0.2), (0.0, 0.3))}, {"q": Load(2, 1, 5.5)}),
        Line(AT + 30, {}, {"q": Load()}),
        Line(AT + 990, {"later": Work(1)}),
    ]
    told = history.series(lines, AT, 4)
    assert (told["since"], told["every"], told["count"]) == (AT, 10.0, 4)
    assert told["functions"] == {
        "f": {
            "succeeded": [4, None, 0, None],
            "failed": [1, None, 0, None],
            "run": {"p50": [0.1, None, None, None], "p95": [0.2, None, None, None]},
            "wait": {"p50": [0.0, None, None, None], "p95": [0.3, None, None, None]},
        }
    }
    assert told["queues"] == {
        "q": {"queued": [2, None, 0, None], "running": [1, None, 0, None], "oldest": [5.5, None, 0.0, None]}
    }


def test_the_gateway_tells_it(redis_client: redis.Redis, made: Settings, deployed: Deployment) -> None:
    sampler, slot = Sampler(redis_client, deployed), now_slot()
    sampler.step(slot - 20)
    end(redis_client, deployed)
    sampler.step(slot - 10)
    with serving(made) as web:
        told = web.get("/api/v1/tasks/history?minutes=60").json()
        assert told["count"] == 360
        assert sum(filter(None, told["functions"]["add"]["succeeded"])) == 1
        assert len(told["functions"]["add"]["run"]["p95"]) == 360
        assert set(told["queues"]) == {"default", "other"}
        assert web.get("/api/v1/tasks/history").json()["count"] == 180
        (error,) = problem(web.get("/api/v1/tasks/history?minutes=61"), 422)["errors"]
        assert error["field"] == "minutes"


@pytest.mark.parametrize(
    ("found", "told"),
    [([], None), ([2.0], (2.0, 2.0)), ([3.0, 1.0, 2.0], (2.0, 3.0)), ([float(n) for n in range(1, 101)], (50.0, 95.0))],
)
def test_spread(found: list[float], told: tuple[float, float] | None) -> None:
    assert spread(found) == told
