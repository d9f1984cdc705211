"""Every kind of file gives its text, or one sentence that names the file, the cause and the mend."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import _extractor
from functions._extractor import Extractor, Unreadable
from functions._kinds import suffix_of
from functions._text import read_text
from runtime.errors import BadInput
from tests import documents


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    extractor = Extractor()
    yield extractor
    extractor.close()


GERMAN = "Größe und Maß: Überfälle in Köln.\nZweite Zeile für Jürgen, 10 € das Stück.\n"
CHAOS = random.Random(7).randbytes(20_000)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"],
)
def test_text_in_every_usual_encoding(extractor: Extractor, encoding: str) -> None:
    assert read_text("a b/größe+1.txt", GERMAN.encode(encoding), extractor).text == GERMAN


def test_latin_1_is_read_as_its_superset(extractor: Extractor) -> None:
    assert read_text("x.md", "# Größe\n".encode("latin-1"), extractor).text == "# Größe\n"


def test_text_keeps_its_lines(extractor: Extractor) -> None:
    assert read_text("x.txt", b"a\r\nb\tc\x0cd", extractor).text == "a\r\nb\tc\x0cd"


def test_pdf(extractor: Extractor) -> None:
    found = read_text("x.pdf", documents.pdf("First page.\nSecond line.", "Mountains."), extractor)
    assert found.kind == "pdf"
    assert found.text.split("\n") == ["First page.", "Second line.", "", "Mountains."]
    assert found.title == ""


def test_docx(extractor: Extractor) -> None:
    found = read_text("x.docx", documents.word("Erster über Flüsse.", "under_score * star", heading="Titel"), extractor)
    assert found.text.split() == ["#", "Titel", "Erster", "über", "Flüsse.", "under_score", "*", "star"]


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16"])
def test_html(extractor: Extractor, encoding: str) -> None:
    page = (
        f"<html><head><meta charset='{encoding}'><title>Über &amp; uns</title><style>p{{color:red}}</style>"
        "<script>var secret=1</script></head><body><h1>Größe</h1><p>Ein <a href='https://example.com/long'>Wort</a>"
        " &amp; mehr.</p><img src='data:image/png;base64,AAAA'></body></html>"
    )
    found = read_text("x.html", page.encode(encoding), extractor)
    assert found.title == "Über & uns"
    assert found.text.split("\n\n") == ["# Größe", "Ein Wort & mehr.\n"]


def test_content_decides_before_the_suffix(extractor: Extractor) -> None:
    assert read_text("x.txt", documents.pdf("Really a PDF."), extractor).text.strip() == "Really a PDF."
    assert read_text("x.pdf", documents.word("Really Word."), extractor).text.strip() == "Really Word."


BAD = {
    "empty.txt": (b"", "is empty"),
    "empty.pdf": (b"", "is empty"),
    "blank.txt": (b" \n\t ", "no text in it"),
    "junk.txt": (CHAOS, "not text: it holds binary data"),
    "junk.html": (CHAOS, "not text: it holds binary data"),
    "half.txt": (b"\xff\xfea", "it is damaged. Save it again as UTF-8"),
    "random.pdf": (CHAOS, "is not a PDF file, although its name says so"),
    "header.pdf": (b"%PDF-1.7\n" + CHAOS, "cannot be read as PDF"),
    "text.pdf": (b"just text", "is not a PDF file"),
    "locked.pdf": (documents.pdf("secret", password="geheim"), "protected by a password"),
    "scan.pdf": (documents.pdf(""), "Scanned pages need OCR"),
    "cut.pdf": (documents.pdf("one", "two")[:700], "damaged"),
    "cut.docx": (documents.word("text")[:9000], "is not a DOCX file"),
    "junk.docx": (CHAOS, "is not a DOCX file"),
    "old.docx": (bytes.fromhex("d0cf11e0a1b11ae1") + CHAOS, "Office 97 or protected"),
    "bomb.docx": (b"", "like a zip bomb"),  # made when it is needed
    "empty.html": (b"<html><body></body></html>", "no text in it"),
    "photo.jpg": (CHAOS, "is not an image, although its name says so"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_sentence(extractor: Extractor, name: str) -> None:
    data, reason = BAD[name]
    data = documents.bomb(300) if name == "bomb.docx" else data
    with pytest.raises(BadInput) as caught:
        read_text(f"folder/{name}", data, extractor)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"folder/{name}")
    assert "\n" not in str(caught.value)
    assert read_text("good.pdf", documents.pdf("Still here."), extractor).text.strip() == "Still here."


@given(st.text(alphabet="aB./ \n", max_size=9))
def test_the_suffix_is_that_of_the_path(key: str) -> None:
    assert suffix_of(key) == PurePosixPath(key).suffix.lower()


def test_one_child_reads_many_documents(extractor: Extractor) -> None:
    read_text("a.pdf", documents.pdf("one"), extractor)
    first = extractor.pid
    read_text("b.pdf", documents.pdf("two"), extractor)
    assert extractor.pid == first is not None


def test_a_child_that_holds_much_memory_is_replaced(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one document took must not be missing for the next one."""
    read_text("a.pdf", documents.pdf("one"), extractor)
    assert extractor.pid
    monkeypatch.setattr(_extractor, "_KEPT", 2**20)
    assert read_text("b.pdf", documents.pdf("two"), extractor).text.strip() == "two"
    assert extractor.pid is None
    assert read_text("c.pdf", documents.pdf("three"), extractor).text.strip() == "three"


def test_a_child_killed_between_documents_is_replaced(extractor: Extractor) -> None:
    read_text("a.pdf", documents.pdf("one"), extractor)
    assert extractor.pid
    os.kill(extractor.pid, signal.SIGKILL)
    os.waitid(os.P_PID, extractor.pid, os.WEXITED | os.WNOWAIT)
    assert read_text("b.pdf", documents.pdf("two"), extractor).text.strip() == "two"


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> Iterator[Extractor]:
    """An extractor whose child takes a request and never answers; given memory, it eats it."""
    child = f"{tmp_path}/child.py"
    with open(child, "w") as file:  # noqa: PTH123
        file.write(
            "import sys, socket, time\n"
            f"sys.path.insert(0, {str(_extractor._CHILD.parent)!r})\n"
            "import _extract_child as real\n"
            "async def extract(data, kind, limits):\n"
            "    if data == b'loop':\n"
            "        while True: pass\n"
            "    if data == b'eat':\n"
            "        return {'text': str(len(bytearray(1 << 40)))}\n"
            "    if data == b'crash':\n"
            "        import ctypes; ctypes.string_at(0)\n"
            "    time.sleep(600)\n"
            "real.extract = extract\n"
            "real.main()\n"
        )
    monkeypatch.setattr(_extractor, "_CHILD", child)
    extractor = Extractor()
    yield extractor
    extractor.close()


def test_a_document_that_takes_too_long(sleeper: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_extractor, "_START_SECONDS", 1.0)
    with pytest.raises(Unreadable, match="longer than 1 s") as caught:
        sleeper.extract(b"sleep", "pdf", timeout=1)
    assert caught.value.passing
    assert sleeper.pid is None


def test_a_document_that_loops(sleeper: Extractor) -> None:
    with pytest.raises(Unreadable, match="processor time") as caught:
        sleeper.extract(b"loop", "pdf", timeout=1)
    assert caught.value.passing


def test_a_document_that_eats_memory(sleeper: Extractor) -> None:
    with pytest.raises(Unreadable, match="1024 MiB of memory") as caught:
        sleeper.extract(b"eat", "pdf", timeout=20)
    assert not caught.value.passing


def test_a_document_that_crashes_the_parser(sleeper: Extractor) -> None:
    with pytest.raises(Unreadable, match="SIGSEGV"):
        sleeper.extract(b"crash", "pdf", timeout=20)


def test_a_child_killed_in_mid_work(sleeper: Extractor) -> None:
    def kill() -> None:
        while sleeper.pid is None:
            time.sleep(0.01)
        os.kill(sleeper.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Unreadable, match="stopped while it worked") as caught:
        sleeper.extract(b"sleep", "pdf", timeout=60)
    killer.join()
    assert caught.value.passing


PARENT = """
import sys, os
from functions._extractor import Extractor
from tests import documents
extractor = Extractor()
extractor.extract(documents.pdf("x"), "pdf", timeout=20)
if sys.argv[1] == "fork":
    if os.fork() == 0:  # a copy that lives on must not keep the child alive
        os.close(1)
        import signal; signal.pause()
print(extractor.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["plain", "fork"])
def test_the_child_dies_with_its_parent(mode: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        deadline = time.monotonic() + 20
        while _alive(child):
            assert time.monotonic() < deadline, "the child outlived its parent"
            time.sleep(0.02)
    finally:
        if mode == "fork":
            os.killpg(parent.pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its new parent to notice does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()[:1] not in ("", "Z")


def test_a_daemonic_process_has_its_own_extractor() -> None:
    """As in a worker's pool: multiprocessing forbids daemons children, and a fork must not share the original's."""
    code = (
        "import multiprocessing as mp, os\n"
        "from functions._extractor import of_this_process\n"
        "from tests import documents\n"
        "ask = lambda: of_this_process().extract(documents.pdf('x'), 'pdf', timeout=20).text.strip()\n"
        "def work(queue): queue.put((ask(), of_this_process().pid)); of_this_process().close()\n"
        "mine = (ask(), of_this_process().pid)\n"
        "context = mp.get_context('fork'); queue = context.Queue()\n"
        "process = context.Process(target=work, args=(queue,), daemon=True); process.start()\n"
        "theirs = queue.get(timeout=30); process.join()\n"
        "assert mine[0] == theirs[0] == 'x' and mine[1] != theirs[1]\n"
        "assert (ask(), of_this_process().pid) == mine\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
