"""Rates and quotas: what fits is taken, however many come at once, and what is refused is told when to come again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from gateway.access import quota_notes
from runtime import keys
from runtime.attempts.attempt import claim, finish, repeat
from runtime.broker import scripts
from runtime.callers import api_keys, tenant_limits, usage
from runtime.config.settings import Settings, StoreSettings
from runtime.config.tenants import TenantSpec
from runtime.deployment.deployment import Deployment
from runtime.errors import LimitReached
from runtime.invocations.cancel import cancel
from runtime.invocations.index import Wanted
from runtime.invocations.listing import page
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Accepted, Call, Idempotency, accept, submit
from runtime.outbox.delivery import deliver
from runtime.outbox.kept_call import Kept, unpack
from runtime.outbox.outbox import Waiting
from tests import gatewaying
from tests.gatewaying import problem, serving

Send = Callable[..., Accepted]
MONTH = f"{datetime.now(UTC):%Y-%m}"


def limited(made: Settings, **tenants: Any) -> Settings:
    project = made.project.model_copy(
        update={"tenants": {name.replace("every", "*"): TenantSpec(**spec) for name, spec in tenants.items()}}
    )
    return made.model_copy(update={"project": project})


@pytest.fixture
def sender(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> Callable[..., Send]:
    def build(**tenants: Any) -> Send:
        made = limited(gatewaying.settings(broker_url, StoreSettings(), tmp_path), **tenants)
        deployed = gatewaying.deployment(made)

        def send(tenant: str = "acme", caller: str = "key", **more: Any) -> Accepted:
            return accept(redis_client, deployed, Call("add", {"a": 1}, tenant=tenant, caller=caller, **more))

        send.deployed = deployed  # type: ignore[attr-defined]
        return send

    return build


def used(client: redis.Redis, deployed: Deployment, tenant: str = "acme") -> dict[str, float]:
    (told,) = usage.read(client, deployed.settings.project, [tenant], MONTH)
    return {name: told[name] for name in usage.WHAT}


@rules(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 7_258_118_399))
def test_days_are_those_of_the_calendar(redis_client: redis.Redis, seconds: int) -> None:
    text = scripts.around("local month, day = date(tonumber(ARGV[1])) return {month, day}", new_work=False)
    moment = datetime.fromtimestamp(seconds, UTC)
    month, day = (part.decode() for part in scripts.run_text(redis_client, text, (), [seconds * 1000]))
    assert (month, day) == (f"{moment:%Y-%m}", f"{moment:%d}")


def test_a_quota_of_calls(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"calls": 10}})
    near = [send().near for _ in range(10)]
    assert near[:7] == [None] * 7
    assert [str(one) for one in near[7:]] == [f"{n} of 10 calls a day" for n in (8, 9, 10)]
    with pytest.raises(LimitReached, match="10 of 10 calls this day") as refused:
        send()
    assert 0 < refused.value.wait <= 86_401
    assert used(redis_client, send.deployed)["calls"] == 10
    assert redis_client.zcard(keys.of_tenant("acme")) == 10
    send("globex")  # another tenant is not concerned
    submit(
        redis_client, send.deployed, Call("add", {"a": 1}, tenant="acme", trigger="bucket")
    )  # nor what is no request
    assert used(redis_client, send.deployed)["calls"] == 11


def test_no_more_than_fit_are_taken_when_many_come_at_once(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"calls": 25}})

    def one(_: int) -> bool:
        try:
            send()
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(one, range(100))) == 25
    assert used(redis_client, send.deployed)["calls"] == 25


def test_a_call_that_is_known_costs_nothing(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"calls": 1}})
    first = send(id="one", idempotency=Idempotency("d" * 64, "b"))
    assert not first.replayed
    assert send(id="one").replayed
    assert send(id="two", idempotency=Idempotency("d" * 64, "b")).id == "one"
    with pytest.raises(LimitReached):
        send(id="three", idempotency=Idempotency("e" * 64, "b"))
    assert not redis_client.exists(keys.idem("e" * 64), keys.invocation("three")), "nothing of it is left"


def test_what_an_outbox_has_accepted_is_not_refused(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"calls": 1}})
    send()
    call = Call("add", {"a": 1}, id="kept", tenant="acme", caller="key")
    kept = unpack(Kept(call, time.time(), "default", 5).pack())
    deliver(redis_client, send.deployed, Waiting(kept, "box", 1))
    assert redis_client.exists(keys.invocation("kept"))
    assert used(redis_client, send.deployed)["calls"] == 2


def test_a_quota_of_a_month_counts_all_its_days(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"calls": 5, "per": "month"}})
    other = "01" if datetime.now(UTC).day != 1 else "02"
    redis_client.hset(keys.usage("acme", MONTH), f"{other}:calls", 4)
    assert str(send().near) == "5 of 5 calls a month"
    with pytest.raises(LimitReached, match="this month"):
        send()


def test_a_rate_lets_so_many_come_together_and_then_one_after_the_other(sender: Any) -> None:
    send = sender(acme={"rate": "5/h"})
    for _ in range(5):
        send()
    with pytest.raises(LimitReached, match="too fast") as refused:
        send()
    assert 600 < refused.value.wait <= 720, "an hour's fifth"


def test_a_rate_makes_room_again(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"rate": "2/h"})
    send(), send()
    arrival = int(redis_client.get(keys.rate_of("tenant", "acme")) or 0)
    redis_client.set(keys.rate_of("tenant", "acme"), arrival - 1800 * 10**6)  # half an hour later
    send()
    with pytest.raises(LimitReached):
        send()


def test_each_key_has_its_own_rate_and_a_refusal_takes_no_place(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(every={"rate": "3/h", "key_rate": "2/h"})
    send(caller="one"), send(caller="one")
    for _ in range(5):
        with pytest.raises(LimitReached):
            send(caller="one")
    send(caller="two")
    with pytest.raises(LimitReached):
        send(caller="two")  # now the tenant's is used up
    send("globex", caller="two-of-globex")
    assert used(redis_client, send.deployed)["calls"] == 3


def test_each_key_has_its_own_quota(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(every={"quota": {"calls": 5}, "key_quota": {"calls": 3}})
    assert [str(send(caller="one").near) for _ in range(3)] == ["None", "None", "3 of 3 calls a day"]
    with pytest.raises(LimitReached, match=r"quota of the key is used up: 3 of 3 calls this day"):
        send(caller="one")
    send(caller="two"), send(caller="two")
    with pytest.raises(LimitReached, match="quota of the tenant"):
        send(caller="two")
    assert usage.tenants(redis_client, send.deployed.settings.project) == ["acme"], "a key is no tenant"


def test_seconds_are_counted_when_attempts_end(sender: Any, redis_client: redis.Redis) -> None:
    send = sender(acme={"quota": {"seconds": "1h"}})
    spec = send.deployed.settings.project.functions["add"]

    def run(task_id: str, seconds: float) -> Any:
        attempt = claim(redis_client, task_id, "hand")
        redis_client.hset(keys.invocation(task_id), "started", int((time.time() - seconds) * 1000))
        return attempt

    first = send().id
    finish(redis_client, spec, run(first, 100), "succeeded", {"result": "1"})
    assert used(redis_client, send.deployed)["seconds"] == pytest.approx(100, abs=5)
    second = send().id
    repeat(
        redis_client, spec, run(second, 1000), Decision("retrying", 60.0), {"type": "E", "message": "", "summary": ""}
    )
    assert used(redis_client, send.deployed)["seconds"] == pytest.approx(1100, abs=10)
    cancel(redis_client, send.deployed, second)  # it does not run now
    assert used(redis_client, send.deployed)["seconds"] == pytest.approx(1100, abs=10)
    third = send().id
    finish(redis_client, spec, run(third, 2600), "failed", {"error": json.dumps({"type": "E", "message": ""})})
    with pytest.raises(LimitReached, match="seconds"):
        send()


def test_the_list_of_a_tenant_has_its_calls_only_and_forgets_them(sender: Any, redis_client: redis.Redis) -> None:
    send = sender()
    mine = [send().id for _ in range(3)]
    others = [send("globex").id for _ in range(3)] + [send("default").id]

    def listed(tenant: str | None, **more: Any) -> list[str]:
        return [one.id for one in page(redis_client, Wanted(tenant=tenant, **more)).invocations]

    assert (
        set(listed("acme")) == set(listed("acme", function="add")) == set(listed("acme", state="queued")) == set(mine)
    )
    assert listed("acme", function="other") == listed("acme", root=others[0]) == listed("nobody") == []
    assert listed("default") == [others[-1]]
    assert set(listed(None)) == {*mine, *others}
    cancel(redis_client, send.deployed, mine[0])
    assert listed("acme", state="cancelled") == [mine[0]]
    assert listed("globex", state="cancelled") == []
    scripts.run(redis_client, "forget", (), ["cancelled", mine[0]])
    assert set(listed("acme")) == set(mine[1:])
    assert redis_client.zcard(keys.of_tenant("acme")) == 2
    assert not redis_client.exists(keys.of_tenant("default")), "the default tenant's list is that of all"


def test_over_http(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = limited(
        gatewaying.settings(broker_url, StoreSettings(), tmp_path), default={"quota": {"calls": 5}, "rate": "1000/s"}
    )
    with serving(made) as web:
        assert quota_notes.HEADER not in web.post("/async-function/add", json={"a": 1}).headers
        answer = web.post("/api/v1/tasks/batch", json={"tasks": [{"task_type": "add", "task_data": {"a": 1}}] * 3})
        assert answer.status_code == 202
        assert answer.headers[quota_notes.HEADER] == "4 of 5 calls a day"
        assert "tenant default has used 4 of 5 calls a day (80 %)" in caplog.text
        assert 'tundish_tenant_quota_used_ratio{tenant="default",what="calls"} 0.8' in web.get("/metrics").text
        answer = web.post("/api/v1/tasks/batch", json={"tasks": [{"task_type": "add", "task_data": {"a": 1}}] * 3})
        told = problem(answer, 429)
        assert told["detail"].startswith("Only 1 of 3 tasks were submitted")
        assert len(told["task_ids"]) == 1
        for path in ("/async-function/add", "/function/add", "/function/add?x"):
            answer = web.post(path, json={"a": 1})
            assert "5 of 5 calls this day" in problem(answer, 429)["detail"]
            assert 0 < int(answer.headers["retry-after"]) <= 86_401
            assert "call_id" not in answer.json()
        problem(web.post("/api/v1/tasks/submit", json={"task_type": "add", "task_data": {"a": 1}}), 429)
        events = [{"specversion": "1.0", "id": str(n), "source": "s", "type": "t", "data": {"a": 1}} for n in range(2)]
        headers = {"content-type": "application/cloudevents-batch+json"}
        problem(web.post("/async-function/add", content=json.dumps(events), headers=headers), 429)
        (told,) = web.get("/api/v1/usage").json()["tenants"]
        assert (told["tenant"], told["calls"]) == ("default", 5)
        assert told["quota"] == {"per": "day", "calls": {"used": 5, "limit": 5, "share": 1.0}}
        assert told["rate"] == "1000/s"
        problem(web.get("/api/v1/usage?tenant=nobody"), 404)
        problem(web.get("/api/v1/usage?month=2026-13"), 422)


def test_what_is_left_to_each_key_is_told(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    acme = {"key_rate": "60/m", "key_quota": {"calls": 4, "per": "month"}}
    made = limited(
        gatewaying.settings(broker_url, StoreSettings(), tmp_path), acme=acme, default={"key_quota": {"calls": 2}}
    )
    for name, tenant in (("app", "acme"), ("other", "globex")):
        api_keys.add(redis_client, api_keys.new(name, "invoke", tenant=tenant)[0])
    redis_client.hset(keys.usage(tenant_limits.key_usage("app"), MONTH), mapping={"01:calls": 1, "02:calls": 2})
    with serving(made) as web:
        app, other = web.get("/api/v1/keys").json()["keys"]
        assert (app["name"], app["rate"]) == ("app", "60/m")
        assert app["quota"] == {"per": "month", "calls": {"used": 3, "limit": 4, "share": 0.75}}
        assert (other["rate"], other["quota"]) == (None, None)
        assert web.post("/async-function/add", json={"a": 1}).status_code == 202
        told = web.get("/api/v1/usage").json()
        half = {"per": "day", "calls": {"used": 1, "limit": 2, "share": 0.5}}
        assert told["key"] == {"name": "local", "rate": None, "quota": half}
        by_tenant = {one["tenant"]: one["key_quota"] for one in told["tenants"]}
        assert by_tenant == {"acme": {"per": "month", "calls": 4}, "default": {"per": "day", "calls": 2}}


def test_quotas_of_uploads(
    broker_url: str, redis_client: redis.Redis, store_settings: StoreSettings, tmp_path: Path
) -> None:
    made = limited(
        gatewaying.settings(broker_url, store_settings, tmp_path),
        default={"quota": {"documents": 3, "bytes": "1KiB"}, "key_quota": {"documents": 100}},
    )
    with serving(made) as web:
        assert web.put("/buckets/documents/a.txt", content=b"x" * 100).status_code == 200
        assert web.put("/buckets/documents/b.txt", content=iter([b"x" * 200])).status_code == 200  # of unknown length
        problem(web.put("/buckets/documents/c.txt", content=b"x" * 1000), 429)
        problem(web.put("/buckets/documents/a//b.txt", content=b"x"), 422)  # nothing came of it
        assert used(redis_client, gatewaying.deployment(made), "default") == {
            "calls": 0,
            "seconds": 0,
            "documents": 2,
            "bytes": 300,
        }
        answer = web.put("/buckets/documents/c.txt", content=b"x")
        assert answer.headers[quota_notes.HEADER] == "3 of 3 documents a day"
        problem(web.put("/buckets/documents/d.txt", content=b"x"), 429)
        problem(web.get("/buckets/documents/d.txt"), 404)
        key = redis_client.hgetall(keys.usage(tenant_limits.key_usage("local"), MONTH))
        assert {name[3:]: int(value) for name, value in key.items()} == {b"documents": 3, b"bytes": 301}
        # What a trigger hands out was counted already, but for what came in another way.
        told = [("a.txt", 100), ("b.txt", 200), ("other.txt", 5)]
        usage.hand_out(redis_client, "default", "documents", told)
        assert used(redis_client, gatewaying.deployment(made), "default")["documents"] == 4
        usage.hand_out(redis_client, "default", "documents", told[:1])  # again, because it was overwritten
        assert used(redis_client, gatewaying.deployment(made), "default")["documents"] == 5


@pytest.mark.parametrize(
    ("per", "moment", "seconds"),
    [
        ("day", "2026-03-31T23:59:30+00:00", 31),
        ("day", "2026-03-01T00:00:00+00:00", 86_401),
        ("month", "2026-12-31T23:59:00+00:00", 61),
        ("month", "2028-02-01T00:00:00+00:00", 29 * 86_400 + 1),
    ],
)
def test_how_long_a_quota_lasts(per: Any, moment: str, seconds: int) -> None:
    assert tenant_limits.seconds_left(per, datetime.fromisoformat(moment).timestamp()) == seconds
