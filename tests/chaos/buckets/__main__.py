"""`python -m tests.chaos.buckets`: the bucket storm at full length. Prints the table; ends with 1 when a promise was
broken."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.buckets.promises import broken
from tests.chaos.buckets.storm import storm
from tests.chaos.buckets.table import table

CHANGES_A_SECOND = 15


@click.command()
@click.option("-n", "--count", default=10_000, show_default=True, help="Uploads, overwrites and removals.")
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Leave log and data in this new folder.")
def main(count: int, seed: int, keep: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = storm(folder, count, seed=seed, lasting=count / CHANGES_A_SECOND)
    failures = broken(found)
    for failure in failures:
        print(f"BROKEN {failure.promise}: {failure.id}: {failure.detail}")
    print(table(found, len(failures)))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
