"""A bucket's notification configuration: what is missing is added, and nothing that is there is touched.

The XML is changed as it came, not read into objects and written anew: what a library does not know would be lost.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator

from runtime.config.settings import BucketTrigger
from runtime.wiring.target import NotWired

EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
"""Never `s3:ObjectAccessed:*`: a function that reads its object would wake itself for ever."""

_ROOT = "NotificationConfiguration"
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def prefixes(triggers: Iterable[BucketTrigger]) -> list[str]:
    """What the rules of a bucket have to cover. Suffixes are left to the triggers, which compare them without case."""
    wanted = sorted({trigger.prefix for trigger in triggers})
    return [one for one in wanted if not any(one != other and one.startswith(other) for other in wanted)]


def merged(configuration: bytes, arn: str, wanted: Iterable[str]) -> tuple[bytes, list[str]]:
    """The configuration with a rule for each prefix that no rule of this target covers yet, and these prefixes.

    Raises NotWired for what is no such configuration.
    """
    try:
        # expat ≥ 2.6 bounds entity expansion; the store is ours
        root = ET.fromstring(configuration) if configuration.strip() else ET.Element(f"{{{_SPACE}}}{_ROOT}")  # noqa: S314
    except ET.ParseError as error:
        raise NotWired(f"The store's notification configuration is not XML: {error}.") from error
    if _local(root) != _ROOT:
        raise NotWired(f"The store's notification configuration begins with <{_local(root)}>, not with <{_ROOT}>.")
    space = root.tag[: root.tag.find("}") + 1]
    added = []
    for prefix in wanted:
        missing = [event for event in EVENTS if not any(_covers(rule, event, prefix) for rule in _rules(root, arn))]
        if missing:
            added.append(prefix)
            _add(root, space, arn, prefix, missing)
    return ET.tostring(root, default_namespace=space.strip("{}") or None), added


def arns(configuration: bytes) -> list[str]:
    """Every queue that the configuration names."""
    root = ET.fromstring(configuration)  # noqa: S314
    return [text.strip() for element in root.iter() if _local(element) == "Queue" and (text := element.text)]


def same_target(one: str, other: str) -> bool:
    """Servers put their region into the middle of a name when they show it."""
    return one.split(":")[-2:] == other.split(":")[-2:]


def _rules(root: ET.Element, arn: str) -> Iterator[ET.Element]:
    for rule in root:
        queue = next((part.text or "" for part in rule if _local(part) == "Queue"), "")
        if same_target(queue.strip(), arn):
            yield rule


def _covers(rule: ET.Element, event: str, prefix: str) -> bool:
    events = {(part.text or "").strip() for part in rule if _local(part) == "Event"}
    filters = {"prefix": "", "suffix": ""}
    for part in rule.iter():
        if _local(part) == "FilterRule":
            words = {_local(child).lower(): child.text or "" for child in part}
            filters[words.get("name", "").lower()] = words.get("value", "")
    return event in events and not filters["suffix"] and prefix.startswith(filters["prefix"])


def _add(root: ET.Element, space: str, arn: str, prefix: str, events: Iterable[str]) -> None:
    rule = ET.SubElement(root, f"{space}QueueConfiguration")
    told = f"{arn} {prefix} {events}"
    ET.SubElement(rule, f"{space}Id").text = f"tundish-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    if prefix:
        key = ET.SubElement(ET.SubElement(rule, f"{space}Filter"), f"{space}S3Key")
        wanted = ET.SubElement(key, f"{space}FilterRule")
        ET.SubElement(wanted, f"{space}Name").text = "prefix"
        ET.SubElement(wanted, f"{space}Value").text = prefix
    for event in events:
        ET.SubElement(rule, f"{space}Event").text = event
    ET.SubElement(rule, f"{space}Queue").text = arn


def _local(element: ET.Element) -> str:
    return element.tag[element.tag.find("}") + 1 :]
