"""How tests are shared out among the processes of one run, and in which order (`make test`)."""

from __future__ import annotations

from typing import Any

import pytest

LONGEST = (
    *("chaos", "chaos_buckets", "up", "replay", "dashboard", "channel", "tutorial", "system_documents"),
    *("reload_system", "dashboard_documents", "bucket_trigger", "bucket_semantics", "two_beats", "index_verify"),
    *("index_crash", "pools", "dispatch_loss", "cli", "listen_trigger", "memory_limit", "migrate_system"),
    *("backends_real", "environments", "index_repair", "bucket_guard", "stopping", "gather", "flow_loss"),
)
"""Files that take half a minute and more: they go first, so that none is alone at the end of the run."""

ONE_SYSTEM = (
    *("cli", "cli_commands", "cli_follow", "cli_replay", "cli_tasks", "completion", "doctor", "flower", "soak"),
    *("sources_system", "system_verify"),
)
"""Files that look at the session's own system: one process runs them all, so that not each starts such a system."""


def place(item: pytest.Item) -> tuple[int, int]:
    """By this tests are sorted: the longest files first; what is one unit of work lies side by side."""
    places = {f"test_{name}.py": at for at, name in enumerate(LONGEST)}
    shared = {f"test_{name}.py": at for at, name in enumerate(ONE_SYSTEM, 1)}
    name = item.path.name
    return places.get(f"test_{ONE_SYSTEM[0]}.py" if name in shared else name, len(places)), shared.get(name, 0)


def unit(nodeid: str) -> str:
    """The unit of work a test belongs to, which one process runs: its file, or all files of ONE_SYSTEM."""
    file = nodeid.partition("::")[0]
    name = file.rpartition("/")[2].removeprefix("test_").removesuffix(".py")
    return "the session's own system" if name in ONE_SYSTEM else file


def by_unit(config: pytest.Config, log: Any) -> Any:
    """What hands out such units."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    made = LoadFileScheduling(config, log)
    made._split_scope = unit
    return made
