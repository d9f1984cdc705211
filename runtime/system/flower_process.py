"""Flower's process: `python -m runtime.system.flower_process [FLOWER OPTIONS]`. It logs as every other part does."""

from __future__ import annotations

import os
import runpy
import sys

from runtime.config.load import load_settings
from runtime.telemetry import logs


def main(arguments: list[str]) -> None:
    """Run Flower until it is stopped. It adds no handler of its own where there is one."""
    logs.setup_for(load_settings(os.environ), "flower", os.environ)
    sys.argv = ["celery", "-A", "runtime.celery_app", "flower", *arguments]
    runpy.run_module("celery", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
