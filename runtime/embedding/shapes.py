"""How many rows a layer is given at once: few different counts, because oneDNN keeps code for each one it has seen.

For one more count of rows the three kinds of layers of the built-in model took 1.8 MB, which are never given back, and
4 ms to be made: a worker grew by 100 MB in 300 passes, and by 600 MB before the oldest were forgotten.
"""

from __future__ import annotations

_LEAST, _MOST = 8, 32


def rounded(rows: int) -> int:
    """At least `rows`, and 31 more at most; at most 7 more up to 256. A full pass has one of seven counts."""
    step = min(_MOST, max(_LEAST, (1 << max(0, rows - 1).bit_length()) // 32))
    return -(-rows // step) * step
