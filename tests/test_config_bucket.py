"""Values of a bucket trigger, and names of functions, with which nothing could ever run: refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.load import load_settings
from runtime.errors import ConfigError

BASE = "version: 1\nfunctions:\n  take:\n    handler: shop.py:take\n    triggers:\n      - {bucket: shop, %s}\n"


def found(folder: Path, text: str) -> dict[str, str]:
    """Path → message of everything that is wrong with a file."""
    (folder / "shop.py").write_text("def take(objects: list): ...\n")
    file = folder / "functions.yaml"
    file.write_text(text)
    try:
        load_settings({}, file=file)
    except ConfigError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize(
    ("written", "key", "message"),
    [
        ('glob: "[a"', "glob", "'[a' has a '[' without its ']'"),
        ("glob: ['a/[b/c]']", "glob", "has a '[' without its ']'"),
        ('glob: ""', "glob", "'' fits no key"),
        ('glob: "{a,b"', "glob", "'{a,b' has a '{' without its '}'"),
        ('glob: "a,b}"', "glob", "'a,b}' has a '}' without its '{'"),
        ('glob: "/a/*"', "glob", "'/a/*' begins with a slash"),
        ('glob: ["*.txt", "a//*"]', "glob", "'a//*' holds '//'"),
        ('glob: "../*"', "glob", "'../*' has a '.' or '..' segment"),
        ('glob: "photos/"', "glob", "'photos/' ends with a slash"),
        ("glob: ['{1..9999999}']", "glob", "cannot be used as a pattern"),
        ("glob: []", "glob", "is an empty list"),
        ("suffix: []", "suffix", "is an empty list"),
        ("content_type: []", "content_type", "is an empty list"),
        ('suffix: [""]', "suffix", "'' is the end of every key"),
        ('suffix: ["/"]', "suffix", "'/' ends with a slash"),
        ("events: []", "events", "is empty: nothing would ever call the function"),
        ("rescan: 0", "rescan", "is shorter than 100ms"),
        ("rescan: 99ms", "rescan", "is shorter than 100ms"),
        ("batch: {max_bytes: 0}", "batch.max_bytes", "is no room for any object"),
        ("prefix: /a", "prefix", "'/a' begins with a slash"),
        ("prefix: a//b", "prefix", "'a//b' holds '//'"),
        ("prefix: ../a", "prefix", "'../a' has a '.' or '..' segment"),
        ("prefix: a/..", "prefix", "'a/..' has a '.' or '..' segment"),
        ("prefix: ./a", "prefix", "'./a' has a '.' or '..' segment"),
        ("with: {objects: []}", "with.objects", "the trigger itself says which objects there are"),
        ("index: notes, with: {index: x}", "with.index", "the trigger has index: notes"),
        ("source: {kind: minio_redis, url: 'http://me:hush@a:1'}", "source.url", "is no URL of a Redis server"),
        ("source: {kind: minio_redis, url: 'redis://me:hush@a:port'}", "source.url", "is no URL of a Redis server"),
        ("source: {kind: minio_redis, key: ''}", "source.key", "is empty"),
        ("source: {kind: poll, key: x}", "source", "url and key belong to kind: minio_redis"),
    ],
)
def test_a_value_that_can_never_work_is_refused(tmp_path: Path, written: str, key: str, message: str) -> None:
    told = found(tmp_path, BASE % written)
    assert list(told) == [f"functions.take.triggers[0].{key}"]
    assert message in told[f"functions.take.triggers[0].{key}"]
    assert "hush" not in str(told), "the URL may hold a password"


@pytest.mark.parametrize(
    "written",
    [
        r"glob: ['\[a', '[]a]', '[!]]', '[{]x', '{a,{b,c}}/**', '\{', 'a\}', 'a]', '.*/x']",
        "prefix: a..b/.c",
        "prefix: 'in/'",
        "suffix: .txt",
        "events: removed",
        "rescan: 100ms",
        "max_size: 0",
        "with: {index: x, Records: []}",
        "source: {kind: minio_redis, url: 'rediss://me:hush@a:1/2', key: x}",
        "source: {kind: minio_redis, url: ''}",
    ],
)
def test_a_value_that_works_is_not(tmp_path: Path, written: str) -> None:
    assert found(tmp_path, BASE % written) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("192.168.5.4", "192.168.5.4 is an IP address, which S3 refuses"),
        ("a..b", "a..b holds '..', which S3 refuses"),
        ("a.-b", "a.-b holds '.-', which S3 refuses"),
        ("tundish", "is where Tundish keeps its own objects"),
        ("Shop", "'Shop' is not allowed here"),
        ("7", "must be a valid string"),
    ],
)
def test_a_bucket_that_cannot_be_is_told_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    told = found(tmp_path, BASE.replace("shop, %s", f"{name}, events: []"))
    assert list(told) == ["functions.take.triggers[0].bucket", "functions.take.triggers[0].events"]
    assert message in told["functions.take.triggers[0].bucket"]


@pytest.mark.parametrize("trigger", ["cron: 7", "every: x", "http: 5"])
def test_a_trigger_whose_key_is_wrong_still_is_a_trigger(tmp_path: Path, trigger: str) -> None:
    told = found(tmp_path, BASE.replace("bucket: shop, %s", trigger))
    assert list(told) == [f"functions.take.triggers[0].{trigger.partition(':')[0]}"]


def test_a_list_is_called_a_list_and_the_rest_is_checked_with_it(tmp_path: Path) -> None:
    told = found(tmp_path, BASE % "events: [x, y], rescan: 0" + "    writes: 7\n")
    assert told == {
        "functions.take.writes": "must be a list like [a, b], found 7",
        "functions.take.triggers[0].events[0]": "must be 'created' or 'removed', found 'x'",
        "functions.take.triggers[0].events[1]": "must be 'created' or 'removed', found 'y'",
        "functions.take.triggers[0].rescan": told["functions.take.triggers[0].rescan"],
    }
