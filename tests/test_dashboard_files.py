"""The dashboard's files: what they may contain, and that all of them are there and served."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gateway.routes import TABLE
from gateway.web.assets import _SERVED
from runtime.config.settings import StoreSettings
from tests.gatewaying import serving, settings

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "gateway" / "static" / "dashboard"
MODULES = sorted(FOLDER.glob("*.js"))
STYLES = sorted(FOLDER.glob("*.css"))


@pytest.fixture(scope="module")
def web(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(settings(broker_url, StoreSettings(), tmp_path_factory.mktemp("home"))) as client:
        yield client


@pytest.mark.parametrize("path", [*MODULES, *STYLES], ids=lambda path: path.name)
def test_every_file_is_served_as_what_it_is(web: TestClient, path: Path) -> None:
    answer = web.get(f"/static/dashboard/{path.name}")
    kind = {"js": "text/javascript", "css": "text/css"}[path.suffix[1:]]
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert answer.content == path.read_bytes()
    again = web.get(f"/static/dashboard/{path.name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_has_nothing_inline_and_nothing_from_outside(web: TestClient) -> None:
    answer = web.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    text = answer.text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    places = re.findall(r'(?:src|href|url)="?=?([^";>\s]+)', text)
    assert places
    assert all(place.startswith(("/", "#")) for place in places), places
    for place in set(places) - {"/plain", "/docs"}:
        assert place.startswith("#") or web.get(place).status_code == 200, place


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_need_only_each_other(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r'from "([^"]+)"', text):
        assert target.startswith("./"), target
        assert (FOLDER / target).is_file(), target
    outside = re.findall(r"https?://[^\s\"'`]+", text)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    # Text never becomes markup or code, so nothing that a function puts out can either.
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|javascript:", text
    )
    assert len(text.splitlines()) < 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_ask_for_routes_that_exist(path: Path) -> None:
    known = [re.compile(re.sub(r"\{\w+(:\w+)?\}", ".+", route)) for route in TABLE]
    asked = re.findall(r'[("`](/(?:api|admin|documents|readyz|search)[^"`?]*)[`"?]', path.read_text())
    for found in asked:
        plain = re.sub(r"\$\{[^}]*\}", "x/x", found)
        assert any(route.fullmatch(plain) for route in known), found


def test_every_view_is_there() -> None:
    views = re.findall(r'"/[^"]*": "(\w+)"', (FOLDER / "router.js").read_text())
    assert len(views) > 8
    for view in views:
        text = (FOLDER / f"{view}.js").read_text()
        assert re.search(r"^export const title = ", text, re.M)
        assert re.search(r"^export function mount\(el", text, re.M)


def test_they_are_part_of_the_package() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["gateway"]
    assert "static/dashboard/*" in told
    assert all(_SERVED.fullmatch(path.name) for path in [*MODULES, *STYLES])
