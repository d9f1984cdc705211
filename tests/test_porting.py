"""`setup`, `env`, `secrets` and handlers of other runners, through a real gateway and a real worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime.broker.connection import connect
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from tests.gatewaying import ORIGIN
from tests.trying import trial
from tests.workers import deployment, ended, known, upkeep, worker

FUNCTIONS = """
import asyncio, os
from pathlib import Path

AT_IMPORT = os.environ["GREETING"]
HERE = Path(__file__).parent


def connect():
    with (HERE / "made").open("a") as log:
        log.write(f"{os.getpid()} {os.environ['GREETING']} {os.environ['TOKEN']}\\n")
    return {"pid": os.getpid(), "token": os.environ["TOKEN"]}


def greet(name: str, *, context):
    return [AT_IMPORT, name, context.state["token"], context.state["pid"] == os.getpid()]


class Session:
    def __init__(self):
        self.loop, self.queue = asyncio.get_running_loop(), asyncio.Queue()


async def open_session():
    return Session()


async def talk(word: str, *, context):
    asyncio.create_task(asyncio.sleep(3600))  # left behind, and ended with the call
    await context.state.queue.put(word)
    left = len(asyncio.all_tasks()) - 1
    return [await context.state.queue.get(), context.state.loop is asyncio.get_running_loop(), left]


def shaky():
    mark = HERE / "mended"
    if not mark.exists():
        raise OSError("no database")
    return "up"


def use(*, context):
    return context.state


def lambda_handler(event, context):
    if "requestContext" in event:
        query = event["queryStringParameters"]
        mine = event["requestContext"]["requestId"] == context.aws_request_id
        told = [event["requestContext"]["http"]["method"], query, event["headers"]["x-a"], event["body"], mine]
        return {"statusCode": 201, "headers": {"X-B": "2", "Content-Type": "text/plain"}, "body": repr(told)}
    return {"event": event}


def page(request):
    return f"<h1>{request.args['a']} {request.get_json()['n']} {request.method}</h1>", 202, {"X-B": "2"}


def raw(request):
    return request.get_data()[::-1], {"Content-Type": "application/octet-stream"}


def told(cloud_event):
    return {"type": cloud_event["type"], "data": cloud_event.data}
"""

YAML = """
version: 1
queues: {work: {concurrency: 1}}
defaults: {queue: work, retries: {max: 1, backoff: 10ms}}
functions:
  greet:
    handler: mine.py:greet
    setup: mine.py:connect
    env: {GREETING: hello}
    secrets: {TOKEN: token}
    triggers: [{http: {}}]
  again: {handler: mine.py:greet, setup: mine.py:connect, env: {GREETING: hello}, secrets: {TOKEN: token}}
  other: {handler: mine.py:greet, setup: mine.py:connect, env: {GREETING: other}, secrets: {TOKEN: token}}
  talk: {handler: mine.py:talk, setup: mine.py:open_session, env: {GREETING: x}, triggers: [{http: {}}]}
  use: {handler: mine.py:use, setup: mine.py:shaky, env: {GREETING: x}, triggers: [{http: {}}]}
  aws: {handler: mine.py:lambda_handler, env: {GREETING: x}, triggers: [{http: {}}]}
  proxy: {handler: mine.py:lambda_handler, style: lambda_http, env: {GREETING: x}, triggers: [{http: {}}]}
  page: {handler: mine.py:page, env: {GREETING: x}, triggers: [{http: {}}]}
  raw: {handler: mine.py:raw, env: {GREETING: x}, triggers: [{http: {}}]}
  told: {handler: mine.py:told, env: {GREETING: x}, triggers: [{http: {}}]}
"""


@dataclass
class Shop:
    """A gateway, one worker with one process, and what they know of each other."""

    folder: Path
    web: TestClient
    client: redis.Redis
    deployment: Deployment

    def call(self, function: str, **arguments: Any) -> Any:
        """What a call that nobody waits for returned."""
        record = ended(self.client, submit(self.client, self.deployment, Call(function, arguments)))
        assert record.state == "succeeded", record.error
        return json.loads(record.result_json or b"null")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "mine.py").write_text(FUNCTIONS)
    (folder / "token").write_text("s3cret\n")
    file = folder / "functions.yaml"
    file.write_text(YAML)
    client = connect(broker_url)
    client.flushall()
    found = deployment(file, broker_url)
    app = create_app(found.settings, found)
    with (
        worker(file, broker_url, "work"),
        upkeep(client, found),
        TestClient(app, ORIGIN, client=("127.0.0.1", 1)) as web,
    ):
        yield Shop(folder, web, client, found)
    client.close()


def test_everything_is_described(shop: Shop) -> None:
    assert {name: found.error for name, found in shop.deployment.functions.items() if found.error} == {}
    styles = {name: found.style for name, found in shop.deployment.functions.items() if found.style != "plain"}
    assert styles == {
        "aws": "lambda",
        "proxy": "lambda_http",
        "page": "request",
        "raw": "request",
        "told": "cloud_event",
    }


def test_a_setup_runs_once_in_a_process_and_its_result_is_the_state(shop: Shop) -> None:
    assert shop.web.post("/function/greet", json={"name": "Ann"}).json() == ["hello", "Ann", "s3cret", True]
    assert shop.call("greet", name="Bob") == ["hello", "Bob", "s3cret", True]
    assert shop.call("again", name="Cat") == ["hello", "Cat", "s3cret", True]  # the same setup and env: shared
    made = (shop.folder / "made").read_text().splitlines()
    assert [line.split()[1:] for line in made] == [["hello", "s3cret"]]
    shop.call("other", name="Dan")
    assert (shop.folder / "made").read_text().splitlines()[-1].split()[1:] == ["other", "s3cret"]


def test_what_an_async_setup_opened_works_in_later_calls(shop: Shop) -> None:
    for word in ("one", "two"):
        # One task is the call's own; the one that it leaves behind is gone by the next call.
        assert shop.web.post("/function/talk", json={"word": word}).json() == [word, True, 1]


def test_a_setup_that_fails_fails_the_call_and_is_tried_again(shop: Shop) -> None:
    answer = shop.web.post("/function/use")
    assert answer.status_code == 500
    told = answer.json()["detail"]
    assert "SetupFailed" in told and "setup mine.py:shaky failed" in told and "OSError: no database" in told
    dead = ended(shop.client, submit(shop.client, shop.deployment, Call("use")))
    assert (dead.state, dead.attempts) == ("dead", 2)
    (shop.folder / "mended").touch()
    assert shop.web.post("/function/use").json() == "up"


def test_a_lambda_handler_gets_the_body_as_its_event(shop: Shop) -> None:
    assert shop.web.post("/function/aws", json={"name": "Ann"}).json() == {"event": {"name": "Ann"}}
    assert shop.call("aws", a=1) == {"event": {"a": 1}}


def test_a_lambda_handler_behind_an_api_gateway(shop: Shop) -> None:
    answer = shop.web.post("/function/proxy?q=1&q=2", content="text", headers={"X-A": "a b"})
    assert (answer.status_code, answer.headers["content-type"], answer.headers["x-b"]) == (201, "text/plain", "2")
    assert answer.text == repr(["POST", {"q": "1,2"}, "a b", "text", True])
    assert shop.call("proxy", a=1) == {"event": {"a": 1}}


def test_a_flask_handler_gets_a_request_and_says_how_to_answer(shop: Shop) -> None:
    answer = shop.web.post("/function/page?a=x", json={"n": 7})
    assert (answer.status_code, answer.text, answer.headers["x-b"]) == (202, "<h1>x 7 POST</h1>", "2")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_handler_that_is_called_with_the_request_takes_every_method(shop: Shop) -> None:
    answer = shop.web.request("DELETE", "/function/page?a=x", json={"n": 7})
    assert (answer.status_code, answer.text) == (202, "<h1>x 7 DELETE</h1>")
    answer = shop.web.get("/function/proxy", headers={"X-A": "a", "Sec-Fetch-Site": "same-origin"})
    assert answer.text == repr(["GET", {}, "a", "", True])
    refused = shop.web.get("/function/aws")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert "style request or lambda_http" in refused.json()["detail"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_picture_on_another_page_calls_nothing(shop: Shop, site: str) -> None:
    refused = shop.web.get("/function/page?a=x", headers={"Sec-Fetch-Site": site})
    assert (refused.status_code, site in refused.json()["detail"]) == (403, True)


def test_a_picture_on_another_page_calls_nothing_in_an_old_browser_either(shop: Shop) -> None:
    for page in ("https://shop.example/a?b", "http://localhost.example/", f"{ORIGIN}:1/", "http://[", "nonsense"):
        refused = shop.web.get("/function/proxy", headers={"X-A": "a", "Referer": page})
        assert (refused.status_code, page in refused.json()["detail"]) == (403, True)
    for page in (f"{ORIGIN}/", f"{ORIGIN.upper()}/plain?q=1", ""):
        assert shop.web.get("/function/proxy", headers={"X-A": "a", "Referer": page}).status_code == 201


def test_bytes_that_are_no_text_go_both_ways(shop: Shop) -> None:
    answer = shop.web.post("/function/raw", content=b"\0\xff\1", headers={"Content-Type": "image/png"})
    assert (answer.content, answer.headers["content-type"]) == (b"\1\xff\0", "application/octet-stream")


def test_a_repeated_request_is_the_same_call_whenever_it_comes(shop: Shop) -> None:
    first = shop.web.post("/function/proxy", content="a", headers={"Idempotency-Key": "k", "X-A": "1"})
    again = shop.web.post("/function/proxy", content="a", headers={"Idempotency-Key": "k", "X-A": "2"})
    assert (again.text, again.headers["idempotency-replayed"]) == (first.text, "true")
    other = shop.web.post("/function/proxy", content="b", headers={"Idempotency-Key": "k", "X-A": "1"})
    assert other.status_code == 422


def test_a_cloud_event_arrives_as_one(shop: Shop) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "order"}
    answer = shop.web.post("/function/told", json={"a": 1}, headers=headers)
    assert answer.json() == {"type": "order", "data": {"a": 1}}


def test_headers_of_a_request_are_kept_with_the_call(shop: Shop) -> None:
    answer = shop.web.post("/function/raw", content=b"x", headers={"Connection": "keep-alive", "X-Tundish-Cli": "1"})
    given = known(shop.client, answer.headers["x-call-id"]).arguments["http_request"]
    names = {name for name, _ in given["headers"]}
    assert "host" in names and not names & {"connection", "x-tundish-cli"}


def test_objects_reach_a_handler_of_cloud_events_through_a_real_trigger(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def told(cloud_event):\n    return cloud_event['type'], cloud_event.data['name']\n"
    )
    house = trial(redis_client, broker_url, store_settings, tmp_path, {"handler": "mine.py:told"}, {})
    with house.running():
        house.store.put(house.bucket, "a b.txt", b"text")
        assert house.result("a b.txt") == [["google.cloud.storage.object.v1.finalized", "a b.txt"]]
