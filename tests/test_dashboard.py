"""The dashboard in a real Chromium: every view, calls and their ends, errors of each kind, ten thousand calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, expect

from tests.browsing import Window, chromium, window
from tests.system import System, running_system
from tests.workers import SAMPLES, until

TASKS = "/api/v1/tasks"
VIEWS = {
    "/": "Overview",
    "/functions": "Functions",
    "/functions/greet": "greet",
    "/invocations": "Invocations",
    "/queues": "Queues and workers",
    "/schedules": "Schedules",
    "/dead": "Dead letters",
    "/buckets": "Buckets",
    "/search?q=tides": "Search",
    "/index": "Index",
}
MANY = 10_000
_WATCH = """() => {
  window.busy = [];
  const note = (list) => window.busy.push(...list.getEntries().map((one) => one.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
}"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One running system, with calls that ended in each way."""
    with running_system(tmp_path_factory.mktemp("dashboard"), "--no-reload", sample=SAMPLES / "dashboard") as found:
        for name, arguments in {"greet": {"name": "Ada"}, "fail": {}, "die": {"message": "no luck"}}.items():
            ended(found, called(found, name, **arguments))
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def web(browser: Browser, system: System) -> Iterator[Window]:
    with window(browser, system.url) as found:
        yield found


def called(system: System, function: str, /, **arguments: Any) -> str:
    """Accept a call; its id."""
    answer = system.request("POST", f"/async-function/{function}", json=arguments)
    assert answer.status == 202, answer.data
    return str(answer.json()["task_id"])


def ended(system: System, task_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        told: dict[str, Any] = system.request("GET", f"{TASKS}/task/{task_id}").json()
        return told if told["ready"] else None

    return until(look)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_for_everybody(web: Window, view: str) -> None:
    """A title, a name for everything, enough contrast in light and dark, and room on a phone."""
    page = web.page
    web.open(view)
    expect(page.locator("h1")).to_have_count(1)
    expect(page.locator("h1")).to_contain_text(VIEWS[view])
    expect(page.locator("#side a[aria-current=page]")).to_have_count(1)
    assert page.title().endswith("· Tundish")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert web.faint() == []
    assert web.nameless() == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    page.set_viewport_size({"width": 375, "height": 700})
    web.settle()
    assert web.sideways() == 0
    assert web.faint() == []


def test_nothing_but_its_own_scripts_runs(web: Window, system: System) -> None:
    answer = system.request("GET", "/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'", "'self'", "'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    web.open("/")
    web.expected.add("Content Security Policy")
    with pytest.raises(Error, match="violates the following Content Security Policy directive 'script-src 'self''"):
        web.page.add_script_tag(content="window.ran = 1")
    assert web.page.evaluate("window.ran") is None


def test_what_comes_from_a_call_stays_text(web: Window, system: System) -> None:
    task_id = called(system, "fail", message="<img src=x onerror=alert(1)><b>bold</b>")
    ended(system, task_id)
    web.open(f"/invocations/{task_id}")
    expect(web.page.locator(".problem")).to_contain_text("<b>bold</b>")
    assert web.page.locator("main b, main img").count() == 0


def test_a_function_is_called_with_a_form(web: Window) -> None:
    page = web.page
    web.open("/functions")
    page.get_by_role("link", name="greet").click()
    page.get_by_label("name", exact=True).fill("Ada")
    page.get_by_label("times").fill("2")
    page.get_by_label("tone").select_option(label="cool")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Result")).to_have_text('"Well, Ada! Well, Ada!"')
    page.get_by_role("checkbox", name="JSON").check()
    typed = page.get_by_label("Arguments as JSON")
    assert json.loads(typed.input_value()) == {"name": "Ada", "times": 2, "tone": "cool", "loud": False}
    typed.fill('{"name": "Grace", "loud": true}')
    typed.press("Control+Enter")
    expect(page.get_by_role("region", name="Result")).to_have_text('"HELLO, GRACE!"')
    page.get_by_role("checkbox", name="JSON").uncheck()
    expect(page.get_by_label("name", exact=True)).to_have_value("Grace")


def test_output_comes_while_a_call_runs(web: Window, tmp_path: Path) -> None:
    page, flag = web.page, tmp_path / "flag"
    web.open("/functions/talk")
    page.get_by_label("flag").fill(str(flag))
    page.get_by_role("button", name="Run").click()
    output = page.get_by_role("log")
    expect(output).to_contain_text("step 2")
    expect(output).not_to_contain_text("step 3")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "3")
    flag.touch()
    expect(output).to_contain_text("step 3")
    expect(page.get_by_role("region", name="Result")).to_have_text('"4 steps"')


def test_a_running_call_is_cancelled(web: Window, tmp_path: Path) -> None:
    page = web.page
    web.open("/functions/talk")
    page.get_by_label("flag").fill(str(tmp_path / "never"))
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("log")).to_contain_text("step 2")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".state[data-tone=cancelled]")).to_be_visible()


def test_errors_of_each_kind_say_what_happened(web: Window) -> None:
    page = web.page
    web.expected |= {"422", "404"}
    web.open("/functions/greet")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".field", has=page.get_by_label("name", exact=True))).to_contain_text("required")
    expect(page.get_by_label("name", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("name", exact=True)).to_be_focused()
    page.get_by_label("times").fill("x")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_label("times")).to_have_attribute("aria-invalid", "true")

    web.open("/functions/fail")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".problem")).to_contain_text("RuntimeError: on purpose")
    page.get_by_text("Traceback").click()
    expect(page.locator(".problem pre")).to_contain_text("raise RuntimeError(message)")

    web.open("/functions/nap")
    page.get_by_label("seconds").fill("20")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".problem")).to_contain_text("longer than its timeout of 1 s")

    web.open("/functions/broken")
    expect(page.locator(".problem")).to_contain_text("No module named 'a_module_that_is_not_there'")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()

    web.open("/functions/grete")
    expect(page.locator(".problem")).to_contain_text("greet")
    web.open("/invocations/no-such-call")
    expect(page.locator(".problem")).to_be_visible()
    web.open("/nowhere")
    expect(page.locator(".problem")).to_contain_text("/nowhere")


def test_a_gateway_that_is_away_is_told_and_waited_for(web: Window, system: System) -> None:
    page = web.page
    web.open("/functions/greet")
    page.get_by_label("name", exact=True).fill("Ada")
    web.offline(True)
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".problem")).to_contain_text("does not answer")
    expect(page.locator("#notices")).to_contain_text("The gateway does not answer")
    expect(page.get_by_label("name", exact=True)).to_have_value("Ada")
    web.offline(False)
    expect(page.locator("#notices .notice")).to_have_count(0)
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Result")).to_have_text('"Hello, Ada!"')


def test_the_list_of_calls_is_live_and_filtered(web: Window, system: System) -> None:
    page = web.page
    web.open("/invocations?function=greet")
    rows = page.locator(".rows .row")
    expect(rows.first).to_contain_text("greet")
    before = page.get_by_role("table").get_attribute("aria-rowcount")
    called(system, "greet", name="live")
    expect(page.get_by_role("table")).not_to_have_attribute("aria-rowcount", str(before))
    page.get_by_label("Function").select_option("die")
    page.get_by_label("State").select_option("dead")
    expect(rows.filter(has_not_text="die")).to_have_count(0)
    expect(rows.first).to_contain_text("RuntimeError: no luck")
    assert "function=die" in page.url and "state=dead" in page.url
    page.get_by_label("Text").fill("nothing says this")
    expect(page.get_by_text("No call fits.")).to_be_visible()
    page.get_by_label("Text").fill("NO LUCK")
    expect(rows.first).to_contain_text("no luck")
    page.reload()
    expect(page.get_by_label("Text")).to_have_value("NO LUCK")
    rows.first.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("die")
    expect(page.locator(".problem")).to_contain_text("no luck")


def test_what_belongs_together_and_a_call_again(web: Window, system: System) -> None:
    page = web.page
    root = called(system, "family", children=3)
    ended(system, root)
    web.open(f"/invocations/{root}")
    family = page.locator("section", has=page.get_by_role("heading", name="What belongs together"))
    expect(family.get_by_role("link", name="greet")).to_have_count(3)
    expect(page.locator("pre[aria-label=Arguments]")).to_contain_text('"children": 3')
    page.get_by_role("button", name="Call again").click()
    expect(page).not_to_have_url(f"{system.url}/#/invocations/{root}")
    expect(page.locator("dt", has_text="Repeats")).to_be_visible()
    expect(page.locator(".state[data-tone=succeeded]").first).to_be_visible()


def test_a_queue_rests_and_is_emptied(web: Window, system: System) -> None:
    page = web.page
    web.open("/queues")
    idle = page.get_by_role("row", name="idle").first
    idle.get_by_role("button", name="Pause").click()
    expect(idle).to_contain_text("paused")
    waiting = [called(system, "wait", name="later") for _ in range(3)]
    empty = page.get_by_role("button", name="Empty the queue idle")
    empty.click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    assert not system.request("GET", f"{TASKS}/task/{waiting[0]}").json()["ready"], "Cancel changes nothing"
    empty.click()
    page.locator("dialog button[value=yes]").click()
    for task_id in waiting:
        assert ended(system, task_id)["state"] == "cancelled"
    idle.get_by_role("button", name="Resume").click()
    expect(idle).not_to_contain_text("paused")
    expect(page.get_by_role("row", name="work@").first).to_contain_text("of 2")


def test_schedules_tell_their_next_runs_and_rest(web: Window) -> None:
    page = web.page
    web.open("/schedules")
    line = page.get_by_role("row", name="greet")
    expect(line).to_contain_text("30 3 * * *")
    expect(line).to_contain_text("Europe/Berlin")
    expect(line).to_contain_text("03:30")
    line.get_by_role("button", name="Pause").click()
    expect(line).to_contain_text("paused")
    line.get_by_role("button", name="Resume").click()
    expect(line).not_to_contain_text("paused")


def test_dead_letters_are_redriven_and_thrown_away(web: Window, system: System) -> None:
    page = web.page
    for _ in range(2):
        ended(system, called(system, "die", message="third of a kind"))
    web.open("/dead?function=die")
    page.get_by_label("Error").fill("third of a kind")
    letters = page.get_by_role("row", name="third of a kind")
    expect(letters).to_have_count(2)
    letters.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Redrive 1").click()
    expect(page.locator("#toasts .toast").first).to_contain_text("Redriven: 1 letter")
    expect(letters).to_have_count(2)  # it runs, and dies again
    page.get_by_role("button", name="Delete all").click()
    page.keyboard.press("Escape")
    expect(letters).to_have_count(2)
    page.get_by_role("button", name="Delete all").click()
    page.locator("dialog button[value=yes]").click()
    expect(letters).to_have_count(0)


def test_what_is_chosen_stays_chosen_while_it_is_shown(web: Window, system: System) -> None:
    page = web.page
    ended(system, called(system, "die", message="chosen by hand"))
    web.open("/dead?function=die")
    letter = page.get_by_role("row", name="chosen by hand")
    letter.get_by_role("checkbox").check()
    page.get_by_label("Error").fill("by hand")
    expect(page.get_by_role("row").filter(has_text="die")).to_have_count(1)
    expect(page).to_have_url(re.compile("error=by"))
    expect(letter.get_by_role("checkbox")).to_be_checked()
    expect(page.get_by_role("button", name="Redrive 1")).to_be_visible()
    page.get_by_label("Error").fill("by no hand")
    expect(letter).to_have_count(0)
    page.get_by_label("Error").fill("by hand")
    expect(letter.get_by_role("checkbox")).not_to_be_checked()
    expect(page.get_by_role("button", name="Redrive all")).to_be_visible()


def test_the_keyboard_alone_is_enough(web: Window) -> None:
    page = web.page
    web.open("/")

    def go_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            at = page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()")
            shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert shown != "none" or page.evaluate("document.activeElement.matches('.hidden, [data-own]')"), at
            if at == name:
                return
        raise AssertionError(f"Tab does not lead to {name}")

    go_to("Skip to the content")
    go_to("Functions")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Functions")
    expect(page.locator("h1")).to_be_focused()
    web.settle()
    go_to("greet")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("greet")
    expect(page.locator("h1")).to_be_focused()
    web.settle()
    go_to("name")
    page.keyboard.type("Ada")
    go_to("Run")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Result")).to_have_text('"Hello, Ada!"')


def test_what_has_the_focus_keeps_it_while_the_page_is_refreshed(web: Window) -> None:
    page = web.page
    web.open("/queues")
    page.get_by_role("button", name="Pause the queue work").focus()
    with page.expect_response("**/queue/stats"), page.expect_response("**/workers/stats"):
        pass
    expect(page.get_by_role("button", name="Pause the queue work")).to_be_focused()


def test_colours_are_chosen_and_kept(web: Window) -> None:
    page = web.page
    web.open("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_without_script_there_is_a_plain_page(browser: Browser, system: System) -> None:
    with window(browser, system.url, java_script_enabled=False) as web:
        web.page.goto(system.url)
        expect(web.page.get_by_role("link", name="greet")).to_be_visible()
        assert web.page.url.endswith("/plain")


def test_on_a_phone_the_menu_opens_and_closes(browser: Browser, system: System) -> None:
    with window(browser, system.url, has_touch=True) as web:
        page = web.page
        page.set_viewport_size({"width": 375, "height": 700})
        web.open("/")
        expect(page.locator("#side")).to_be_hidden()
        page.get_by_role("button", name="Menu").tap()
        page.locator("#side").get_by_role("link", name="Schedules").tap()
        expect(page.locator("h1")).to_have_text("Schedules")
        expect(page.locator("#side")).to_be_hidden()


def test_ten_thousand_calls_are_a_list_like_any_other(
    web: Window, system: System, record_property: Callable[[str, object], None]
) -> None:
    """Only what can be seen is in the page, whatever the list holds. How long it kept the page busy is told."""
    page = web.page
    system.request("POST", "/admin/pause", json={"kind": "queue", "name": "idle"})
    for _ in range(MANY // 1000):
        tasks = [{"task_type": "wait", "task_data": {"name": "one of many"}}] * 1000
        assert system.request("POST", f"{TASKS}/batch", json={"tasks": tasks}).status == 202
    web.open("/invocations?function=wait")
    page.evaluate(_WATCH)
    table, nodes = page.get_by_role("table"), []

    def all_loaded() -> bool:
        page.locator(".virtual").evaluate("one => { one.scrollTop = one.scrollHeight; }")
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
        return int(table.get_attribute("aria-rowcount") or 0) > MANY

    until(all_loaded, 60)
    expect(page.locator(".rows .row").last).to_contain_text("wait")
    for share in (0.5, 0.1, 0.9, 0):
        page.locator(".virtual").evaluate("(one, share) => { one.scrollTop = share * one.scrollHeight; }", share)
        expect(page.locator(".rows .row").first).to_be_attached()
        nodes.append(page.evaluate("document.querySelectorAll('*').length"))
    assert max(nodes) < 1500
    longest = max(page.evaluate("busy"), default=0)
    record_property("longest_task_ms", longest)
    print(f"{MANY} calls: at most {max(nodes)} elements, the longest task took {longest:.0f} ms")
    page.locator(".virtual").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("wait")
