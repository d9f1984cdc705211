"""What a page of the documentation tells its reader to write, to type and to see, and a reader who does it.

A block of `sh` is typed as it stands. The block of `text` after it is what must be seen then: its lines in this order,
with `…` for anything. A block with a `title` is saved under that name; an indented one is added at the end of the file.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.system import until

_FENCE = re.compile(r'^```(?P<lang>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$', re.M | re.S)
_ADDRESS = "http://127.0.0.1:8000"
_START = re.compile(r"^(\S*/)?(tundish|make) up\b.*$", re.M)
_STRICT = 'curl() { command curl --fail-with-body "$@"; }\n'
"""Where a page does not say what is to be seen, an error that a server answers with is not what it meant."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the line of the page that it begins in."""

    lang: str
    title: str
    body: str
    line: int


@dataclass(frozen=True)
class Step:
    """Something to save or to type, and what must be seen then (None: anything)."""

    block: Block
    seen: str | None
    patient: bool
    """Whether something was saved just before: the system may need a moment to take it over."""


def blocks(page: Path, files: Mapping[str, str]) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        title = found["title"] or files.get(found["lang"], "")
        yield Block(found["lang"], title, found["body"], text.count("\n", 0, found.start()) + 1)


def steps(page: Path, files: Mapping[str, str]) -> Iterator[Step]:
    """`files`: where blocks without a title go, by their language, on a page that says it in words only."""
    every = list(blocks(page, files))
    saved = False
    for block, after in zip(every, [*every[1:], None], strict=True):
        if block.lang == "sh" or block.title:
            seen = after.body if after and after.lang == "text" else None
            yield Step(block, seen, patient=saved)
            saved = bool(block.title) or "tundish new" in block.body


def shown(expected: str, output: str) -> str | None:
    """None if the lines of `expected` are in the output in this order, else the first that is not.

    A line that is nothing but `…` stands for any number of lines, as the place between any two lines does.
    """
    lines = iter(output.splitlines())
    for line in filter(lambda one: one.strip("…"), expected.splitlines()):
        pattern = ".*".join(map(re.escape, line.split("…")))
        if not any(re.fullmatch(pattern, other.rstrip()) for other in lines):
            return line
    return None


@dataclass
class Reader:
    """Sits in a folder, with one system that runs behind it. Use it as a context manager."""

    folder: Path
    environ: Mapping[str, str]
    _up: subprocess.Popen[bytes] | None = None
    _log: Path = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.folder.parent / "up.log"
        self._log.touch()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._up and self._up.poll() is None:
            os.killpg(self._up.pid, signal.SIGINT)  # as a terminal does: `make` and what it runs
            assert self._up.wait(120) in (0, -signal.SIGINT)  # `make` passes on how it was ended

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def follow(self, page: Path, files: Mapping[str, str] = MappingProxyType({})) -> None:
        """Do everything that a page says. AssertionError names the line of the page where it is not as it says."""
        for step in steps(page, files):
            where = f"{page.name}:{step.block.line}"
            try:
                self.do(step)
            except AssertionError as error:
                error.add_note(f"at {where}:\n{step.block.body}\nThe log of the system ends with:\n{self.log[-3000:]}")
                raise

    def do(self, step: Step) -> None:
        if step.block.title:
            return self._save(step.block)
        last = ""

        def tried() -> bool:
            nonlocal last
            last = self._type(step.block.body, step.seen)
            return not last

        if step.patient:
            try:
                until(tried, "what the page says", 120)
            except AssertionError:
                raise AssertionError(last) from None
        else:
            assert tried(), last
        return None

    def _save(self, block: Block) -> None:
        path = self.folder / block.title
        if block.body.startswith(" "):
            path.write_text(path.read_text().rstrip("\n") + "\n\n" + block.body)
        else:
            path.write_text(block.body)

    def _type(self, commands: str, seen: str | None) -> str:
        """Type commands; says what is wrong with the outcome, or nothing."""
        if (start := _START.search(commands)) and self._up is None:
            before = self._run(commands[: start.start()])
            told = before.stdout + self._start(start[0].partition("#")[0])
            after = self._run(commands[start.end() :])
            return _differs(told + after.stdout, before.returncode or after.returncode, seen)
        commands = _START.sub("", commands)  # it runs
        if commands.startswith("cd ") and self.folder.name == commands.split()[1]:
            commands = commands.partition("\n")[2]  # a second terminal, which begins where the first one did
        done = self._run(commands if seen is not None else _STRICT + commands)
        return _differs(done.stdout, done.returncode, seen)

    def _run(self, commands: str) -> subprocess.CompletedProcess[str]:
        """In a shell that ends at the first error, and says where it is then."""
        where = self._log.with_name("where")
        script = f"set -eu -o pipefail\n{commands.replace(_ADDRESS, self.url)}\npwd > {where}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=dict(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode == 0:
            self.folder = Path(where.read_text().strip())
        return done

    def _start(self, command: str) -> str:
        with self._log.open("wb") as log:
            self._up = subprocess.Popen(
                command.split(), cwd=self.folder, env=dict(self.environ), stdout=log, stderr=log, start_new_session=True
            )
        up = self._up
        until(lambda: "Ready after" in self.log or up.poll() is not None, "the start", 180)
        return self.log

    @property
    def url(self) -> str:
        """Where the gateway of this reader listens: on a free port, not on the one that pages name."""
        found = re.search(r"Ready after .*?(http://\S+)", self.log)
        return found[1] if found else _ADDRESS


def _differs(output: str, code: int, seen: str | None) -> str:
    if code:
        return f"exit code {code}:\n{output}"
    missing = shown(seen, output) if seen is not None else None
    return f"{missing!r} is not to be seen in:\n{output}" if missing is not None else ""
