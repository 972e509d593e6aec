"""Exact scores from float32 vectors: the one meaning of `score`, higher is better.

`cosine`: cosine similarity, 0 where a vector is all zeros. `ip`: inner product. `l2`: the negated
squared Euclidean distance. Sums run in float64 and are rounded once, so that a score does not
depend on how many others were computed with it, and equal vectors tie exactly.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s

Metric = Literal["cosine", "ip", "l2"]


def normalise(vectors: Float32s) -> Float32s:
    """Return `vectors (n, d) float32` at length 1, in a new array; zero vectors stay zero.

    >>> normalise(np.array([[3, 4], [0, 0]], np.float32)).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    exact = vectors.astype(np.float64)  # where the square of no float32 overflows or vanishes
    exact /= lengths_of(exact)[:, None]
    return exact.astype(np.float32)


_LARGEST = float(np.finfo(np.float32).max)
# Below this many rows a sort costs less than finding out which rows need sorting.
_FEW = 512


def score(query: Float32s, rows: Float32s, metric: Metric) -> Float32s:
    """Return the scores of `rows (m, d) float32` for one query `(d,) float32`: `(m,) float32`.

    >>> score(np.array([2, 0], np.float32), np.eye(2, dtype=np.float32), "cosine").tolist()
    [1.0, 0.0]
    """
    exact_rows, exact_query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        exact_rows -= exact_query
        return rounded(-np.einsum("ij,ij->i", exact_rows, exact_rows))
    if metric == "cosine":
        exact_query /= lengths_of(exact_query[None])
    products = exact_rows @ exact_query
    if metric == "cosine":
        products /= lengths_of(exact_rows)
    return rounded(products)


def score_many(queries: Float32s, rows: Float32s, metric: Metric) -> Float32s:
    """Return the scores of all `rows (m, d)` for each of `queries (q, d)`: `(q, m) float32`."""
    if metric == "l2":
        # |a - b|^2 by way of products would lose what tells near neighbours apart.
        return np.stack([score(query, rows, metric) for query in queries])
    exact_rows, exact_queries = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        exact_queries /= lengths_of(exact_queries)[:, None]
    products = exact_queries @ exact_rows.T
    if metric == "cosine":
        products /= lengths_of(exact_rows)
    return rounded(products)


def best(keys: Keys, scores: Float32s, k: int) -> tuple[Keys, Float32s]:
    """Return the k best of `keys (m,)`, by score and then by key."""
    if len(keys) > max(4 * k, _FEW):
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[kept], scores[kept]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


def lengths_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean lengths of `rows (m, d) float64`, 1 for a zero row: it scores 0."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lengths[lengths == 0] = 1
    return lengths


def rounded(values: NDArray[np.float64]) -> Float32s:
    """Return `values` as float32."""
    # Beyond float32 scores tie at its largest value, which at least stays above all others.
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
