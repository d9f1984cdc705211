"""Functions that write where they listen: refused at check time as far as it is written down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.checks.deployment_check import check_deployment
from runtime.checks.loops import loops
from runtime.checks.writes import seen
from runtime.config.load import load
from runtime.config.settings import BucketTrigger, Chain, Function, Project, Queue
from runtime.deployment.deployment import load_deployment

IN = BucketTrigger(bucket="pictures", prefix="in/")
ALL = BucketTrigger(bucket="pictures")
JPEG = BucketTrigger(bucket="pictures", suffix=(".jpg", ".png"))


def function(name: str, *triggers: BucketTrigger, writes: tuple[str, ...] = (), **fields: Any) -> Function:
    return Function(name=name, handler=f"{name}.py:{name}", buckets=triggers, writes=writes, **fields)


def found(root: Path, *functions: Function) -> list[str]:
    project = Project(queues={"default": Queue()}, functions={one.name: one for one in functions})
    return [f"{'.'.join(map(str, path))}: {message}" for path, message in loops(project, root)]


@pytest.mark.parametrize(
    ("trigger", "place"),
    [
        (ALL, "pictures"),
        (ALL, "pictures/out/"),
        (IN, "pictures/in/"),
        (IN, "pictures/in/small/"),
        (IN, "pictures"),  # anywhere in the bucket: in/ is not excluded
        (JPEG, "pictures/thumbs/"),
    ],
)
def test_what_is_declared_under_its_own_trigger_is_refused(tmp_path: Path, trigger: BucketTrigger, place: str) -> None:
    [told] = found(tmp_path, function("thumb", trigger, writes=(place,)))
    assert told.startswith("functions.thumb.writes: calls itself for ever: thumb writes to pictures/")
    assert "Write to another bucket, or under a prefix that its trigger does not take." in told


@pytest.mark.parametrize("place", ["thumbs", "pictures/out/", "pictures-small/in/", "pictures/inner/"])
def test_what_is_declared_elsewhere_is_not(tmp_path: Path, place: str) -> None:
    assert not found(tmp_path, function("thumb", IN, writes=(place,)))


def test_a_trigger_on_removals_is_not_called_by_what_is_written(tmp_path: Path) -> None:
    trigger = BucketTrigger(bucket="pictures", events=("removed",))
    assert not found(tmp_path, function("thumb", trigger, writes=("pictures",)))


def test_a_circle_of_several_functions_is_told_once(tmp_path: Path) -> None:
    first = function("first", BucketTrigger(bucket="aaa", prefix="new/"), writes=("bbb/raw/",))
    second = function("second", BucketTrigger(bucket="bbb", prefix="raw/"), writes=("ccc",))
    third = function("third", BucketTrigger(bucket="ccc"), writes=("aaa/new/again/",))
    [told] = found(tmp_path, first, second, third)
    assert told.startswith("functions.first.writes: goes round in a circle, first → second → third → first:")
    assert "third writes to aaa/new/again/, and first has a trigger on aaa/new/" in told
    assert not found(tmp_path, first, second, third.model_copy(update={"writes": ("aaa/done/",)}))


def test_a_circle_through_on_success(tmp_path: Path) -> None:
    first = function("first", IN, on_success=Chain(function="second"))
    [told] = found(tmp_path, first, function("second", writes=("pictures/in/",)))
    assert "first → second → first" in told
    assert not found(tmp_path, first, function("second", writes=("pictures/out/",)))


def test_many_functions_on_one_bucket_take_no_long_time(tmp_path: Path) -> None:
    every = [function(f"f{number}", ALL, writes=("pictures",)) for number in range(40)]
    told = found(tmp_path, *every)
    assert len(told) == 40
    assert all("calls itself" in text for text in told)


HEAD = "from runtime.context import Context, ObjectEvent\n\n"
SIGNATURE = "def thumb(objects: list[ObjectEvent], target: str = 'thumbs', *, context: Context):\n"
LOOP = "    for found in objects:\n"


@pytest.mark.parametrize(
    ("trigger", "code"),
    [
        (ALL, SIGNATURE + "    context.store.put('pictures', 'last.txt', b'')\n"),
        (IN, SIGNATURE + "    context.store.put('pictures', f'in/{len(objects)}.txt', b'')\n"),
        (IN, SIGNATURE + "    context.store.put(bucket='pictures', key='in/' + context.id, data=b'')\n"),
        (IN, SIGNATURE + "    context.store.put_stream('pictures', 'in/big.bin', open('x', 'rb'))\n"),
        (IN, SIGNATURE + "    store = context.store\n    store.put('pictures', 'in/x', b'')\n"),
        (IN, SIGNATURE + "    s = context.store\n    s.put('pictures', 'in/x', b'')\n"),
        (IN, "BUCKET = 'pictures'\n" + SIGNATURE + "    context.store.put(BUCKET, 'in/x', b'')\n"),
        (IN, SIGNATURE + LOOP + "        context.store.put(found.bucket, found.key, b'')\n"),
        (IN, SIGNATURE + LOOP + "        context.store.put(found.bucket, found.key + '.small', b'')\n"),
        (JPEG, SIGNATURE + LOOP + "        context.store.put(found.bucket, f'thumbs/{found.key}', b'')\n"),
        (JPEG, SIGNATURE + LOOP + "        context.store.put(found.bucket, f'thumbs/{found.etag}.png', b'')\n"),
        (JPEG, SIGNATURE + "    context.store.put(objects[0].bucket, 'x.jpg', b'')\n"),
        (IN, SIGNATURE + "    _save(context)\n\ndef _save(context):\n    context.store.put('pictures', 'in/x', b'')\n"),
        (
            IN,
            SIGNATURE
            + "    [_one(found, context) for found in objects]\n\n"
            + "def _one(event: ObjectEvent, context):\n    context.store.put(event.bucket, event.key, b'')\n",
        ),
        (
            BucketTrigger(bucket="pictures", **{"with": {"target": "pictures"}}),
            SIGNATURE + "    context.store.put(target, 'x', b'')\n",
        ),
        (BucketTrigger(bucket="thumbs"), SIGNATURE + "    context.store.put(target, 'x', b'')\n"),
        (
            BucketTrigger(bucket="pictures", content_type=("image/*",)),
            SIGNATURE + "    context.store.put('pictures', 'x', b'', content_type='image/webp')\n",
        ),
        (
            BucketTrigger(bucket="pictures", glob=("**/*.webp",)),
            SIGNATURE + LOOP + "        context.store.put(found.bucket, f'thumbs/{found.key}.webp', b'')\n",
        ),
        (
            BucketTrigger(bucket="pictures", min_size=1),
            SIGNATURE + "    context.store.put('pictures', 'x', b'')\n",
        ),
    ],
)
def test_what_the_source_says_is_refused(tmp_path: Path, trigger: BucketTrigger, code: str) -> None:
    (tmp_path / "thumb.py").write_text(HEAD + code)
    [told] = found(tmp_path, function("thumb", trigger))
    assert told.startswith("functions.thumb.handler: calls itself for ever: thumb writes to")
    assert "(thumb.py:" in told


@pytest.mark.parametrize(
    ("trigger", "code"),
    [
        (IN, SIGNATURE + "    context.store.put('pictures', 'out/x', b'')\n"),
        (IN, SIGNATURE + "    context.store.put('pictures', context.id, b'')\n"),  # nobody knows
        (IN, SIGNATURE + "    context.store.put(context.store.bucket, 'in/x', b'')\n"),
        (JPEG, SIGNATURE + LOOP + "        context.store.put(found.bucket, found.key + '.webp', b'')\n"),
        (ALL, SIGNATURE + "    context.store.put(target, 'x', b'')\n"),
        (ALL, SIGNATURE + "    context.cache.put('pictures', 'x', b'')\n"),
        (ALL, SIGNATURE + "    context.store.get('pictures', 'x')\n"),
        (ALL, SIGNATURE + "    pass\n\ndef other(context):\n    context.store.put('pictures', 'x', b'')\n"),
        (
            BucketTrigger(bucket="thumbs"),
            SIGNATURE + "    target = context.id\n    context.store.put(target, 'x', b'')\n",
        ),
        (
            BucketTrigger(bucket="pictures", content_type=("image/*",)),
            SIGNATURE + "    context.store.put('pictures', 'x', b'', content_type='text/plain')\n",
        ),
        (
            BucketTrigger(bucket="pictures", glob=("*.jpg",)),
            SIGNATURE + "    context.store.put('pictures', 'small/x.jpg', b'')\n",
        ),
        (ALL, "def thumb(:\n"),
        (ALL, SIGNATURE + "    text = 'a'\n    text = text + text\n    context.store.put(text, text, b'')\n"),
        (ALL, SIGNATURE + "    loop = loop + loop\n    context.store.put(loop, loop, b'')\n"),
    ],
)
def test_what_is_written_elsewhere_or_cannot_be_told_is_not(tmp_path: Path, trigger: BucketTrigger, code: str) -> None:
    (tmp_path / "thumb.py").write_text(HEAD + code)
    assert not found(tmp_path, function("thumb", trigger))


def test_a_circle_that_only_the_sources_tell(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def one(objects, context):\n    context.store.put('bbb', 'x.csv', b'')\n")
    (tmp_path / "two.py").write_text("def two(objects, context):\n    context.store.put('aaa', 'in/y', b'')\n")
    one = function("one", BucketTrigger(bucket="aaa", prefix="in/"))
    two = function("two", BucketTrigger(bucket="bbb", suffix=(".csv",)))
    [told] = found(tmp_path, one, two)
    assert "one writes to bbb/x.csv (one.py:2), and two has a trigger on bbb/" in told


def test_the_source_of_installed_code_is_found(tmp_path: Path) -> None:
    shipped = Function(name="thumb", handler="functions.thumbnail:thumbnail", buckets=(JPEG,))
    assert [str(write) for write in seen(shipped, tmp_path)] == [
        "pictures/thumbnails/….jpg.webp",
        "pictures/thumbnails/….png.webp",
    ]
    gone = Function(name="thumb", handler="no.such.module:thumbnail", buckets=(ALL,))
    assert not seen(gone, tmp_path)


def test_check_refuses_it_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "def copy(objects: list, *, context) -> None:\n    context.store.put('shop', 'in/x', b'')\n"
    )
    file = tmp_path / "functions.yaml"
    file.write_text(
        "version: 1\nfunctions:\n"
        "  copy: {handler: shop.py:copy, triggers: [{bucket: shop, prefix: in/}]}\n"
        "  told:\n    handler: shop.py:copy\n    writes: other/in/\n    triggers: [{bucket: other, prefix: in/}]\n"
    )
    loaded = load(os.environ, file=file)
    problems = check_deployment(load_deployment(loaded.settings, os.environ), loaded.sources)
    assert [(one.path, one.line) for one in problems] == [("functions.copy.handler", 3), ("functions.told.writes", 6)]
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "check", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1
    assert "functions.yaml:6: functions.told.writes: calls itself for ever" in done.stderr


@pytest.mark.parametrize("place", ["s3://shop/in/", "/shop/in/", "Shop", "shop//in", ""])
def test_a_place_that_is_none_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "shop.py").write_text("def copy(objects: list) -> None: ...\n")
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nfunctions:\n  copy:\n    handler: shop.py:copy\n    writes: [shop/out/, {place!r}]\n")
    loaded = load(os.environ, file=file)
    [problem] = check_deployment(load_deployment(loaded.settings, os.environ), loaded.sources)
    assert (problem.path, problem.line) == ("functions.copy.writes", 5)
    assert "write BUCKET or BUCKET/PREFIX" in problem.message
