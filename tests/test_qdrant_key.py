"""The key of a Qdrant: what is wrong with it is told before it is used, and never the key itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.load import load_settings
from runtime.errors import ConfigError

FILE = """
version: 1
functions: {{f: {{handler: shop.py:sell}}}}
indexes: {{archive: {{engine: qdrant, url: 'http://h', {more}}}}}
"""


def problems(folder: Path, more: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    (folder / "shop.py").write_text("def sell(): ...\n")
    file = folder / "functions.yaml"
    file.write_text(FILE.format(more=more))
    try:
        load_settings(environ or {}, file=file)
    except ConfigError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize("value", ["8675309", "[8675309]", "{a: 8675309}"], ids=["number", "list", "mapping"])
def test_a_key_that_is_no_text(tmp_path: Path, value: str) -> None:
    """YAML takes a key of digits for a number."""
    found = problems(tmp_path, f"api_key: {value}")
    assert found == {"indexes.archive.api_key": "must be a valid string"}


@pytest.mark.parametrize("value", ["8675309\n", " 8675309", "8675\x00309", "86753ö9"])
def test_a_key_that_no_header_can_hold(tmp_path: Path, value: str) -> None:
    found = problems(tmp_path, "api_key: '${QDRANT_API_KEY}'", {"QDRANT_API_KEY": value})
    assert "plain letters" in found["indexes.archive.api_key"] and "8675" not in str(found)


def test_every_key_of_qdrant_needs_its_address(tmp_path: Path) -> None:
    text = "indexes: {archive: {timeout: 5s, api_key: word, on_disk: true}}"
    (tmp_path / "shop.py").write_text("def sell(): ...\n")
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nfunctions: {{f: {{handler: shop.py:sell}}}}\n{text}\n")
    with pytest.raises(ConfigError) as found:
        load_settings({}, file=file)
    assert {one.path.rpartition(".")[2] for one in found.value.problems} == {"timeout", "api_key", "on_disk"}
