"""A worker's process: `python -m runtime.worker -Q QUEUE [-n NAME]`."""

from __future__ import annotations

from runtime.worker.process import main

if __name__ == "__main__":
    main()
