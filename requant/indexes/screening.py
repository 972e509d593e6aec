"""Rows that are scored roughly in float32 first, and the best few of them exactly.

A third of the time of float64, half of the memory where they are kept, and the same results: how
far a sum of products in float32 can be off, in whatever order it is taken, is known (N. J. Higham,
Accuracy and Stability of Numerical Algorithms, 3.1), and whatever might be among the best is scored
as `requant.scores` does. With u = 2**-24 and n parts, a product is off by n u |a| |b| at most, a
sum of squares by n u of itself, a length by half of that; and all by what is too small for float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.scores import LARGEST, ExactRows, Leading, Metric, Queries, score_exact

_ROUNDING = 2.0**-24  # of float32, relative
_SMALLEST = float(np.finfo(np.float32).tiny)
# Fewer rows, and numbers, are scored in float64 outright: screening costs some calls of NumPy.
_FEW, _FEW_FLOATS = 1024, 1 << 19
_A_FEW = 128  # that are scored only once
# From so many queries on BLAS is faster, though it wakes all its threads, and waits for them.
_MANY_QUERIES = 4
_NONE, _NO_SCORES = np.empty(0, np.intp), np.empty(0, np.float32)


class ScreenedRows:
    """Rows made ready to be searched, as `ExactRows` is, in their own size."""

    def __init__(self, rows: Float32s, metric: Metric) -> None:
        """Take `rows (m, d) float32`, which stay as they are."""
        self._rows = rows
        self._metric = metric
        dim = rows.shape[1]
        # A few roundings more than those of the sum: the query's, the score's own.
        self._part = 1.02 * (dim + 8) * _ROUNDING
        self._lost = dim * _SMALLEST  # products that are too small for float32
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            self._squares = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
        # Of which float32 tells enough: not of zeros, nor where a square is no float32.
        sound = np.isfinite(self._squares) & (self._squares * _ROUNDING > self._lost)
        self._unsound = None if sound.all() else ~sound
        if self._unsound is not None:
            self._squares[self._unsound] = 1
        self._lengths = np.sqrt(self._squares)
        self._rough_lengths = self._lengths.astype(np.float32)
        # Of the product, of the length by which it is divided, and of a quotient in float32.
        self._off_cosine = 1.02 * (1.5 * dim + 16) * _ROUNDING + self._lost / self._lengths
        self._off_at_most = float(self._off_cosine.max(initial=0))

    def leading(
        self,
        queries: Queries,
        k: int,
        wanted: NDArray[np.bool_] | None,
        least: Sequence[float],
    ) -> Iterator[Leading]:
        """Yield positions and scores for each query, as `ExactRows.leading` does."""
        count, at_once = len(queries.given), rows_for(2 * max(self._rows.shape))
        exact = queries.exact(self._metric)
        for start in range(0, count, at_once):
            end = min(start + at_once, count)
            products = self._products(queries, slice(start, end))
            if self._metric == "cosine" and self._unsound is None and wanted is None:
                products /= self._rough_lengths
                for i, cosines in enumerate(products, start):
                    found = self._nearest(cosines, k, least[i])
                    yield found, self._scores(exact[i], found)
                continue
            for i, row in enumerate(products, start):
                values, off = self._values(row.astype(np.float64), queries.lengths[i])
                found = self._possible(values, off, k, wanted, least[i])
                yield found, self._scores(exact[i], found)

    def _products(self, queries: Queries, some: slice) -> Float32s:
        asked = (queries.rough if self._metric == "cosine" else queries.given)[some]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if len(asked) >= _MANY_QUERIES:
                products: Float32s = asked @ self._rows.T
                return products
            products = np.empty((len(asked), len(self._rows)), np.float32)
            for one, row in zip(asked, products, strict=True):
                np.einsum("ij,j->i", self._rows, one, out=row)
            return products

    def _values(
        self, products: NDArray[np.float64], length: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores as far as `products` tell, and how far they may be off."""
        if self._metric == "cosine":
            return products / self._lengths, self._off_cosine
        off = (self._part * length) * self._lengths + self._lost
        if self._metric == "ip":
            return products, off
        both = (self._lengths + length) ** 2
        off = 2 * off + self._part * self._squares + self._lost + 4 * _ROUNDING * both
        return 2 * products - self._squares - length**2, off

    def _nearest(self, cosines: Float32s, k: int, worth: float) -> NDArray[np.intp]:
        """Return what `_possible` does, of cosines all of which are off by as little."""
        off = self._off_at_most
        if worth > -1 and cosines.max() < worth - off:
            return _NONE
        if k < len(cosines):
            kth = len(cosines) - k
            worth = max(worth, float(np.partition(cosines, kth)[kth]) - off)
        return np.flatnonzero(cosines >= worth - off)

    def _possible(
        self,
        values: NDArray[np.float64],
        off: NDArray[np.float64],
        k: int,
        wanted: NDArray[np.bool_] | None,
        worth: float,
    ) -> NDArray[np.intp]:
        """Return the rows that may be among the k best of those wanted, and worth it."""
        upper, doubtful = values + off, self._unsound
        if doubtful is None and worth > -LARGEST and upper.max() < worth:
            return _NONE
        lower = values - off
        if not np.isfinite(values).all():
            doubtful = ~np.isfinite(values) if doubtful is None else doubtful | ~np.isfinite(values)
        if self._metric != "cosine":  # as scores are cut off
            lower, upper = (np.clip(end, -LARGEST, LARGEST) for end in (lower, upper))
        if doubtful is not None:
            lower[doubtful], upper[doubtful] = -LARGEST, LARGEST
        if wanted is not None:
            lower[~wanted] = -np.inf
        if k < len(lower):
            worth = max(worth, float(np.partition(lower, len(lower) - k)[len(lower) - k]))
        possible = upper >= worth
        return np.flatnonzero(possible if wanted is None else possible & wanted)

    def _scores(self, query: NDArray[np.float64], found: NDArray[np.intp]) -> Float32s:
        step = rows_for(2 * self._rows.shape[1])  # all of them may be equal
        if not len(found):
            return _NO_SCORES
        parts = [found[start : start + step] for start in range(0, len(found), step)]
        scores = [score_exact(query, self._rows[part], self._metric) for part in parts]
        return np.concatenate(scores) if len(parts) > 1 else scores[0]


def kept(rows: Float32s, metric: Metric) -> ExactRows | ScreenedRows:
    """Return rows made ready to be searched again and again, the faster way."""
    few = len(rows) <= _FEW and rows.size <= _FEW_FLOATS
    return ExactRows(rows, metric) if few else ScreenedRows(rows, metric)


def once(rows: Float32s, metric: Metric) -> ExactRows | ScreenedRows:
    """Return rows made ready to be searched a single time, the faster way."""
    return ExactRows(rows, metric) if len(rows) <= _A_FEW else ScreenedRows(rows, metric)
