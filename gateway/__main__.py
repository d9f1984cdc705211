"""Entry of the gateway's process: `python -m gateway`."""

from __future__ import annotations

import gc
import os
import sys


def start() -> int:
    """Serve. Cyclic garbage is looked for after the start only (gateway/starting.py): the imports make hardly any."""
    gc.disable()
    from gateway.serve import main

    return main(os.environ)


if __name__ == "__main__":
    sys.exit(start())
