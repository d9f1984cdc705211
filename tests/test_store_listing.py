"""Listing page by page: the next one comes while this one is worked on, and only what is fresh is believed."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from itertools import islice

import pytest

from runtime.config.settings import StoreSettings
from runtime.errors import StoreDown
from runtime.store import listing as store_listing
from runtime.store.listing import Pages
from runtime.store.port import MinioStore
from tests.indexing import fresh_store
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
    before = set(threading.enumerate())  # one that another test has left may end meanwhile
    listing = iter(Pages(Server(4), "b", {}))
    list(islice(listing, taken))
    del listing
    until(lambda: set(threading.enumerate()) <= before)


def filled(settings: StoreSettings, names: list[str]) -> MinioStore:
    """A store whose own bucket holds these keys, put one after the other: SeaweedFS can lose `a` from its listings when
    `a` and `a/b` are put in the same moment."""
    store = fresh_store(settings)
    for name in names:
        store.put(store.bucket, name, b"")
    return store


def tree(seed: int) -> list[str]:
    """Keys many of which are also the folders of others."""
    rng = random.Random(seed)
    return sorted({"/".join(rng.choices(["a", "b", "a-", "a.b", "ü", "0"], k=rng.randint(1, 4))) for _ in range(40)})


@pytest.mark.parametrize(
    "names",
    [
        ["ü", "ü/ö"],
        ["a", "a/b", "a/b/c", "a/b/c/d"],
        ["a", "a/b/c/d"],
        ["x/a", "x/a/b/c"],
        ["x/a", "x/a/b", "x/c"],
        ["a", "a-b", "a/b", "a.c"],
        ["f/", "f/g/", "f/g/h"],
        ["a+b &%2F", "a+b &%2F/c"],
        tree(1),
        tree(2),
        tree(3),
    ],
)
def test_objects_below_the_name_of_another_are_listed_wherever_a_page_ends(
    store_settings: StoreSettings, names: list[str]
) -> None:
    """SeaweedFS says that nothing follows a page that ends with `a` when all that follows is below `a/`."""
    store = filled(store_settings, names)
    for prefix in ("", "a", "a/", "ü", "x/a", "f/"):
        whole = [info.key for info in store.list(store.bucket, prefix)]
        assert sorted(whole) == sorted(name for name in names if name.startswith(prefix))
        for size in (1, 2, 3, 5, len(whole) or 1):
            assert [info.key for info in store.list(store.bucket, prefix, page=size)] == whole, (prefix, size)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_listing_goes_on_after_every_key(store_settings: StoreSettings, seed: int) -> None:
    """SeaweedFS leaves `a/b` out of what comes after `a`."""
    names = tree(seed)
    store = filled(store_settings, names)
    for prefix in ("", "a", "a/"):
        whole = [info.key for info in store.list(store.bucket, prefix)]
        for number, key in enumerate(whole, 1):
            rest = [info.key for info in store.list(store.bucket, prefix, start_after=key)]
            assert rest == whole[number:], (prefix, key)
            if number % 5 == 0:
                rest = [info.key for info in store.list(store.bucket, prefix, start_after=key, page=1)]
                assert rest == whole[number:], (prefix, key, "key by key")


def test_the_last_of_a_thousand_keys_and_what_is_below_it(store_settings: StoreSettings) -> None:
    names = [*(f"n/{number:03}" for number in range(999)), "ü", "ü/ö", "ü/ö/ß"]
    store = filled(store_settings, names)
    assert sorted(info.key for info in store.list(store.bucket)) == names
    assert [info.key for info in store.list(store.bucket, start_after="ü")] == ["ü/ö", "ü/ö/ß"]


def test_one_more_request_when_the_last_page_is_full_and_none_otherwise() -> None:
    server = Server(3)
    asked: list[dict[str, str]] = []

    def fetch(parameters: Mapping[str, str]) -> bytes:
        asked.append(dict(parameters))
        return page("") if parameters.get("prefix") == "2-b/" else server(parameters)

    for size, more in ((2, 1), (3, 0)):
        asked.clear()
        assert [info.key for info in Pages(fetch, "b", {"max-keys": str(size), "start-after": "0"})] == keys(3)
        assert len(asked) == 3 + more
