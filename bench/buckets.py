"""Bucket triggers, measured: PUT → function started, PUT → searchable, a burst of files, a resync of a large bucket.

Run it with `make bench B=buckets`; `python -m bench.buckets --help` names its parts and sizes. The full resync is
`python -m bench.buckets resync --objects 1000000`.
"""

from __future__ import annotations

import argparse

from bench import bucket_burst, bucket_resync, bucket_searchable, bucket_started

PARTS = ("started", "searchable", "burst", "resync")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure bucket triggers; one JSON object a line.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--drops", type=int, default=100, help="files of `started` (per source) and `searchable`")
    parser.add_argument("--files", type=int, default=10_000, help="files of `burst`")
    parser.add_argument("--words", type=int, default=160, help="words of each of these files (160: about 1 KB)")
    parser.add_argument("--objects", type=int, default=100_000, help="objects of `resync`")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there is {', '.join(PARTS)}")
    parts = given.parts or PARTS
    if "started" in parts:
        bucket_started.measure(given.drops)
    if "searchable" in parts:
        bucket_searchable.measure(given.drops)
    if "burst" in parts:
        bucket_burst.measure(given.files, given.words)
    if "resync" in parts:
        bucket_resync.measure(given.objects)


if __name__ == "__main__":
    main()
