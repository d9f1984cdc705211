"""A mixed load for half an hour: does anything grow? Run it with `make bench B=soak`, or for less time:

    python -m bench.soak --minutes 5 --rate 1 --out soak.json     (then: python -m bench.soak_plot soak.json > soak.svg)

Calls that are waited for and calls that are not, gathered ones, failures with retries, dead letters, calls whose output
is followed, repeated ones, uploads that are embedded, searches, a schedule: about 35 a second. Every ten seconds the
memory, the open files and the threads of every process are read, and what the broker holds. A line for each tells how
it rose in the second half; a rise of a few percent an hour is the noise of the allocator. It is told of RSS: PSS (in
the samples, too) also moves with whatever else on the machine has the same libraries open.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.common import system
from bench.soak_load import Load, write
from bench.soak_look import held, look
from bench.soak_plot import Samples, second_half, series, slope
from runtime.broker.connection import connect

EVERY_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=1.0, help="1 is about 35 calls a second")
    parser.add_argument("--no-documents", action="store_true", help="no uploads and searches, and no model")
    parser.add_argument("--out", type=Path, help="a file for all samples, as JSON")
    given = parser.parse_args()
    samples, became = soak(given.minutes * 60, given.rate, documents=not given.no_documents, out=given.out)
    report(samples)
    print(json.dumps({"metric": "soak_answers", **became}), flush=True)


def soak(
    seconds: float, rate: float, *, documents: bool = True, out: Path | None = None, every: float = EVERY_SECONDS
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """What was seen every few seconds (written to `out` as it comes), and how many calls of each kind became what."""
    samples: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder), documents=documents)
        with system(file) as found, Load(found.url, rate, documents=documents) as load:
            client = connect(found.environ["CELERY_BROKER_URL"])
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                time.sleep(every)
                taken = {kind: asdict(one) for kind, one in look(found.pid).items()}
                at = round(time.monotonic() - began, 1)
                samples.append({"at": at, "processes": taken, "broker": held(client)})
                if out is not None:
                    out.write_text(json.dumps(samples))
            client.close()
        return samples, dict(sorted(load.became.items()))


def report(samples: Samples) -> None:
    """A line for each kind of thing that could grow: its median in the second half, and its rise in an hour."""
    for name, (places, _) in series(samples).items():
        half = second_half(places)
        middle = statistics.median(y for _, y in half)
        rise = slope(half) * 60
        line = {"metric": f"soak_{name.replace(', ', '_').replace(' ', '_')}", "ours": middle}
        line |= {"rise_an_hour": round(rise, 1), "rise_share": round(rise / middle, 4) if middle else 0.0}
        print(json.dumps({**line, "n": len(half)}), flush=True)


if __name__ == "__main__":
    main()
