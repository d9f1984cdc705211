"""The evidence as a table for people (Markdown)."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.chaos.evidence import Evidence
from tests.chaos.killer import Kill
from tests.chaos.processes import KINDS


def table(found: Evidence, broken: int) -> str:
    return "\n".join([*_calls(found), "", *_runs(found), "", *kills(found.kills, KINDS), "", *_whole(found, broken)])


def _calls(found: Evidence) -> Iterator[str]:
    yield from head("what", "accepted", "succeeded", "failed", "dead", "too late", "not ended or lost")
    kinds = sorted({(answer.wish.function, answer.wish.how) for answer in found.answers if answer.id})
    for function, how in kinds:
        ids = {each.id for each in found.answers if (each.wish.function, each.wish.how) == (function, how) and each.id}
        yield row(f"`{function}`, {how}", *_ends(found, ids))
    answered = {answer.id for answer in found.answers}
    others = [record for record in found.records.values() if record.id not in answered]
    for trigger in sorted({record.trigger for record in others}):
        ids = {record.id for record in others if record.trigger == trigger}
        name = "http, client was cut off or a probe" if trigger == "http" else trigger
        yield row(f"by {name}", *_ends(found, ids))
    yield row("**all**", *_ends(found, {*found.records, *answered} - {""}))


def _ends(found: Evidence, ids: Iterable[str]) -> list[int]:
    records = [found.records.get(task_id) for task_id in ids]
    states = Counter(record.state if record else "lost" for record in records)
    ended = [states["succeeded"], states["failed"], states["dead"], states["expired"] + states["cancelled"]]
    return [len(records), *ended, len(records) - sum(ended)]


def _runs(found: Evidence) -> Iterator[str]:
    """How often the side effect of an invocation was completed, and why more than once."""
    done = Counter(line.id for line in found.lines if line.step == "done")
    succeeded = [record for record in found.records.values() if record.state == "succeeded"]
    counts = Counter(min(done[record.id], 3) for record in succeeded)
    lost = [record for record in found.records.values() if record.lost]
    yield from head("side effects of the succeeded", "invocations")
    yield row("completed once", counts[1])
    yield row("twice (its process died after the work, before the record)", counts[2])
    own = sum(done[record.id] > 1 for record in succeeded if record.function == "suicidal")
    yield row("more often", counts[3])
    yield row(
        "of these, `suicidal`, which kills itself then · hit by the storm", f"{own} · {counts[2] + counts[3] - own}"
    )
    yield row("never", counts[0])
    yield row("invocations that lost at least one attempt", len(lost))
    yield row("attempts lost in all", sum(record.lost for record in lost))


def kills(all_kills: Sequence[Kill], kinds: Iterable[str]) -> Iterator[str]:
    """How often each kind was killed, and how soon work went on."""
    yield from head("killed with SIGKILL", "times", "work went on after, p50", "max")
    for kind in kinds:
        some = [kill for kill in all_kills if kill.kind == kind]
        times = [kill.recovery for kill in some if kill.recovery is not None]
        told = (f"{statistics.median(times):.1f} s", f"{max(times):.1f} s") if times else ("–", "–")
        yield row(kind, len(some), *told)


def _whole(found: Evidence, broken: int) -> Iterator[str]:
    ticks = [task_id for task_id in found.ticks.values() if task_id]
    retried = sum(answer.tries > 1 for answer in found.answers)
    took = sorted(record.ended - record.created for record in found.records.values() if record.ended)
    hit = sorted(each.ended - each.created for each in found.records.values() if each.ended and each.lost)
    yield from head("in all", "")
    yield row("accepted → ended: p50 · p99 · longest", _times(took))
    yield row("the same, of those that lost an attempt", _times(hit))
    yield row("wall time, kills included", f"{found.seconds:.0f} s")
    yield row("invocations ended a second", f"{len(found.records) / found.seconds:.1f}")
    yield row("objects taken and processed", sum(status == "completed" for status in found.objects.values()))
    yield row("ticks · doubled", f"{len(ticks)} · {len(ticks) - len(set(ticks))}")
    yield row("clients that had to ask again", retried)
    yield row("still queued, running, due, parked", sum(found.left.values()))
    yield row("broken promises", broken)


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    return " · ".join(
        f"{each:.2f} s" for each in (statistics.median(seconds), seconds[len(seconds) * 99 // 100], seconds[-1])
    )


def head(*names: str) -> Iterator[str]:
    yield row(*names)
    yield row("---", *("---:" for _ in names[1:]))


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
