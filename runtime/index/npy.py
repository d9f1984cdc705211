"""Reading .npy files of a type that is known beforehand: from memory, or mapped.

`numpy.load` evaluates the header with `ast`, which is not safe in several threads at once on CPython 3.11
("AST constructor recursion depth mismatch"). Here the header is only compared, so nothing in it is evaluated.
"""

from __future__ import annotations

import math
import mmap
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = re.compile(r"\{'descr': (.+), 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n")
_LONGEST = 4096


def read(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array in `data`, read-only and not copied. Raises ValueError."""
    shape, offset = _parse(data[:_LONGEST], dtype)
    count = math.prod(shape)
    if len(data) - offset != count * dtype.itemsize:
        raise ValueError(f"it has {len(data) - offset} bytes of data; its header says {count * dtype.itemsize}")
    return np.frombuffer(data, dtype, count, offset).reshape(shape)


def mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array in a file, mapped read-only. Raises ValueError."""
    with path.open("rb") as file:
        shape, offset = _parse(file.read(_LONGEST), dtype)
    if path.stat().st_size - offset != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{path.name} has another length than its header says")
    if not math.prod(shape):
        return np.empty(shape, dtype)  # nothing cannot be mapped
    return octets(path)[offset:].view(dtype).reshape(shape)


def octets(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, mapped read-only; an empty file cannot be mapped.

    Not by `numpy.memmap`: it takes five times as long, and every slice of one is one, which is slow to make.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


@cache
def _description(dtype: np.dtype[Any]) -> str:
    return repr(np.lib.format.dtype_to_descr(dtype))


def _parse(data: bytes, dtype: np.dtype[Any]) -> tuple[tuple[int, ...], int]:
    """Shape, and where the data begin."""
    if data[:6] != b"\x93NUMPY" or len(data) < 10:
        raise ValueError("it is not an .npy file")
    wide = data[6] > 1
    start = 12 if wide else 10
    end = start + int.from_bytes(data[8:start], "little")
    found = _HEADER.fullmatch(data[start:end].decode("latin-1"))
    if not found:
        raise ValueError("its .npy header is not one that numpy.save writes")
    if found[1] != _description(dtype):
        raise ValueError(f"its numbers are {found[1][:60]}, not {dtype.name}")
    return tuple(int(size) for size in found[2].split(",") if size.strip()), end
