"""`python -m tests.chaos`: the storm at full length. Prints the table; ends with 1 when a promise was broken."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.promises import broken
from tests.chaos.storm import storm
from tests.chaos.table import table


@click.command()
@click.option("-n", "--count", default=10_000, show_default=True, help="Calls and objects.")
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Leave journal, log and data in this new folder.")
def main(count: int, seed: int, keep: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = storm(folder, count, seed=seed)
    failures = broken(found)
    for failure in failures:
        print(f"BROKEN {failure.promise}: {failure.id}: {failure.detail}")
    print(table(found, len(failures)))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
