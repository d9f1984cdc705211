"""The two files that hold vectors: `index.faiss` of a segment and `vectors.npy` of a batch. Both are a header that
their size tells, before the numbers as they are (float32, row after row)."""

from __future__ import annotations

import io
import struct

import faiss
import numpy as np

INDEX, SCAN = "index.faiss", "scan.faiss"
HEADER_BYTES, NPY_BYTES = 45, 128
"""Of the headers."""


def size(dimensions: int, rows: int) -> int:
    """Bytes of an `index.faiss`."""
    return HEADER_BYTES + rows * dimensions * 4


def header(dimensions: int, rows: int) -> bytes:
    """What `faiss.write_index` puts before the vectors of an IndexFlatIP."""
    empty = faiss.serialize_index(faiss.IndexFlatIP(dimensions)).tobytes()
    return empty[:8] + struct.pack("<q", rows) + empty[16:-8] + struct.pack("<Q", rows * dimensions)


def npy_header(dimensions: int, rows: int) -> bytes:
    """What `numpy.save` puts before them."""
    told = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {**told, "shape": (rows, dimensions)})
    return buffer.getvalue()
