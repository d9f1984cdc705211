"""What docs/bucket-functions.md shows is what runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runtime.checks.deployment_check import check_deployment
from runtime.config.load import load
from runtime.context import ObjectEvent
from runtime.deployment.deployment import load_deployment
from runtime.testing import fake_context

PAGE = (Path(__file__).parent.parent / "docs" / "bucket-functions.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_examples_pass_the_check(text: str, tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(text)
    loaded = load(os.environ, file=file)
    assert not check_deployment(load_deployment(loaded.settings, os.environ), loaded.sources)
    # Watching what it writes itself, each of them would be refused.
    file.write_text(re.sub(r"        prefix: \w+/\n", "", text))
    loaded = load(os.environ, file=file)
    problems = check_deployment(load_deployment(loaded.settings, os.environ), loaded.sources)
    assert ["calls itself for ever" in problem.message for problem in problems] == [True]


def test_the_first_function_works() -> None:
    names: dict[str, object] = {}
    exec(blocks("python")[0], names)  # noqa: S102
    context = fake_context()
    context.store.put("b", "a.txt", b"three short words")
    objects = [ObjectEvent("b", "a.txt"), ObjectEvent("b", "gone", "removed")]
    assert names["count_words"](objects, context=context) == {"a.txt": 3}  # type: ignore[operator]


@pytest.mark.parametrize("name", list(ObjectEvent.__dataclass_fields__))
def test_every_field_of_an_object_is_documented(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`.* \|", PAGE, re.MULTILINE)
