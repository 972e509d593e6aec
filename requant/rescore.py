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
    # A power of two at the size of the largest value keeps the squares in range, and is exact.
    _, exponents = np.frexp(np.abs(vectors).max(axis=1, keepdims=True))
    scaled = np.ldexp(vectors, -exponents)
    lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64))
    factors = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    result: Float32s = (scaled * factors[:, None]).astype(np.float32)
    return result


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
            self._lengths = np.sqrt(np.einsum("ij,ij->i", self._rows, self._rows))

    def score(self, query: Float32s, at: NDArray[np.intp] | None = None) -> Float32s:
        """Return the scores of all rows, or of those `at` these positions: `(m,) float32`."""
        exact = query.astype(np.float64)
        rows = self._rows if at is None else self._rows[at]
        if self._metric == "l2":
            apart = rows - exact
            return _round(-np.einsum("ij,ij->i", apart, apart))
        products = rows @ exact
        if self._metric == "ip":
            return _round(products)
        lengths = self._lengths if at is None else self._lengths[at]
        return _round(_quotient(products, lengths * np.sqrt(exact @ exact)))

    def scores(self, queries: Float32s) -> Float32s:
        """Return the scores of all rows for each of `queries (q, d) float32`: `(q, m) float32`."""
        if self._metric == "l2":
            return np.stack([self.score(query) for query in queries])
        exact = queries.astype(np.float64)
        products = exact @ self._rows.T
        if self._metric == "ip":
            return _round(products)
        lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        return _round(_quotient(products, lengths[:, None] * self._lengths))


def best(keys: Keys, scores: Float32s, k: int) -> tuple[Keys, Float32s]:
    """Return the k best of `keys (m,)`, by score and then by key."""
    if len(keys) > 4 * k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[kept], scores[kept]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


def _quotient(products: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = products / lengths
    return np.where(lengths > 0, quotients, 0.0)


def _round(values: NDArray[np.float64]) -> Float32s:
    with np.errstate(over="ignore"):
        result: Float32s = values.astype(np.float32)
    return result
