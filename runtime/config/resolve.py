"""A checked file → the project, with every default filled in and the source of every value remembered."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.config.check import IMPLICIT_QUEUE, NO_TIME_LIMITS
from runtime.config.environ import Environment
from runtime.config.schema import FunctionItem, FunctionsFile, HttpItem
from runtime.config.sections import Sections
from runtime.config.settings import BucketTrigger, CronTrigger, Function, Project, Queue, Retries
from runtime.config.yaml_lines import Path_, Yaml
from runtime.keys import DEFAULT_PRIORITY
from runtime.values.requirements import key as requirements_key


class Resolver:
    """Fills every default of a checked file in, and remembers where each value came from."""

    def __init__(
        self, content: FunctionsFile, text: Yaml, file: Path, environment: Environment, sources: dict[Path_, str]
    ) -> None:
        self._content, self._text, self._file, self._sources = content, text, file.name, sources
        self._root, self._environment = file.parent, environment
        self._hard = environment.duration("CELERY_TASK_TIME_LIMIT")
        self._soft = environment.duration("CELERY_TASK_SOFT_TIME_LIMIT")

    def project(self) -> Project:
        content = self._content
        stronger = dict(self._sources)  # flags and the environment were there first, and they win
        self._note(())
        self._sources.update(stronger)
        functions = {name: self._function(name, item) for name, item in content.functions.items()}
        queues = dict(content.queues)
        for name, function in functions.items():
            queue = queues.get(function.queue) or self._environment.queue(function.queue, Queue(concurrency=2))
            served = own_queue(function.queue, queue, content.functions[name].requirements)
            queues |= served
            functions[name] = function.model_copy(update={"queue": next(iter(served))})
        return Project(
            queues=queues,
            functions=functions,
            indexes=content.indexes,
            models=content.models,
            backend=self._environment.backend(content.backend),
            limits=content.limits,
            durability=content.durability,
            retention=content.retention,
            outbox=self._environment.outbox(content.outbox),
            callbacks=content.callbacks,
            grace=self._environment.grace(content.grace),
            **{name: getattr(content, name) for name in Sections.model_fields}
            | {"metrics": content.metrics.within(self._environment)},
        )

    def _note(self, path: Path_, source: Path_ | None = None) -> None:
        """Remember the line of a written value (and of all below it) as the source of a setting."""
        base = path if source is None else source
        for found, line in self._text.lines.items():
            if found[: len(base)] == base:
                variable = self._text.variables.get(found)
                self._sources[(*path, *found[len(base) :])] = f"{self._file}:{line}" + (
                    f" ({variable})" if variable else ""
                )

    def _function(self, name: str, item: FunctionItem) -> Function:
        path = ("functions", name)
        defaults, content = self._content.defaults, self._content
        route_name = next((p for p in content.routes if fnmatch.fnmatchcase(name, p)), None)
        route = content.routes.get(route_name or "")
        queue = item.queue or (route.queue if route else None) or defaults.queue or IMPLICIT_QUEUE
        for key in ("queue", "priority"):
            if getattr(item, key) is None and route and getattr(route, key) is not None:
                self._note((*path, key), ("routes", str(route_name), key))
            elif getattr(item, key) is None and getattr(defaults, key) is not None:
                self._note((*path, key), ("defaults", key))
        if item.overload is None and defaults.overload is not None:
            self._note((*path, "overload"), ("defaults", "overload"))
        declared = content.queues.get(queue, Queue())
        priority = _first(item.priority, route.priority if route else None, defaults.priority, declared.priority)
        timeout, soft = self._limits(path, item, declared.pool)
        self._note_triggers(path, item)
        if (*path, "on_success") in self._sources:  # a plain name stands for {function: name}
            self._sources.setdefault((*path, "on_success", "function"), self._sources[*path, "on_success"])
        return Function(
            name=name,
            handler=item.handler,
            queue=queue,
            priority=DEFAULT_PRIORITY if priority is None else priority,
            timeout=timeout,
            soft_timeout=soft,
            retries=self._retries(path, item),
            role=item.role,
            http=any(isinstance(trigger, HttpItem) for trigger in item.triggers),
            crons=tuple(trigger for trigger in item.triggers if isinstance(trigger, CronTrigger)),
            buckets=tuple(trigger for trigger in item.triggers if isinstance(trigger, BucketTrigger)),
            writes=item.writes,
            on_success=item.on_success,
            on_failure=item.on_failure,
            env={key: str(value) for key, value in item.env.items()},
            secrets={key: self._root / file for key, file in item.secrets.items()},
            setup=item.setup,
            style=item.style,
            gather=item.gather,
            expires=item.expires,
            concurrency=item.concurrency,
            concurrency_key=item.concurrency_key,
            rate_limit=item.rate_limit,
            circuit=item.circuit,
            overload=item.overload or defaults.overload,
        )

    def _note_triggers(self, path: Path_, item: FunctionItem) -> None:
        """The list of the file is three settings here: `http`, `crons` and `buckets`."""
        counts = {"crons": 0, "buckets": 0}
        for position, trigger in enumerate(item.triggers):
            written = (*path, "triggers", position)
            if isinstance(trigger, HttpItem):
                self._sources[(*path, "http")] = self._sources[written]
            else:
                kind = "crons" if isinstance(trigger, CronTrigger) else "buckets"
                self._note((*path, kind, counts[kind]), written)
                counts[kind] += 1

    def _limits(self, path: Path_, item: FunctionItem, pool: str) -> tuple[float | None, float | None]:
        defaults = self._content.defaults
        if pool in NO_TIME_LIMITS:
            return None, None
        for key, variable, value in (
            ("timeout", "CELERY_TASK_TIME_LIMIT", self._hard),
            ("soft_timeout", "CELERY_TASK_SOFT_TIME_LIMIT", self._soft),
        ):
            if value is not None:
                self._sources[(*path, key)] = variable
            elif getattr(item, key) is None and getattr(defaults, key) is not None:
                self._note((*path, key), ("defaults", key))
        timeout = _first(self._hard, item.timeout, defaults.timeout, Function.model_fields["timeout"].default)
        soft = _first(self._soft, item.soft_timeout, defaults.soft_timeout)
        return timeout, soft if soft is not None and timeout is not None and soft < timeout else None

    def _retries(self, path: Path_, item: FunctionItem) -> Retries:
        values: dict[str, Any] = {}
        for source, retries in ((("defaults", "retries"), self._content.defaults.retries), ((), item.retries)):
            for key in retries.model_fields_set if retries else ():
                values[key] = getattr(retries, key)
                if source:
                    self._note((*path, "retries", key), (*source, key))
                else:
                    self._note((*path, "retries", key))
        return Retries(**values)


def own_queue(name: str, queue: Queue, requirements: Sequence[str]) -> dict[str, Queue]:
    """The queue, by its name, whose worker has the requirements of a function: the one it is on, or a copy of it.

    Functions of one queue with the same requirements share that copy. Its name follows from what is written, and so is
    the same on every host.
    """
    if not requirements:
        return {name: queue}
    every = tuple(dict.fromkeys((*queue.requirements, *requirements)))
    return {f"{name}.env-{requirements_key(every)}": queue.model_copy(update={"requirements": every})}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
