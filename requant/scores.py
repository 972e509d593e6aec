"""Exact scores from float32 vectors: the one meaning of `score`, higher is better.

`cosine`: cosine similarity, 0 where a vector is all zeros. `ip`: inner product. `l2`: the negated
squared Euclidean distance. Sums run in float64 and are rounded once, so that a score does not
depend on how many others were computed with it, and equal vectors tie exactly. Of a sum whose parts
cancel out, what roundings may have left is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for

Metric = Literal["cosine", "ip", "l2"]
# Positions of rows, and their scores.
Leading = tuple[NDArray[np.intp] | slice, Float32s]


def normalise(vectors: Float32s) -> Float32s:
    """Return `vectors (n, d) float32` at length 1, in a new array; zero vectors stay zero.

    >>> normalise(np.array([[3, 4], [0, 0]], np.float32)).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return exact_queries(vectors, "cosine").astype(np.float32)


def exact_queries(queries: Float32s, metric: Metric) -> NDArray[np.float64]:
    """Return `queries (q, d) float32` as `score_exact` takes them; for cosine, at length 1."""
    exact = queries.astype(np.float64)  # where the square of no float32 overflows or vanishes
    if metric == "cosine":
        exact /= lengths_of(exact)[:, None]
    return exact


LARGEST = float(np.finfo(np.float32).max)
# Of a sum of float64, relative to its parts and for each of them; twice that.
_ROUNDING = 2.0**-52
_MUCH = 1e6
# What a length that should be 1, and a quotient, may be off, and much more.
_ABOVE = 1.001
# Below this many rows a sort costs less than finding out which rows need sorting.
_FEW = 512


def score(query: Float32s, rows: Float32s, metric: Metric) -> Float32s:
    """Return the scores of `rows (m, d) float32` for one query `(d,) float32`: `(m,) float32`.

    >>> score(np.array([2, 0], np.float32), np.eye(2, dtype=np.float32), "cosine").tolist()
    [1.0, 0.0]
    """
    return score_exact(exact_queries(query[None], metric)[0], rows, metric)


def score_exact(query: NDArray[np.float64], rows: Float32s, metric: Metric) -> Float32s:
    """Return the scores of `rows (m, d) float32` for one of `exact_queries`: `(m,) float32`."""
    exact = rows.astype(np.float64)
    if metric == "l2":
        exact -= query
        return rounded(-squares_of(exact))
    products = exact @ query
    if metric == "ip":
        _drop_noise(products[None], query[None], exact, None)
        return rounded(products)
    lengths = lengths_of(exact)
    cosines = products / lengths
    if _least(cosines) <= _ABOVE * len(query) * _ROUNDING:  # of a query at length 1
        _drop_noise(products[None], query[None], exact, lengths)
        cosines = products / lengths
    return cosines.astype(np.float32)


class Queries:
    """Queries that are asked of one batch of rows after the other, made ready once."""

    def __init__(self, given: Float32s) -> None:
        """Take `given (q, d) float32`."""
        self.given = given
        self._exact: dict[Metric, NDArray[np.float64]] = {}

    def exact(self, metric: Metric) -> NDArray[np.float64]:
        """Return them as `exact_queries` does."""
        if metric not in self._exact:
            self._exact[metric] = exact_queries(self.given, metric)
        return self._exact[metric]

    @cached_property
    def rough(self) -> Float32s:
        """What is multiplied with rows for cosine: at length 1, rounded."""
        return self.exact("cosine").astype(np.float32)

    @cached_property
    def lengths(self) -> list[float]:
        """Their lengths."""
        lengths: list[float] = norms_of(self.exact("ip")).tolist()
        return lengths


class ExactRows:
    """Rows made ready to be scored for many queries, or again and again."""

    def __init__(self, rows: Float32s, metric: Metric) -> None:
        """Take `rows (m, d) float32`; in memory they are twice as large."""
        self._rows = rows.astype(np.float64)
        self._metric = metric
        self._lengths = lengths_of(self._rows) if metric == "cosine" else None

    def leading(
        self,
        queries: Queries,
        k: int,
        wanted: NDArray[np.bool_] | None,
        least: Sequence[float],
    ) -> Iterator[Leading]:
        """Yield for each of `queries` the positions of rows and their scores.

        All rows that are among the `k` best of those `wanted` (None: of all) and score no less than
        the query's of `least` are there; others may be, if they are wanted.
        """
        at = slice(None) if wanted is None else np.flatnonzero(wanted)
        for scores in self.scores(queries.given):
            yield at, scores[at]

    def scores(self, queries: Float32s) -> Iterator[Float32s]:
        """Yield the scores `(m,) float32` of all rows for each of `queries (q, d)`."""
        if self._metric == "l2":
            # |a - b|^2 by way of products would lose what tells near neighbours apart.
            for query in queries:
                apart = self._rows - query
                yield rounded(-squares_of(apart))
            return
        at_once = rows_for(2 * max(self._rows.shape))
        for start in range(0, len(queries), at_once):
            exact = queries[start : start + at_once].astype(np.float64)
            if self._lengths is not None:
                exact /= lengths_of(exact)[:, None]
            products = exact @ self._rows.T
            _drop_noise(products, exact, self._rows, self._lengths)
            if self._lengths is not None:
                products /= self._lengths
            yield from rounded(products)


def _drop_noise(
    products: NDArray[np.float64],
    queries: NDArray[np.float64],
    rows: NDArray[np.float64],
    lengths: NDArray[np.float64] | None,
) -> None:
    """Set those of `products (q, m)` to 0 that are less than their roundings may be.

    How a sum is rounded depends on what is computed with it. Without the `lengths (m,)` of rows,
    it is looked at all that would be noise if a row were a million times as long as some of them.
    """
    if not len(rows):
        return
    noise = queries.shape[1] * _ROUNDING
    known: NDArray[np.float64] | float = _MUCH * _longest(rows) if lengths is None else lengths
    # Hardly ever is anything: then one comparison is all that a search pays for it.
    most = known if isinstance(known, float) else float(known.max())
    if _least(products) > noise * math.sqrt(float(np.vdot(queries, queries))) * most:
        return
    doubtful = np.abs(products) <= noise * norms_of(queries)[:, None] * known
    if not doubtful.any():
        return
    doubtful &= products != 0
    step = rows_for(2 * queries.shape[1])
    for number in np.flatnonzero(doubtful.any(axis=1)):
        query, found = queries[number], np.flatnonzero(doubtful[number])
        for start in range(0, len(found), step):
            part = found[start : start + step]
            parts = np.abs(rows[part]) @ np.abs(query)
            products[number, part[np.abs(products[number, part]) <= noise * parts]] = 0


def _least(values: NDArray[np.float64]) -> float:
    """Return the least absolute value, infinity of none."""
    # The ufunc's own method: half the time of `min` for a few values.
    least: float = np.minimum.reduce(np.abs(values), axis=None, initial=np.inf)
    return least


def _longest(rows: NDArray[np.float64]) -> float:
    """Return the length of the longest of the first, the middle and the last of some rows."""
    first, middle, last = rows[0], rows[len(rows) // 2], rows[-1]
    return math.sqrt(max(first @ first, middle @ middle, last @ last))


def score_many(queries: Float32s, rows: Float32s, metric: Metric) -> Float32s:
    """Return the scores of all `rows (m, d)` for each of `queries (q, d)`: `(q, m) float32`."""
    found = np.empty((len(queries), len(rows)), np.float32)
    for i, scores in enumerate(ExactRows(rows, metric).scores(queries)):
        found[i] = scores
    return found


def best(keys: Keys, scores: Float32s, k: int) -> tuple[Keys, Float32s]:
    """Return the k best of `keys (m,)`, by score and then by key."""
    if len(keys) > max(4 * k, _FEW):
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[kept], scores[kept]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


def lengths_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean lengths of `rows (m, d) float64`, 1 for a zero row: it scores 0."""
    lengths = norms_of(rows)
    if np.count_nonzero(lengths) < len(lengths):  # a third of the time of `all`
        lengths[lengths == 0] = 1
    return lengths


def norms_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean lengths of `rows (m, d) float64` as they are."""
    norms: NDArray[np.float64] = np.sqrt(squares_of(rows))
    return norms


def squares_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared Euclidean lengths of `rows (m, d) float64`."""
    # Row by row, as einsum does, but by BLAS: for 40 rows half the time, a tenth for long ones.
    squares: NDArray[np.float64] = np.matmul(rows[:, None, :], rows[:, :, None])[:, 0, 0]
    return squares


def rounded(values: NDArray[np.float64]) -> Float32s:
    """Return `values` as float32."""
    # Beyond float32 scores tie at its largest value, which at least stays above all others.
    return np.minimum(np.maximum(values, -LARGEST), LARGEST).astype(np.float32)
