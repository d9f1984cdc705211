"""`tundish env`: the connections of the running system, for other clients."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import click


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file).")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of export lines.")
@click.pass_obj
def env(environ: Mapping[str, str], file: Path | None, home: Path | None, as_json: bool) -> None:
    """Print everything that other clients need: eval "$(tundish env)"; then use mc, aws, celery, redis-cli."""
    from runtime.callers.own_key import own_key
    from runtime.cli.client import Unreachable
    from runtime.cli.output import print_json
    from runtime.config.load import load_settings
    from runtime.system.parts import connections, gateway_url

    settings = load_settings(environ, file=file, home=home)
    if not settings.broker_url or not settings.store.endpoint:
        raise Unreachable(f"No system runs on {settings.home}, and the environment names none: start `tundish up`.")
    own = connections(settings)
    store = settings.store
    scheme = "https" if store.secure else "http"
    keys = f"{quote(store.access_key, safe='')}:{quote(store.secret_key, safe='')}"
    values = {
        "CELERY_BROKER_URL": own["CELERY_BROKER_URL"],
        "CELERY_RESULT_BACKEND": own["CELERY_RESULT_BACKEND"],
        "REDIS_URL": settings.broker_url,
        **{name: own[name] for name in ("MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_SECURE")},
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_ENDPOINT_URL_S3": f"{scheme}://{store.endpoint}",
        "AWS_REGION": store.region,
        "MC_HOST_tundish": f"{scheme}://{keys}@{store.endpoint}",
        "TUNDISH_EVENT_TOKEN": settings.event_token,
        "TUNDISH_URL": environ.get("TUNDISH_URL") or _url(settings.home) or gateway_url(settings),
        "TUNDISH_FILE": str(settings.file),
        "TUNDISH_HOME": str(settings.home),
    }
    if key := own_key(settings.home, values["TUNDISH_URL"], environ):
        values["TUNDISH_API_KEY"] = key
    if as_json:
        print_json(values)
    else:
        for name, value in values.items():
            click.echo(f"export {name}={shlex.quote(value)}")


def _url(home: Path) -> str | None:
    try:
        return str(json.loads((home / "run.json").read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
