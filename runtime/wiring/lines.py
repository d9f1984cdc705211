"""The exact lines to add by hand, for servers that cannot be wired through an API, and for those who prefer it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from shlex import quote
from urllib.parse import urlsplit

from runtime.wiring.rules import EVENTS
from runtime.wiring.target import Target

Buckets = Mapping[str, list[str]]
"""Bucket → prefixes to watch (`[""]`: all of it)."""


def seaweedfs(gateway: str, token: str, buckets: Iterable[str]) -> list[str]:
    """`notification.toml` of SeaweedFS. JSON strings are valid in TOML.

    Buckets are told of whole: what is renamed into a prefix goes by its old name.
    """
    paths = [f"/buckets/{bucket}/" for bucket in buckets]
    return [
        "# notification.toml, in the folder that `weed -config_dir=DIR` names, in ~/.seaweedfs or in /etc/seaweedfs.",
        "# The store that `tundish up` starts has these lines already. Of all sections only one may be enabled.",
        "# Start the filer (or `weed mini`, `weed server`) again after it.",
        "[notification.webhook]",
        "enabled = true",
        f"endpoint = {json.dumps(f'{gateway}/events/seaweedfs')}",
        f"bearer_token = {json.dumps(token)}",
        f"path_prefixes = {json.dumps(paths)}",
    ]


def s3(gateway: str, buckets: Iterable[str]) -> list[str]:
    """What is possible with an S3 that calls nobody: listing, or a bridge that posts its records."""
    return [
        f"# This S3 calls no webhook. Tundish lists {', '.join(buckets)} instead, every 5 s. In functions.yaml:",
        "source: poll",
        "rescan: 5s",
        "# To be woken at once, let a bridge (SNS, EventBridge, a function) post its event records, unchanged, to",
        f"# {gateway}/events/minio with the header `Authorization: Bearer TOKEN` and the token that",
        "# `tundish env` prints as TUNDISH_EVENT_TOKEN.",
    ]


def minio(target: Target, arn: str, buckets: Buckets) -> list[str]:
    """Variables of MinIO or Silo, and the commands of `mc` for the buckets."""
    places = [(bucket, prefix) for bucket, wanted in buckets.items() for prefix in wanted]
    return [
        "# The server's environment; start it again after it:",
        *target.environment(),
        "# Then, once for each bucket (ALIAS is your name for the server in `mc`):",
        *(
            f"mc event add ALIAS/{bucket} {arn} --event put,delete" + (f" --prefix {quote(prefix)}" if prefix else "")
            for bucket, prefix in places
        ),
    ]


def rustfs(target: Target, arn: str, buckets: Buckets) -> list[str]:
    """Variables of RustFS, which calls only what it is allowed to, and the configuration of each bucket."""
    parts = urlsplit(target.place)
    return [
        "# The server's environment; start it again after it:",
        'RUSTFS_NOTIFY_ENABLE="true"',
        *target.environment("RUSTFS"),
        f'RUSTFS_OUTBOUND_ALLOW_ORIGINS="{parts.scheme}://{parts.netloc}"',
        "# Then run this command again: it adds its rules to the buckets. By hand (this replaces their rules):",
        *(
            f"aws s3api put-bucket-notification-configuration --bucket {bucket} --notification-configuration "
            + quote(json.dumps(_configuration(arn, wanted)))
            for bucket, wanted in buckets.items()
        ),
    ]


def _configuration(arn: str, wanted: Iterable[str]) -> object:
    rules = []
    for prefix in wanted:
        rule: dict[str, object] = {"QueueArn": arn, "Events": list(EVENTS)}
        if prefix:
            rule["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        rules.append(rule)
    return {"QueueConfigurations": rules}
