"""`tundish put`: files into a bucket, followed until they are searchable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from runtime.cli import complete


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bucket", default="documents", show_default=True, shell_complete=complete.buckets)
@click.option("--prefix", default="", help="Put before every key, for example notes/.")
@click.option("--wait/--no-wait", default=True, help="Wait until the documents are searchable (default: yes).")
@click.option("--json", "as_json", is_flag=True, help="JSON: one object for each file.")
@click.pass_obj
def put(
    environ: Mapping[str, str], files: tuple[Path, ...], bucket: str, prefix: str, wait: bool, as_json: bool
) -> None:
    """Upload files (a folder with everything below it, hidden files left out) and wait until each is searchable."""
    from runtime.cli.client import find
    from runtime.cli.display import Display
    from runtime.cli.output import print_json
    from runtime.cli.uploads import Uploads, collect

    found = [(path, prefix + key) for path, key in collect(files)]
    if not found:
        raise click.UsageError("There are no files in what was named.")

    def tell(told: Mapping[str, Any]) -> None:
        if not as_json:
            failed = told["status"] in ("failed", "refused", "late")
            said = told.get("reason") or "; ".join(told.get("notes") or ())
            reason = f": {said}" if said else ""
            click.echo(f"{told['status']:<10} {bucket}/{told['key']}{reason}", err=failed)

    with Display() as display:

        def show(done: float, total: float, message: str) -> None:
            display.progress({"done": done, "total": total, "message": message})

        results = Uploads(find(environ), bucket, tell, show).run(found, wait=wait)
    if as_json:
        print_json(results)
    elif len(results) > 1:
        click.echo(f"{sum(told['ok'] for told in results)} of {len(results)} files")
    if not all(told["ok"] for told in results):
        raise SystemExit(1)
