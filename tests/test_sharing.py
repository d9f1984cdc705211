"""How tests are shared out among processes."""

from __future__ import annotations

import ast
from pathlib import Path

from tests import sharing


def test_the_files_that_look_at_the_session_s_own_system_are_known() -> None:
    found = [path.stem.removeprefix("test_") for path in sorted(Path(__file__).parent.glob("test_*.py")) if looks(path)]
    assert sorted(sharing.ONE_SYSTEM) == found


def looks(path: Path) -> bool:
    """Whether a test or a fixture of this file asks for `system`, and the file has none of its own."""
    functions = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)]
    asking = [each for each in functions if each.name.startswith("test_") or "fixture" in decorators(each)]
    own = any(each.name == "system" for each in asking)
    return not own and any(one.arg == "system" for each in asking for one in each.args.args)


def decorators(function: ast.FunctionDef) -> str:
    return " ".join(map(ast.unparse, function.decorator_list))


def test_they_are_one_unit_and_every_other_file_is_one() -> None:
    units = {sharing.unit(f"tests/test_{name}.py::test_it[a::b/test_cli.py]") for name in sharing.ONE_SYSTEM}
    assert len(units) == 1
    assert sharing.unit("tests/test_up.py::test_it[a::b/test_cli.py]") == "tests/test_up.py"
    assert sharing.unit("tests/test_cli_words.py::test_it") == "tests/test_cli_words.py"


def test_what_goes_first_is_there() -> None:
    here = Path(__file__).parent
    assert [name for name in sharing.LONGEST if not (here / f"test_{name}.py").is_file()] == []
