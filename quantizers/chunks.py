"""Work on rows a cache-full at a time, so that several passes cost one trip to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from requant.quantizers.arrays import Codes, Float32s, check_finite
from requant.quantizers.codes import CodeSpec

# 512 KB of float32: half of a common L2 cache.
_FLOATS = 1 << 17
# Rows that are read, encoded or scored together. On their way they are in memory some six times:
# as the database's rows, joined, in double precision, as codes, as what an engine is given.
BATCH_BYTES = 4 << 20

Kernel = Callable[[Float32s, Float32s, Codes], None]


def rows_for(dim: int, most: int = 8192) -> int:
    """Return how many rows of `dim` floats to work on together: BATCH_BYTES, at most `most`.

    >>> rows_for(384), rows_for(65_536), rows_for(2)
    (2730, 16, 8192)
    """
    return max(1, min(most, BATCH_BYTES // (4 * dim)))


def row_slices(n: int, dim: int) -> Iterator[slice]:
    """Yield slices that cover `n` rows of `dim` floats, each about half an L2 cache.

    >>> [s.stop - s.start for s in row_slices(5, 1 << 16)]
    [2, 2, 1]
    """
    step = max(1, _FLOATS // dim)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def encode_in_chunks(vectors: Float32s, spec: CodeSpec, kernel: Kernel) -> Codes:
    """Return the codes of `vectors (n, d) float32` as made by `kernel(rows, scratch, out)`.

    `scratch` has the shape of `rows` and may be overwritten; `rows` may not.
    """
    n, dim = vectors.shape
    out = np.empty((n, spec.width), spec.dtype)
    scratch = np.empty((min(n, max(1, _FLOATS // dim)), dim), np.float32)
    # A value far outside the sample may become infinite on its way to being clipped.
    with np.errstate(over="ignore"):
        for rows in row_slices(n, dim):
            chunk = vectors[rows]
            check_finite(chunk, first_row=rows.start)
            kernel(chunk, scratch[: len(chunk)], out[rows])
    return out
