"""Scores of candidates, exact from floats or from codes, in the one meaning or in the old ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.dialect_codes import bounds

Array = NDArray[Any]
Scores = NDArray[np.float64]
Metric = Literal["cosine", "ip"]


def products(queries: Array, rows: Array) -> Scores:
    """Return the inner products of `queries (q, d)` with their candidates `rows (q, k, d)`."""
    result: Scores = np.matmul(rows.astype(np.float64), queries.astype(np.float64)[:, :, None])
    return result[:, :, 0]


def similarities(queries: Array, rows: Array, metric: Metric) -> Scores:
    """Return the scores of candidates `rows (q, k, d)`, rounded to float32 once: `(q, k)`."""
    exact = rows.astype(np.float64)
    asked = queries.astype(np.float64)
    found: Scores = np.matmul(exact, asked[:, :, None])[:, :, 0]
    if metric == "cosine":
        lengths = np.sqrt(np.einsum("ijk,ijk->ij", exact, exact))
        lengths *= np.sqrt(np.einsum("ij,ij->i", asked, asked))[:, None]
        lengths[lengths == 0] = 1  # the cosine with a zero vector is 0
        found /= lengths
    return found.astype(np.float32).astype(np.float64)


def unit_signs(codes: Array, dim: int) -> Array:
    """Return packed bits `(..., w)` as vectors of length 1 of their signs, `(..., dim) float32`."""
    bits = np.unpackbits(codes, axis=-1, count=dim).astype(np.float32)
    bits -= np.float32(0.5)
    bits *= np.float32(2 / np.sqrt(dim))
    return bits


def low_ends(codes: Array, ranges: Array) -> Array:
    """Return uint8 codes as sentence-transformers 6 dequantizes them, to the low end of a cell."""
    starts, steps = bounds(ranges)
    restored: Array = codes.astype(np.float64) * steps + starts
    return restored


def ranked(keys: Array, scores: Scores, k: int) -> tuple[Array, Scores]:
    """Return the k best of `keys (q, m)`, by score and then by key; -1 is no key and goes last."""
    scores = np.where(keys < 0, -np.inf, scores)
    order = np.lexsort((keys, -scores), axis=-1)[:, :k]
    return np.take_along_axis(keys, order, 1), np.take_along_axis(scores, order, 1)
