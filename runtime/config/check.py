"""What a schema cannot say about functions.yaml: references, cycles, cron, and what a pool cannot honour."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from runtime.config.auth import check_auth
from runtime.config.bucket import check_bucket
from runtime.config.chunks import check_chunks
from runtime.config.engine import check_engines
from runtime.config.logs import check_tracing
from runtime.config.models import check_hybrid, check_models
from runtime.config.schema import FunctionItem, FunctionsFile
from runtime.config.settings import BucketTrigger, CronTrigger, Queue
from runtime.config.tenants import check_tenants
from runtime.config.yaml_lines import Path_
from runtime.values.crontime import ALIASES
from runtime.values.handler_name import parse_handler
from runtime.values.nearest import nearest
from runtime.values.requirements import LONGEST_BASE, problem_of

Report = Callable[[Path_, str], None]

IMPLICIT_QUEUE = "default"

# Celery's pools, as its source and our tests show them: only prefork can stop a task or recycle a child.
UNSUPPORTED = {
    "threads": ("autoscale", "max_tasks_per_child", "max_memory_per_child"),
    "gevent": ("max_tasks_per_child", "max_memory_per_child"),
    "solo": ("autoscale", "max_tasks_per_child", "max_memory_per_child"),
}
_WHY = {
    "autoscale": "cannot grow and shrink",
    "max_tasks_per_child": "has no children to recycle",
    "max_memory_per_child": "has no children to recycle",
}
NO_TIME_LIMITS = frozenset({"threads", "solo", "gevent"})

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def check(content: FunctionsFile, root: Path, own_bucket: str, report: Report) -> None:
    """Report every problem of a file whose shape is right."""
    queues = {*content.queues, IMPLICIT_QUEUE}
    for name, queue in content.queues.items():
        _queue(("queues", name), queue, report)
        _requirements(("queues", name, "requirements"), queue.requirements, root, report)
    for place, queue_name in _queue_references(content):
        if queue_name not in queues:
            report(place, f"there is no queue {queue_name}{nearest(queue_name, queues)}")
    for name, item in content.functions.items():
        _function(("functions", name), item, content, root, own_bucket, report)
    check_models(content, root, report)
    check_hybrid(content, report)
    check_engines(content, report)
    check_tracing(content, report)
    check_chunks(content, root, report)
    check_auth(content.auth, root, report)
    check_tenants(content, own_bucket, report)
    _cycles(content, report)


def _queue_references(content: FunctionsFile) -> Iterator[tuple[Path_, str]]:
    if content.defaults.queue:
        yield ("defaults", "queue"), content.defaults.queue
    for pattern, route in content.routes.items():
        if route.queue:
            yield ("routes", pattern, "queue"), route.queue
    for name, item in content.functions.items():
        if item.queue:
            yield ("functions", name, "queue"), item.queue


def _queue(path: Path_, queue: Queue, report: Report) -> None:
    written = queue.model_fields_set
    for key in UNSUPPORTED.get(queue.pool, ()):
        if key in written and getattr(queue, key) is not None:
            report((*path, key), f"pool {queue.pool} {_WHY[key]}; remove {key} or use pool: prefork")
    if queue.pool == "solo" and queue.concurrency != 1:
        report((*path, "concurrency"), "pool solo runs one call at a time; remove concurrency or use pool: prefork")
    if queue.pool == "gevent" and importlib.util.find_spec("gevent") is None:
        report((*path, "pool"), "gevent is not installed; run pip install 'tundish[gevent]' or use pool: threads")
    if queue.autoscale and queue.autoscale[0] > queue.autoscale[1]:
        report((*path, "autoscale"), f"[{queue.autoscale[0]}, {queue.autoscale[1]}] is [least, most]: swap them")
    if queue.autoscale and "concurrency" in written:
        report((*path, "concurrency"), "autoscale decides how many run; remove concurrency or autoscale")


def _function(
    path: Path_, item: FunctionItem, content: FunctionsFile, root: Path, own_bucket: str, report: Report
) -> None:
    _handler((*path, "handler"), item.handler, root, report)
    if item.setup is not None:
        _handler((*path, "setup"), item.setup, root, report)
    if item.gather and item.style not in (None, "plain"):
        report(
            (*path, "style"), f"a gathered handler takes a list, which style {item.style} does not; remove one of them"
        )
    _requirements((*path, "requirements"), item.requirements, root, report)
    route = next((route for name, route in content.routes.items() if fnmatch.fnmatchcase(str(path[1]), name)), None)
    queue_name = item.queue or (route.queue if route else None) or content.defaults.queue or IMPLICIT_QUEUE
    if item.requirements and len(queue_name) > LONGEST_BASE:
        report((*path, "requirements"), f"the name of its queue may have {LONGEST_BASE} characters at most, then")
    _pool_honours(path, item, queue_name, content, report)
    timeout = item.timeout if item.timeout is not None else content.defaults.timeout
    if item.soft_timeout is not None and timeout is not None and item.soft_timeout >= timeout:
        report((*path, "soft_timeout"), "must be shorter than timeout, or it never comes")
    for key, target in (("on_success", item.on_success and item.on_success.function), ("on_failure", item.on_failure)):
        if target and target != "dead_letter" and target not in content.functions:
            report((*path, key), f"there is no function {target}{nearest(target, content.functions)}")
    for name, file in item.secrets.items():
        if not (root / file).is_file():
            report((*path, "secrets", name), f"there is no file {file}; a secret is the path of a file that holds it")
    for position, trigger in enumerate(item.triggers):
        place = (*path, "triggers", position)
        if isinstance(trigger, CronTrigger):
            _cron(place, trigger, report)
        elif isinstance(trigger, BucketTrigger):
            check_bucket(place, trigger, own_bucket, report)


def _pool_honours(path: Path_, item: FunctionItem, queue_name: str, content: FunctionsFile, report: Report) -> None:
    pool = content.queues[queue_name].pool if queue_name in content.queues else "prefork"
    if pool in NO_TIME_LIMITS:
        for key in ("timeout", "soft_timeout"):
            if getattr(item, key) is not None:
                message = f"queue {queue_name} has pool {pool}, which cannot stop a running function; "
                report((*path, key), f"{message}remove {key} or use a queue with pool: prefork")
    if pool in ("threads", "gevent"):
        for key in ("env", "secrets"):
            if getattr(item, key):
                message = f"queue {queue_name} has pool {pool}, where all functions share one environment; "
                report((*path, key), f"{message}use a queue with pool: prefork or solo")


def _requirements(path: Path_, requirements: Iterable[str], root: Path, report: Report) -> None:
    for requirement in requirements:
        if problem := problem_of(requirement, root):
            report(path, problem)


def _handler(path: Path_, handler: str, root: Path, report: Report) -> None:
    try:
        file, module, _ = parse_handler(handler)
    except ValueError as error:
        report(path, f"{handler!r} {error}")
        return
    if file is not None and not (root / file).is_file():
        folder = (root / file).parent
        found = [entry.name for entry in folder.glob("*.py")] if folder.is_dir() else []
        report(path, f"there is no file {file} in {root}{nearest(Path(file).name, found) if found else ''}")
    if module is not None:
        try:
            known = importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            known = False
        # A module beside functions.yaml is found by the processes that run it, which have that folder on their path.
        if not known and not (root / Path(*module.split("."))).with_suffix(".py").is_file():
            report(path, f"there is no module {module}; install it, or name a file: path/to/file.py:function")


def _cron(path: Path_, trigger: CronTrigger, report: Report) -> None:
    if (trigger.cron is None) == (trigger.every is None):
        report(path, "give either cron or every")
    if trigger.every is not None and trigger.every < 1:
        report((*path, "every"), "is shorter than a second")
    try:
        zone = ZoneInfo(trigger.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        report((*path, "timezone"), f"there is no time zone {trigger.timezone!r}; write it like UTC or Europe/Berlin")
        return
    if trigger.cron is not None:
        expression = ALIASES.get(trigger.cron, trigger.cron)
        try:
            if len(expression.split()) != 5:  # a sixth field would be seconds, which know no daylight saving
                raise CronSimError("five fields; for seconds there is every: 30s")
            next(CronSim(expression, _EPOCH.replace(tzinfo=zone)))
        except (CronSimError, StopIteration) as error:
            reason = str(error) or "it never comes"
            report((*path, "cron"), f"{trigger.cron!r} is no cron expression ({reason}); write it like 0 2 * * *")


def _cycles(content: FunctionsFile, report: Report) -> None:
    following = {
        name: [target for target in (item.on_success and item.on_success.function, item.on_failure) if target]
        for name, item in content.functions.items()
    }
    reported: set[frozenset[str]] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            ring = trail[trail.index(name) :]
            if frozenset(ring) not in reported:
                reported.add(frozenset(ring))
                key = "on_success" if content.functions[ring[0]].on_success else "on_failure"
                report(("functions", ring[0], key), f"goes round in a circle: {' → '.join((*ring, name))}")
            return
        for target in following.get(name, ()):
            walk(target, (*trail, name))

    for name in following:
        walk(name, ())
