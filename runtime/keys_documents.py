"""Names in Redis of what is kept of buckets and indexes; runtime/keys.py has the table of all names, and these too."""

from __future__ import annotations

PREFIX = "tundish:"


def source(bucket: str) -> str:
    return f"{PREFIX}source:{bucket}"


def ledger(trigger: str, bucket: str) -> str:
    return f"{PREFIX}ledger:{trigger}:{bucket}"


def flight(trigger: str, bucket: str) -> str:
    return f"{PREFIX}flight:{trigger}:{bucket}"


def hold(trigger: str, bucket: str) -> str:
    return f"{PREFIX}hold:{trigger}:{bucket}"


def budget(trigger: str, bucket: str) -> str:
    return f"{PREFIX}budget:{trigger}:{bucket}"


def lost(trigger: str, bucket: str) -> str:
    return f"{PREFIX}lost:{trigger}:{bucket}"


def listing(trigger: str, bucket: str) -> str:
    return f"{PREFIX}listing:{trigger}:{bucket}"


def replay(replay_id: str) -> str:
    return f"{PREFIX}replay:{replay_id}"


def replay_job(replay_id: str, trigger: str) -> str:
    return f"{PREFIX}replay:{replay_id}:{trigger}"


def replay_open(replay_id: str, trigger: str) -> str:
    return f"{PREFIX}replay:{replay_id}:{trigger}:open"


def replays(trigger: str) -> str:
    return f"{PREFIX}replays:{trigger}"


def index_seq(index: str) -> str:
    return f"{PREFIX}index:{index}:seq"


def index_epoch(index: str) -> str:
    return f"{PREFIX}index:{index}:epoch"


def index_texts(index: str) -> str:
    return f"{PREFIX}index:{index}:texts"


def index_build(index: str) -> str:
    return f"{PREFIX}index:{index}:build"


def index_removal(index: str) -> str:
    return f"{PREFIX}index:{index}:removal"


def index_migration(index: str) -> str:
    return f"{PREFIX}index:{index}:migration"


def index_compact(index: str) -> str:
    return f"{PREFIX}index:{index}:compact"


def index_compact_asked(index: str) -> str:
    return f"{PREFIX}index:{index}:compact_asked"
