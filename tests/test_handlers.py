"""Handlers: loaded by file under names of their own, described in a child, validated by their hints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from runtime.attempts.encode import encode_result
from runtime.checks.deployment_check import check_deployment
from runtime.config.load import load_settings
from runtime.deployment.deployment import load_deployment
from runtime.deployment.loader import load_handler
from runtime.deployment.signature import Signature
from runtime.errors import HandlerError, InvalidArguments


def test_two_files_of_one_name_do_not_collide(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_help.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "json.py").write_text("from ._help import NAME\ndef tell(): return NAME\n")
    assert load_handler("one/json.py:tell", tmp_path)() == "one"
    assert load_handler("two/json.py:tell", tmp_path)() == "two"
    assert "json" in sys.modules
    assert sys.modules["json"].__file__ != str(tmp_path / "two" / "json.py")


def test_a_functions_folder_of_ones_own_works_beside_the_installed_package(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "shop.py").write_text("from functions.prices import PRICE\ndef sell(): return PRICE\n")
    (tmp_path / "functions" / "prices.py").write_text("PRICE = 5\n")
    (tmp_path / "functions.yaml").write_text(
        "version: 1\nfunctions:\n"
        "  sell: {handler: functions/shop.py:sell}\n"
        "  stats: {handler: 'functions.stats:stats'}\n"
    )
    deployment = load_deployment(load_settings({}, file=tmp_path / "functions.yaml"), os.environ)
    assert {name: found.error for name, found in deployment.functions.items()} == {"sell": None, "stats": None}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def sell(:\n", r"shop\.py:1: invalid syntax"),
        ("\nimport nothing_like_it\n", r"shop\.py:2: ModuleNotFoundError"),
        ("def sel(): ...\n", "has no function sell, did you mean sel?"),
        ("sell = 3\n", "sell in shop.py is a int, not a function"),
        ("raise SystemExit(3)\n", r"shop\.py:1: SystemExit"),
    ],
)
def test_what_cannot_be_loaded_says_where_and_why(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "shop.py").write_text(code)
    with pytest.raises(HandlerError, match=message.replace("?", r"\?")):
        load_handler("shop.py:sell", tmp_path)


def typed(a: int, b: list[str] | None = None, *, flag: bool = False, context: object = None) -> dict[str, int]:
    return {"a": a}


def test_schema_and_validation_agree() -> None:
    signature = Signature(typed)
    schema = signature.schema()
    assert schema["required"] == ["a"]
    assert set(schema["properties"]) == {"a", "b", "flag"}
    assert schema["properties"]["flag"]["default"] is False
    good, bad = {"a": 1, "b": ["x"]}, {"a": "one", "b": 3, "more": 1}
    assert jsonschema_rs.is_valid(schema, good)
    assert signature.validate(good) == good
    assert not jsonschema_rs.is_valid(schema, bad)
    with pytest.raises(InvalidArguments) as caught:
        signature.validate(bad)
    assert {error.field for error in caught.value.errors} >= {"a", "more"}


def test_what_cannot_be_called_by_name_is_refused() -> None:
    def positional(a: int, /) -> None: ...
    def strange(a: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(HandlerError, match="positional-only"):
        Signature(positional)
    with pytest.raises(HandlerError, match="Missing"):
        Signature(strange)


def test_results_of_every_plain_kind() -> None:
    import numpy as np

    assert encode_result({"a": np.arange(3), "b": float("nan"), "c": {1}}) == b'{"a":[0,1,2],"b":null,"c":[1]}'
    with pytest.raises(TypeError, match="JSON cannot hold"):
        encode_result(object())


def test_check_holds_the_file_against_the_functions(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def sell(article: str): ...\ndef watch(index: int): ...\n")
    (tmp_path / "functions.yaml").write_text(
        "version: 1\nfunctions:\n"
        "  sell: {handler: shop.py:sell, triggers: [{cron: '* * * * *', with: {artikel: x}}]}\n"
        "  watch: {handler: shop.py:watch, triggers: [{bucket: documents}]}\n"
        "  gone: {handler: shop.py:gone}\n"
    )
    deployment = load_deployment(load_settings({}, file=tmp_path / "functions.yaml"), os.environ)
    found = check_deployment(deployment, {("functions", "watch"): "functions.yaml:4"})
    texts = [str(problem) for problem in found]
    assert any("functions.sell.triggers" in text and "artikel" in text for text in texts)
    assert any(text.startswith("functions.yaml:4: functions.watch.triggers") and "objects" in text for text in texts)
    assert any("functions.gone.handler" in text and "did you mean" not in text for text in texts)
