"""What `make up` and `make demo` show: documents go in, a real question is answered."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import click

from runtime.callers.own_key import own_key
from runtime.cli.client import Client
from runtime.cli.searching import ask, lines
from runtime.cli.uploads import Uploads, collect
from runtime.errors import TundishError
from runtime.system.house import House
from runtime.system.parts import gateway_url

QUESTION = "How do I remove a document from the index?"
BUCKET = "documents"


def show(house: House, folders: list[Path]) -> bool:
    """Index the folders, ask the question, print the answers and what to try next. Whether answers came."""
    console, url = house.console, gateway_url(house.settings)
    client = Client(url, own_key(house.settings.home, url, {}))
    began = time.monotonic()
    try:
        files = list(collect(folders))
        console.say(f"Putting {len(files)} files of {', '.join(folder.name for folder in folders)} into {BUCKET} …")
        results = Uploads(client, BUCKET, lambda told: None).run(files, wait=True)
        answer = ask(client, QUESTION, 3)
    except (TundishError, click.UsageError) as error:
        console.say(f"The demo did not work: {error}")
        return False
    for told in results:
        if not told["ok"]:
            console.say(f"{told['key']}: {told['status']}: {told['reason']}")
    good = sum(told["ok"] for told in results)
    console.plain()
    console.plain(
        f"{good} of {len(files)} documents are searchable, {time.monotonic() - began:.1f} s after the first upload."
    )
    console.plain(f"$ {_command()} search '{QUESTION}'")
    for line in lines(answer, QUESTION):
        console.plain(f"  {line}")
    console.plain()
    console.plain(f"Dashboard: {url}/")
    console.plain("Try next, in another terminal:")
    for command in (
        f"{_command()} put README.md",
        f"{_command()} invoke stats",
        f"curl '{url}/search?q=which+keys+does+a+bucket+trigger+have&k=3'",
    ):
        console.plain(f"  {command}")
    console.plain()
    return bool(answer["results"]) and good == len(files)


def _command() -> str:
    """`tundish` as it can be typed in this folder."""
    if shutil.which("tundish"):
        return "tundish"
    return os.path.relpath(Path(sys.executable).parent / "tundish")
