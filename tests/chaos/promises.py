"""What must hold when the storm is over. Pure: evidence in, every broken promise out, with the ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.invocations.invocation import Invocation
from tests.chaos.clients import Answer
from tests.chaos.evidence import Evidence

PATIENCE_SECONDS = 35.0
"""How long the gateway waits for an answer: the functions' timeout and five seconds."""

FAN = [0, 1, 2]
"""The children of every `fan`. It is run from its beginning again when they have ended, as the same attempt."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was not kept for one invocation (or tick, or object)."""

    promise: str
    id: str
    detail: str


def broken(found: Evidence) -> list[Broken]:
    checks = (_accepted, _ended, _worked, _runs, _once, _chains, _fans, _ticks, _objects, _left, _recovered)
    return [each for check in checks for each in check(found)]


def _accepted(found: Evidence) -> Iterator[Broken]:
    """What was answered is recorded, has the end that it must have, and the answer tells it."""
    for answer in found.answers:
        if answer.wish.how == "object":
            if not 200 <= answer.status < 300:
                yield Broken("every client is answered", f"object {answer.wish.number}", f"last {answer.status}")
            continue
        if not answer.id:
            last = f"{answer.wish.function}: {answer.tries} tries, last {answer.status} {answer.body[:200]!r}"
            yield Broken("every client is answered", f"call {answer.wish.number}", last)
            continue
        record = found.records.get(answer.id)
        if record is None:
            yield Broken("accepted = recorded", answer.id, f"{answer.wish} was answered {answer.status}")
        elif record.terminal and record.state not in answer.wish.states | _too_late(answer, record):
            yield Broken("the right end", answer.id, f"{answer.wish}: {_told(record)}")
        elif answer.wish.how == "sync" and answer.status == 200 and answer.body != record.result_json:
            yield Broken("the answer is the record's", answer.id, f"{answer.body!r}: {_told(record)}")


def _too_late(answer: Answer, record: Invocation) -> set[str]:
    """What else may become of a call whose caller's time was over: it was stopped, or not started any more."""
    waited = (record.ended or 0.0) - record.created > PATIENCE_SECONDS - 1
    return {"cancelled", "expired"} if answer.wish.how == "sync" and waited else set()


def _ended(found: Evidence) -> Iterator[Broken]:
    """Every record is terminal, whoever made it."""
    for record in found.records.values():
        if not record.terminal:
            yield Broken("accepted = terminal", record.id, _told(record))


def _worked(found: Evidence) -> Iterator[Broken]:
    """A success has done its work."""
    done = {line.id for line in found.lines if line.step == "done"}
    for record in found.records.values():
        if record.state == "succeeded" and record.id not in done:
            yield Broken("success = work done", record.id, _told(record))


def _runs(found: Evidence) -> Iterator[Broken]:
    """Every run was an attempt of its own, and more than one run completed only where an attempt was lost."""
    begun = Counter((line.id, line.attempt) for line in found.lines if line.step == "begin")
    for (task_id, attempt), count in begun.items():
        if count > (2 if found.function(task_id) == "fan" else 1):
            yield Broken("an attempt runs once", task_id, f"attempt {attempt} began {count} times")
    done = Counter(line.id for line in found.lines if line.step == "done")
    for task_id, count in done.items():
        record = found.records.get(task_id)
        if record is None:
            yield Broken("what runs is recorded", task_id, f"{count} runs completed, but there is no record")
        elif count > 1 + record.lost:
            yield Broken("work is repeated only after a loss", task_id, f"completed {count} times: {_told(record)}")


def _once(found: Evidence) -> Iterator[Broken]:
    """One idempotency key, one invocation, however often a client asked."""
    ids = defaultdict(set)
    keyed = {answer.wish.number for answer in found.answers if answer.wish.key}
    for record in found.records.values():
        if record.trigger == "http" and record.arguments.get("number") in keyed:
            ids[record.arguments["number"]].add(record.id)
    for number, several in ids.items():
        if len(several) > 1:
            yield Broken("one key, one invocation", f"call {number}", ", ".join(sorted(several)))


def _chains(found: Evidence) -> Iterator[Broken]:
    """Every success of `link` was told to exactly one call of `gathered`."""
    told = defaultdict(set)
    for line in found.lines:
        if line.function == "gathered" and line.step == "done":
            for parent in line.parents:
                told[parent].add(line.id)
    for record in found.records.values():
        if record.function == "link" and record.state == "succeeded" and len(told[record.id]) != 1:
            yield Broken("a chain follows once", record.id, f"followed by {sorted(told[record.id]) or 'nothing'}")


def _fans(found: Evidence) -> Iterator[Broken]:
    """Every success of `fan` had its parts, each once, and their results."""
    parts = defaultdict(list)
    for record in found.records.values():
        if record.function == "leaf" and record.parent:
            parts[record.parent].append(record.arguments["number"])
    for record in found.records.values():
        if record.function == "fan" and record.state == "succeeded" and sorted(parts[record.id]) != FAN:
            yield Broken("children are run", record.id, f"has the parts {sorted(parts[record.id])}, not {FAN}")


def _ticks(found: Evidence) -> Iterator[Broken]:
    """One tick, one invocation; no invocation without its tick."""
    ids = Counter(task_id for task_id in found.ticks.values() if task_id)
    for task_id, count in ids.items():
        if count > 1:
            yield Broken("one tick, one invocation", task_id, f"stands for {count} ticks")
        if task_id not in found.records:
            yield Broken("one tick, one invocation", task_id, "has no record")
    for record in found.records.values():
        if record.function == "tick" and record.id not in ids and record.terminal:
            yield Broken("one tick, one invocation", record.id, f"has no tick: {_told(record)}")


def _objects(found: Evidence) -> Iterator[Broken]:
    """Every object that was taken was processed."""
    taken = {key for line in found.lines if line.step == "done" for key in line.keys}
    for key, status in found.objects.items():
        if status != "completed" or key not in taken:
            yield Broken("every object is processed", key, f"{status}; {'' if key in taken else 'not '}handed over")


def _left(found: Evidence) -> Iterator[Broken]:
    for name, count in found.left.items():
        if count:
            yield Broken("nothing is left waiting", name, f"{count} are left")


def _recovered(found: Evidence) -> Iterator[Broken]:
    for kill in found.kills:
        if kill.recovery is None:
            yield Broken("the system recovers", f"{kill.kind} {kill.pid}", f"killed at {kill.at:.1f}, no work after it")


def _told(record: Invocation) -> str:
    summary = (record.error or {}).get("summary", "")
    return (
        f"{record.function} {record.state} attempts={record.attempts} lost={record.lost} worker={record.worker} "
        f"created={record.created:.1f} queued={record.queued:.1f} started={record.started} {summary}"
    )
