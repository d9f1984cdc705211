"""Fixtures for the tests of a project; pytest loads them wherever Tundish is installed.

Nothing of Tundish is imported before a test asks for one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.context import Context
    from runtime.testing import System


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("tundish_file", "functions.yaml of the system that tundish_system runs", default="functions.yaml")


@pytest.fixture
def tundish_context() -> Context:
    """A context with ports in memory, new for each test."""
    from runtime.testing import fake_context

    return fake_context()


@pytest.fixture(scope="session")
def tundish_system(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The project's own functions.yaml, really running: broker, store, gateway, triggers and workers of its own.

    It is started for the first test that asks for it, and stops after the last one.
    """
    from runtime.testing import running_system

    file = pytestconfig.rootpath / str(pytestconfig.getini("tundish_file"))
    with running_system(file, tmp_path_factory.mktemp("tundish"), os.environ) as system:
        yield system
