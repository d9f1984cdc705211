"""Listing page by page: the next one comes while this one is worked on, and only what is fresh is believed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

import pytest

from runtime import store_listing
from runtime.errors import StoreDown
from runtime.store_listing import Pages
from tests.test_store_page import page, row
from tests.workers import until


class Server:
    """A bucket of so many pages with two keys each. `asked` are the tokens of the requests, in order."""

    def __init__(self, count: int) -> None:
        self.count, self.version = count, "v1"
        self.asked: list[str] = []

    def __call__(self, parameters: Mapping[str, str]) -> bytes:
        token = parameters.get("continuation-token", "")
        self.asked.append(token)
        number = int(token.removeprefix("t&") or 0)
        if number + 1 >= self.count:
            return page(self._rows(number))
        end = f"<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;{number + 1}</NextContinuationToken>"
        return page(self._rows(number), end=end)

    def _rows(self, number: int) -> str:
        return row(f"{number}-a", etag=self.version) + row(f"{number}-b", etag=self.version)


def keys(count: int) -> list[str]:
    return [f"{number}-{letter}" for number in range(count) for letter in "ab"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_page_is_asked_for_once_and_none_is_left_out(count: int) -> None:
    server = Server(count)
    assert [info.key for info in Pages(server, "b", {})] == keys(count)
    assert server.asked == ["", *(f"t&{number}" for number in range(1, count))]


def test_the_next_page_is_asked_for_while_this_one_is_worked_on() -> None:
    server = Server(5)
    listing = iter(Pages(server, "b", {}))
    assert next(listing).key == "0-a"
    until(lambda: server.asked == ["", "t&1"])
    list(islice(listing, 2))
    until(lambda: server.asked == ["", "t&1", "t&2"])


def test_a_page_that_had_to_wait_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(2)
    listing = iter(Pages(server, "b", {}))
    next(listing)
    until(lambda: len(server.asked) == 2)
    server.version = "v2"
    monkeypatch.setattr(store_listing, "FRESH_SECONDS", 0.0)
    assert [info.etag for info in listing] == ["v1", "v2", "v2"]
    assert server.asked == ["", "t&1", "t&1"]


def test_what_goes_wrong_ahead_is_told_when_its_turn_comes() -> None:
    server = Server(3)

    def fetch(parameters: Mapping[str, str]) -> bytes:
        if "continuation-token" in parameters:
            raise StoreDown("gone")
        return server(parameters)

    listing = iter(Pages(fetch, "b", {}))
    assert [next(listing).key, next(listing).key] == keys(1)
    with pytest.raises(StoreDown, match="gone"):
        next(listing)


def test_a_server_that_goes_in_circles() -> None:
    server = Server(9)
    with pytest.raises(StoreDown, match="in circles"):
        list(Pages(lambda parameters: server({"continuation-token": "t&3"}), "b", {}))


def test_a_token_that_only_a_parser_can_read_is_followed() -> None:
    server = Server(3)
    disguised = Pages(lambda asked: server(asked).replace(b"Token>t&amp;", b"Token ><![CDATA[t&]]>"), "b", {})
    assert [info.key for info in disguised] == keys(3)


@pytest.mark.parametrize("taken", [1, 3, 100])
def test_no_thread_outlives_a_listing(taken: int) -> None:
    threads = threading.active_count()
    listing = iter(Pages(Server(4), "b", {}))
    list(islice(listing, taken))
    del listing
    until(lambda: threading.active_count() == threads)
