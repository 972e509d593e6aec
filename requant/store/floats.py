"""Vectors as they are stored: little-endian float32, one after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from requant.adapters.protocol import Keys
from requant.errors import CorruptDataError
from requant.quantizers.arrays import Float32s

VECTOR_DTYPE = np.dtype("<f4")


def matrix(rows: list[Any], dim: int) -> tuple[Keys, Float32s]:
    """Return the keys and vectors of `rows` of both; raises CorruptDataError."""
    keys = np.array([row[0] for row in rows], np.int64)
    try:
        floats = np.frombuffer(b"".join([row[1] for row in rows]), VECTOR_DTYPE)
    except (TypeError, ValueError):  # no bytes, or not four for each number
        floats = np.empty(0, VECTOR_DTYPE)
    if len(floats) != len(rows) * dim:
        raise _of_other_size(rows, dim)
    return keys, floats.reshape(len(rows), dim)


def _of_other_size(rows: list[Any], dim: int) -> CorruptDataError:
    size = dim * VECTOR_DTYPE.itemsize
    wrong = (key for key, vec, *_ in rows if not isinstance(vec, bytes) or len(vec) != size)
    key = next(wrong, "?")
    return CorruptDataError(f"the vector of key {key} has another size than was written")
