"""The dashboard's side of documents, in a real Chromium: dropped files, searches, versions of the index, history."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browsing import Window, chromium, window
from tests.system import System, running_system
from tests.workers import SAMPLES, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that follows its files, with a document that can be searched."""
    with running_system(tmp_path_factory.mktemp("documents"), sample=SAMPLES / "dashboard") as found:
        put(found, "harbour.md", "Spring tides come at new and full moon. The harbour master writes them into a book.")
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def web(browser: Browser, system: System) -> Iterator[Window]:
    with window(browser, system.url) as found:
        yield found


def put(system: System, key: str, text: str) -> None:
    """Store a document, and wait until it can be searched."""
    assert system.request("PUT", f"/buckets/documents/{key}", body=text.encode()).status == 200
    until(lambda: system.request("GET", f"/documents/documents/{key}").json().get("searchable"), 120)


def index(system: System) -> dict[str, Any]:
    told: dict[str, Any] = system.request("GET", "/admin/index-version").json()
    return told


def sent(web: Window, name: str) -> Locator:
    """The line of a file that is on its way, or was."""
    return web.page.get_by_role("table", name="Files on their way").get_by_role("row", name=name)


def test_files_and_folders_are_dropped_and_found(web: Window, tmp_path: Path) -> None:
    """From the desktop into the bucket, through the model, into the index, out of a search."""
    letters = tmp_path / "letters" / "old"
    letters.mkdir(parents=True)
    (letters / "glass & ärger 100%.txt").write_text("The glassblower of the fifth furnace sings at dusk.")
    (tmp_path / "lamp.md").write_text("# Lamp\n\nThe lighthouse keeper polishes a brass lamp.")
    page = web.page
    web.open("/buckets")
    web.drag(".drop", [tmp_path / "letters", tmp_path / "lamp.md"])
    for name in ("letters/old/glass & ärger 100%.txt", "lamp.md"):
        expect(sent(web, name)).to_contain_text("1 chunk")
        assert sent(web, name).locator("li.past").all_inner_texts() == ["Stored", "Embedded", "Searchable"]
    expect(page.get_by_text("2 files: 2 searchable.")).to_be_visible()
    documents = page.get_by_role("table", name="Documents")
    expect(documents.get_by_role("row", name="lamp.md")).to_contain_text("completed")

    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("h1")).to_have_text("Search")
    page.get_by_role("searchbox").fill("Who sings at the furnace?")
    first = page.locator(".hit").first
    expect(first).to_contain_text("glass & ärger 100%.txt")
    assert first.locator("mark").all_inner_texts() == ["furnace", "sings"]
    assert 0.3 < float(first.locator(".score").inner_text()) < 1


def test_what_is_refused_says_why(web: Window, tmp_path: Path) -> None:
    (tmp_path / "tool.exe").write_bytes(b"MZ")
    (tmp_path / "nothing.txt").write_bytes(b"")
    (tmp_path / "huge.txt").write_bytes(b"x" * (2**20 + 1))
    web.open("/buckets")
    expect(web.page.locator(".drop")).to_contain_text("1 MiB")
    web.page.get_by_label("Choose files").set_input_files(
        [tmp_path / n for n in ("tool.exe", "nothing.txt", "huge.txt")]
    )
    expect(sent(web, "tool.exe")).to_contain_text("no function takes 'tool.exe'")
    expect(sent(web, "nothing.txt")).to_contain_text("nothing.txt is empty")
    expect(sent(web, "huge.txt")).to_contain_text("limits.upload")
    sent(web, "nothing.txt").get_by_role("link", name="the call").click()
    expect(web.page.locator("h1")).to_contain_text("embed_batch")
    web.page.go_back()
    web.page.get_by_role("button", name="Clear the list").click()
    expect(web.page.get_by_text("No file was sent yet.")).to_be_visible()


def test_a_file_that_did_not_arrive_is_sent_again(web: Window, tmp_path: Path) -> None:
    file = tmp_path / "twice.txt"
    file.write_text("A second time is a charm.")
    web.open("/buckets")
    web.offline(True)
    web.page.get_by_label("Choose files").set_input_files(file)
    expect(sent(web, "twice.txt")).to_contain_text("The gateway does not answer")
    web.offline(False)
    web.page.get_by_label("Put them in the folder").fill("not/used/for/this")
    sent(web, "twice.txt").get_by_role("button").click()
    expect(sent(web, "twice.txt")).to_contain_text("1 chunk")


def test_a_new_version_of_a_file_takes_the_old_ones_place(web: Window, tmp_path: Path) -> None:
    file = tmp_path / "version.txt"
    web.open("/buckets")
    for text in ("Copper kettles are polished with lemon.", "Violins are tuned in fifths."):
        file.write_text(text)
        web.page.get_by_label("Put them in the folder").fill("/some/folder/")
        web.page.get_by_label("Choose files").set_input_files(file)
        expect(sent(web, "some/folder/version.txt")).to_contain_text("1 chunk")
        web.open("/search?q=" + text.replace(" ", "+"))
        expect(web.page.locator(".hit", has_text="version.txt")).to_contain_text(text)
        web.open("/buckets")
        web.page.get_by_role("button", name="Clear the list").click()


def test_another_bucket_ends_with_its_function(web: Window, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    web.open("/buckets")
    web.page.get_by_label("Bucket").select_option("inbox")
    expect(web.page.locator(".drop")).to_contain_text("inbox: .csv")
    web.page.get_by_label("Choose files").set_input_files(tmp_path / "table.csv")
    expect(sent(web, "table.csv")).to_contain_text("Done after")


def test_far_work_tells_how_far_it_is(web: Window, system: System, tmp_path: Path) -> None:
    """A call that holds no worker while others work for it, as embed_all does; then embed_all itself."""
    page, flags = web.page, [tmp_path / name for name in "abc"]
    task = system.request("POST", "/async-function/crowd", json={"flags": [str(flag) for flag in flags]}).json()
    web.open(f"/invocations/{task['task_id']}")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("max", "30")
    flags[0].touch()
    expect(bar).to_have_attribute("value", "10")
    expect(page.get_by_text(re.compile(r"10 of 30 · documents · [\d.]+/s · .+ left"))).to_be_visible()
    expect(page.locator(".state[data-tone=waiting]").first).to_be_visible()
    for flag in flags:
        flag.touch()
    expect(page.get_by_role("region", name="Result")).to_have_text("3")

    web.open("/functions/embed_all")
    page.get_by_role("button", name="Run").click()
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text('"total_docs":')
    expect(result).to_contain_text('"unchanged": 0')


def test_a_document_is_removed(web: Window, system: System) -> None:
    put(system, "old/newspaper.txt", "Yesterday's weather was fair.")
    web.open("/buckets?prefix=old/")
    line = web.page.get_by_role("table", name="Documents").get_by_role("row", name="old/newspaper.txt")
    line.get_by_role("button", name="Remove").click()
    web.page.locator("dialog button[value=no]").click()
    expect(line).to_contain_text("completed")
    line.get_by_role("button", name="Remove").click()
    web.page.locator("dialog button[value=yes]").click()
    expect(line.filter(has_text="completed")).to_have_count(0)
    until(lambda: "newspaper" not in system.request("GET", "/search?q=weather").data.decode())


def test_a_search_follows_what_is_typed(web: Window, system: System) -> None:
    page = web.page
    web.open("/search")
    page.get_by_role("searchbox").press_sequentially("harbour")
    expect(page.locator(".hit").first).to_contain_text("harbour.md")
    version = index(system)["version"]
    expect(page.get_by_role("status").get_by_role("link", name=version)).to_be_visible()
    assert page.url.endswith("q=harbour&k=10")
    page.get_by_role("searchbox").fill("")
    expect(page.locator(".hit")).to_have_count(0)
    page.get_by_role("searchbox").fill("master")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator(".hit mark").first).to_have_text("master")
    page.get_by_label("How many results").select_option("20")
    assert "k=20" in page.url
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("master")
    expect(page.locator(".hit mark").first).to_have_text("master")


def test_back_to_an_older_version_and_forward_again(web: Window, system: System, tmp_path: Path) -> None:
    page = web.page
    old = index(system)["newest"]
    put(system, "late.txt", "A comet crosses the northern sky.")
    web.open("/index")
    versions = page.get_by_role("table", name="Versions")
    button = versions.get_by_role("button", name=f"Roll back to generation {old['generation']}", exact=True)
    button.click()
    page.locator("dialog button[value=yes]").click()
    expect(page.get_by_text(f"Held at generation {old['generation']}.")).to_be_visible()
    first = versions.locator("tbody tr").first
    expect(first).to_contain_text(f"Back to generation {old['generation']} current held")
    until(lambda: "late.txt" not in system.request("GET", "/search?q=comet").data.decode())

    (tmp_path / "held.txt").write_text("What comes now has to wait.")
    web.open("/buckets")
    page.get_by_label("Choose files").set_input_files(tmp_path / "held.txt")
    expect(sent(web, "held.txt")).to_contain_text("The index is held by a rollback")
    web.open("/index")
    page.get_by_role("button", name="Release it").click()
    expect(page.get_by_text("Held at generation")).to_have_count(0)
    web.open("/buckets")
    expect(sent(web, "held.txt")).to_contain_text("1 chunk")
    assert "late.txt" in system.request("GET", "/search?q=comet").data.decode()


def test_the_overview_shows_what_was_done(web: Window, system: System) -> None:
    """The numbers come from the history that `beat` writes."""
    page = web.page
    for message in ("one", "two"):
        system.request("POST", "/async-function/fail", json={"message": message})
    system.request("POST", "/function/greet", json={"name": "Ada"})
    web.open("/")
    ran = page.get_by_role("table", name="Functions that ran")
    expect(ran.get_by_role("row", name="greet")).to_be_visible()
    failed = ran.get_by_role("row", name="fail")
    expect(failed.get_by_role("link", name="2")).to_be_visible()
    assert failed.locator(".bars .ill").get_attribute("d") != "M0,0"
    expect(page.get_by_role("table", name="Newest failures")).to_contain_text("RuntimeError: two")
    expect(page.locator(".parts .state[data-tone=good]", has_text="worker embedding")).to_be_visible()


def test_the_overview_shows_tenants_where_there_are_any(web: Window) -> None:
    """What the gateway tells is made up here: tests/test_tenant_limits.py looks at the route."""
    page = web.page
    none: dict[str, Any] = {"days": {}, "quota": None, "rate": None, "key_rate": None, "key_quota": None}
    used: dict[str, Any] = {"calls": 812, "seconds": 1.5, "documents": 3, "bytes": 2048}
    quota = {"per": "day", "calls": {"used": 812, "limit": 1000, "share": 0.812}}
    told = [{"tenant": "default", **used, **none}, {"tenant": "acme", **used, **none, "quota": quota}]
    key = {"name": "local", "rate": None, "quota": None}

    def answer(*tenants: object) -> None:
        page.unroute_all()
        content = {"month": "2026-03", "tenants": list(tenants), "key": key}
        page.route("**/api/v1/usage", lambda route: route.fulfill(json=content))
        web.open("/functions")
        web.open("/")

    answer(*told)
    table = page.get_by_role("table", name="Tenants")
    expect(table.get_by_role("row", name="acme")).to_contain_text("81.2 % of 1,000 calls a day")
    expect(table.get_by_role("row").nth(1)).to_contain_text("acme")
    answer(told[0])
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    expect(page.locator("#tenants-title")).to_be_hidden()


def test_a_save_that_cannot_be_used_is_told_on_every_view(web: Window, system: System) -> None:
    page, file = web.page, system.folder / "functions" / "samples.py"
    good = file.read_text()
    web.open("/search")
    file.write_text(good.replace("def greet(", "def greet((", 1))
    expect(page.locator("#notices")).to_contain_text("What was saved last is not used")
    expect(page.locator("#notices")).to_contain_text("samples.py")
    web.open("/")
    expect(page.locator(".problem")).to_contain_text("samples.py")
    answer = system.request("POST", "/function/greet", json={"name": "Ada"})
    assert (answer.status, answer.json()) == (200, "Hello, Ada!")
    file.write_text(good.replace("Hello", "Good day"))
    expect(page.locator("#notices .notice")).to_have_count(0)
    until(lambda: system.request("POST", "/function/greet", json={"name": "Ada"}).json() == "Good day, Ada!")
