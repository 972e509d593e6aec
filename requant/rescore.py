"""Exact scores from float32 vectors: the one meaning of `score`, higher is better.

`cosine`: cosine similarity, 0 where a vector is all zeros. `ip`: inner product. `l2`: the negated
squared Euclidean distance. Sums run in float64 and are rounded once, so that a score does not
depend on how many others were computed with it, and equal vectors tie exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s
from requant.store.schema import Metric


def normalise(vectors: Float32s) -> Float32s:
    """Return `vectors (n, d) float32` at length 1, in a new array; zero vectors stay zero.

    >>> normalise(np.array([[3, 4], [0, 0]], np.float32)).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    exact = vectors.astype(np.float64)  # where the square of no float32 overflows or vanishes
    exact /= _lengths(exact)[:, None]
    return exact.astype(np.float32)


_LARGEST = float(np.finfo(np.float32).max)
# Below this many rows a sort costs less than finding out which rows need sorting.
_FEW = 512


class ExactRows:
    """Stored vectors `(m, d) float32`, ready to be scored against any number of queries.

    >>> rows = ExactRows(np.eye(2, dtype=np.float32), "cosine")
    >>> rows.scores(np.array([[2, 0]], np.float32)).tolist()
    [[1.0, 0.0]]
    """

    def __init__(self, vectors: Float32s, metric: Metric) -> None:
        """Convert once what every query needs."""
        self._metric = metric
        self._rows = vectors.astype(np.float64)
        if metric == "cosine":
            self._lengths = _lengths(self._rows)

    def score(self, query: Float32s, at: NDArray[np.intp] | None = None) -> Float32s:
        """Return the scores of all rows, or of those `at` these positions: `(m,) float32`."""
        exact = query.astype(np.float64)
        if self._metric == "cosine":
            exact /= _lengths(exact[None])
        rows = self._rows if at is None else self._rows[at]
        if self._metric == "l2":
            apart = rows - exact
            return _round(-np.einsum("ij,ij->i", apart, apart))
        products = rows @ exact
        if self._metric == "cosine":
            products /= self._lengths if at is None else self._lengths[at]
        return _round(products)

    def scores(self, queries: Float32s) -> Float32s:
        """Return the scores of all rows for each of `queries (q, d) float32`: `(q, m) float32`."""
        if self._metric == "l2":
            return np.stack([self.score(query) for query in queries])
        exact = queries.astype(np.float64)
        if self._metric == "cosine":
            exact /= _lengths(exact)[:, None]
        products = exact @ self._rows.T
        if self._metric == "cosine":
            products /= self._lengths
        return _round(products)


def best(keys: Keys, scores: Float32s, k: int) -> tuple[Keys, Float32s]:
    """Return the k best of `keys (m,)`, by score and then by key."""
    if len(keys) > max(4 * k, _FEW):
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[kept], scores[kept]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean lengths of `rows (m, d)`, 1 for a zero row: it then scores 0."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lengths[lengths == 0] = 1
    return lengths


def _round(values: NDArray[np.float64]) -> Float32s:
    # Products of very large vectors overflow float32; the largest one still ranks first.
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
