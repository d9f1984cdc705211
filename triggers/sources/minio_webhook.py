"""MinIO's webhook, and everything else that posts S3 event records (Silo, RustFS, SNS-style bridges).

`{"EventName", "Key", "Records": […]}`; the key in a record is query-escaped, the one beside `EventName` is not and
is not read.
"""

from __future__ import annotations

from triggers.sources import s3_records
from triggers.sources.base import Hint
from triggers.sources.reading import document, take


def parse(body: bytes) -> list[Hint]:
    told = document(body)
    if isinstance(told, dict) and "Records" not in told and told.get("Event") == "s3:TestEvent":
        return []  # S3 says that the wiring works
    return s3_records.hints(take(told, "Records"), escaped=True)
