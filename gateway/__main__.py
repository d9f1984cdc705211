"""Entry of the gateway's process: `python -m gateway`."""

from __future__ import annotations

import os
import sys

from gateway.serve import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
