"""MinIO's webhook, and everything else that posts S3 event records (Silo, RustFS, SNS-style bridges).

`{"EventName", "Key", "Records": [{"eventName", "s3": {"bucket": {"name"}, "object": {"key"}}}]}`; the key in a
record is query-escaped (a space is `+`), the one beside `EventName` is not and is not read.
"""

from __future__ import annotations

import json
from urllib.parse import unquote_plus

from triggers.sources.base import Hint


def parse(body: bytes) -> list[Hint]:
    hints = []
    for record in json.loads(body)["Records"] or []:
        # Reading an object is no change, and a function that reads its object would wake itself for ever.
        if "ObjectAccessed" in record.get("eventName", ""):
            continue
        place = record["s3"]
        hints.append(Hint(place["bucket"]["name"], unquote_plus(place["object"]["key"])))
    return hints
