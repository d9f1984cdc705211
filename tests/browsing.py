"""A real Chromium for the tests of the dashboard: windows that note what goes wrong in them, and what people need."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WITHIN_MS = 30_000
"""For what a page waits; a loaded machine is slow."""

_NAMED = frozenset(
    [
        *("button", "checkbox", "combobox", "dialog", "image", "img", "link", "meter", "navigation", "progressbar"),
        *("radio", "region", "searchbox", "slider", "spinbutton", "switch", "table", "textbox"),
    ]
)
_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium. A machine without one fails the tests."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.fail("There is no Chromium: the tests of the dashboard need one (apt-get install chromium).")
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Window:
    """One window on one system. `expected` are words of messages that a test wants; any other trouble is an error."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url, self.expected, self._troubles = url, set[str](), list[str]()
        self._context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("request", self._asked)

    def open(self, view: str) -> None:
        """Go to a view (`/functions`), and wait until it has drawn what it shows."""
        if self.page.url.startswith(f"{self.url}/#"):
            self.page.evaluate("document.querySelector('.view').dataset.left = 'yes'")
            self.page.evaluate("hash => { location.hash = hash; }", view)
            expect(self.page.locator("[data-left]")).to_have_count(0)
        else:
            self.page.goto(f"{self.url}/#{view}")
        expect(self.page.locator("main h1")).to_be_visible()
        self.settle()

    def settle(self) -> None:
        expect(self.page.locator(".view [aria-busy=true]")).to_have_count(0)

    def offline(self, yes: bool) -> None:
        self.expected.add("ERR_INTERNET_DISCONNECTED")
        self._context.set_offline(yes)

    def drag(self, target: str, paths: Sequence[Path]) -> None:
        """Drag files and folders from the desktop and drop them, as a hand does."""
        box = self.page.locator(target).bounding_box()
        assert box
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self._context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            if kind == "drop":
                expect(self.page.locator(f"{target}.over")).to_be_visible()
            where = {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data}
            session.send("Input.dispatchDragEvent", where)
        session.detach()

    def nameless(self) -> list[str]:
        """Controls, pictures, tables and landmarks that a screen reader has no name for."""
        session = self._context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        return [
            node["role"]["value"]
            for node in nodes
            if not node["ignored"]
            and node.get("role", {}).get("value") in _NAMED
            and not node.get("name", {}).get("value", "").strip()
        ]

    def faint(self) -> list[str]:
        """Texts with less contrast to what is behind them than WCAG AA wants (4.5, large ones 3)."""
        found: list[str] = self.page.evaluate(_CONTRAST)
        return found

    def sideways(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def close(self) -> list[str]:
        """Everything that went wrong in this window."""
        self._context.close()
        return self._troubles

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"{message.text} ({message.location.get('url', '')})")

    def _note(self, text: str) -> None:
        if not any(word in text for word in self.expected):
            self._troubles.append(text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self._troubles.append(f"something from outside: {request.url}")


@contextlib.contextmanager
def window(browser: Browser, url: str, **options: Any) -> Iterator[Window]:
    """A window that must end without an error in its console."""
    made = Window(browser, url, **options)
    try:
        yield made
    except BaseException:
        made.close()
        raise
    troubles = made.close()
    assert not troubles, "\n".join(troubles)
