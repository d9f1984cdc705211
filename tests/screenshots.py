"""`python -m tests.screenshots [FOLDER]`: pictures of the dashboard for docs/images.

They are of a system that has done some work. Needs Chromium. Takes about a minute.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.browsing import chromium, window
from tests.system import System, running_system
from tests.workers import SAMPLES, until

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WORK_SECONDS = 45.0
DOCUMENTS = {
    "harbour/tides.md": "# Tides\n\nSpring tides come at new and full moon, when sun and moon pull together. The "
    "harbour master writes the height of every tide into a book that is older than the pier.",
    "lighthouse/keeper.txt": "The lighthouse keeper counts seventeen herons every morning and polishes the brass lamp.",
    "kitchen/marmalade.txt": "Marmalade is boiled until it sets on a cold plate. Bitter oranges are best in January.",
    "workshop/violins.txt": "Violins are tuned in fifths; the concertmaster gives the A.",
    "workshop/clocks.md": "A clock that is wound every Sunday loses a minute a month, and more in summer.",
}
NEW = {
    "birds.txt": "Herons nest in colonies, high above the estuary, and come down to the sandbank at low water.",
    "empty.txt": "",
    "storms.md": "A falling barometer and a swell from the west: the harbour closes before the storm is seen.",
}
VIEWS = {
    "overview": "/",
    "functions": "/functions",
    "invocations": "/invocations",
    "queues": "/queues",
    "dead": "/dead",
    "search": "/search?q=herons at low tide",
    "index": "/index",
}


def work(system: System) -> str:
    """Documents and calls of each kind for a while. Returns the id of a call that has called others."""
    for key, text in DOCUMENTS.items():
        system.request("PUT", f"/buckets/documents/{key}", body=text.encode())
    last = next(reversed(DOCUMENTS))
    until(lambda: system.request("GET", f"/documents/documents/{last}").json().get("searchable"), 120)
    until_then, family = time.monotonic() + WORK_SECONDS, ""
    number = 0
    while time.monotonic() < until_then:
        number += 1
        system.request("POST", "/function/greet", json={"name": f"visitor {number}"})
        if number % 4 == 0:
            family = system.request("POST", "/async-function/family", json={"children": 2 + number % 3}).json()[
                "task_id"
            ]
        if number % 25 == 0:
            system.request("POST", "/async-function/die", json={"message": "the printer is out of paper"})
        time.sleep(0.15)
    return family


def shoot(browser: Browser, system: System, target: Path) -> None:
    family = work(system)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, window(browser, system.url, device_scale_factor=1) as web:
        for name, view in {**VIEWS, "invocation": f"/invocations/{family}"}.items():
            web.open(view)
            time.sleep(1.0)
            web.page.screenshot(path=target / f"{name}.png")
        web.open("/functions/greet")
        web.page.get_by_label("name", exact=True).fill("Ada")
        web.page.get_by_role("button", name="Run").click()
        web.page.get_by_role("region", name="Result").wait_for()
        web.page.screenshot(path=target / "function.png")
        files = []
        for name, text in NEW.items():
            files.append(Path(folder) / name)
            files[-1].write_text(text)
        web.open("/buckets")
        web.page.get_by_label("Choose files").set_input_files(files)
        web.page.get_by_text("2 searchable, 1 failed").wait_for()
        web.page.screenshot(path=target / "buckets.png")
        web.page.emulate_media(color_scheme="dark")
        web.page.set_viewport_size({"width": 375, "height": 760})
        web.open("/")
        time.sleep(1.0)
        web.page.screenshot(path=target / "phone.png")


def shrink(path: Path) -> None:
    """A third of the size: so few colours are enough for such pictures."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        running_system(Path(folder), "--no-reload", sample=SAMPLES / "dashboard") as system,
    ):
        shoot(browser, system, target)
    for path in sorted(target.glob("*.png")):
        shrink(path)
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
