"""Rows in memory that are scored again and again: first roughly in float32, the best few exactly.

Half of the memory and a third of the time of float64, and the same results: how far a product in
float32 can be off is known (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and
whatever might be among the best is scored as `requant.scores` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.scores import LARGEST, ExactRows, Leading, Metric, norms_of, score

_ROUNDING = 2.0**-24  # of float32, relative
_SMALLEST = float(np.finfo(np.float32).tiny)
# Fewer rows, and numbers, are scored in float64 outright: screening costs some calls of NumPy.
_FEW, _FEW_FLOATS = 1024, 1 << 19


class ScreenedRows:
    """Rows made ready to be searched, as `ExactRows` is, in their own size."""

    def __init__(self, rows: Float32s, metric: Metric) -> None:
        """Take `rows (m, d) float32`, which stay as they are."""
        self._rows = rows
        self._metric = metric
        dim = rows.shape[1]
        self._lengths = np.empty(len(rows))
        step = rows_for(2 * dim)
        for start in range(0, len(rows), step):
            exact = rows[start : start + step].astype(np.float64)
            self._lengths[start : start + step] = norms_of(exact)
        if metric == "cosine":  # a zero row scores 0
            self._lengths[self._lengths == 0] = 1
        self._sound = bool(np.isfinite(self._lengths).all())
        # A few roundings more than those of the sum: the query's, the score's own.
        self._off = 1.02 * (dim + 8) * _ROUNDING * self._lengths
        self._lost = dim * _SMALLEST  # products that are too small for float32

    def leading(
        self,
        queries: Float32s,
        k: int,
        wanted: NDArray[np.bool_] | None,
        least: Sequence[float],
    ) -> Iterator[Leading]:
        """Yield positions and scores for each query, as `ExactRows.leading` does."""
        for query, worth in zip(queries, least, strict=True):
            found = self._possible(query, k, wanted, worth)
            if found is None:
                yield from ExactRows(self._rows, self._metric).leading(query[None], k, wanted, [])
                continue
            step = rows_for(2 * self._rows.shape[1])  # all of them may be equal
            parts = [found[start : start + step] for start in range(0, len(found), step)]
            scores = [score(query, self._rows[part], self._metric) for part in parts]
            yield found, np.concatenate([np.empty(0, np.float32), *scores])

    def _possible(
        self, query: Float32s, k: int, wanted: NDArray[np.bool_] | None, worth: float
    ) -> NDArray[np.intp] | None:
        """Return the rows that may be among the k best; None if float32 cannot tell."""
        exact = query.astype(np.float64)
        length = float(norms_of(exact[None])[0])
        asked = (exact / (length or 1)).astype(np.float32) if self._metric == "cosine" else query
        with np.errstate(over="ignore", invalid="ignore"):
            # Not by BLAS: it wakes all its threads for this, and waits for them.
            products = np.einsum("ij,j->i", self._rows, asked).astype(np.float64)
        if not self._sound or not np.isfinite(products).all():
            return None
        values, off = self._values(products, length)
        lower = np.clip(values - off, -LARGEST, LARGEST)
        upper = np.clip(values + off, -LARGEST, LARGEST)
        if wanted is not None:
            lower[~wanted] = -np.inf
            upper[~wanted] = -np.inf
        if k < len(lower):
            worth = max(worth, float(np.partition(lower, len(lower) - k)[len(lower) - k]))
        return np.flatnonzero((upper >= worth) & (upper > -np.inf))

    def _values(
        self, products: NDArray[np.float64], length: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores as far as `products` tell, and how far they may be off."""
        if self._metric == "cosine":
            return products / self._lengths, (self._off + self._lost) / self._lengths
        off = self._off * length + self._lost
        if self._metric == "ip":
            return products, off
        both = (self._lengths + length) ** 2
        return 2 * products - self._lengths**2 - length**2, 2 * off + 4 * _ROUNDING * both


def kept(rows: Float32s, metric: Metric) -> ExactRows | ScreenedRows:
    """Return rows made ready to be searched again and again, the faster way."""
    few = len(rows) <= _FEW and rows.size <= _FEW_FLOATS
    return ExactRows(rows, metric) if few else ScreenedRows(rows, metric)
