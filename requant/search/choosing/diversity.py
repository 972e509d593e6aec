"""Maximal marginal relevance: near to the query, and not near to what has been chosen already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.scores import ExactRows, Metric


def diverse(
    scores: Float32s, rows: Float32s, k: int, balance: float, metric: Metric
) -> NDArray[np.intp]:
    """Return which k of `rows (m, d)`, best first by `scores (m,)`, to take, and in what order.

    After Carbonell and Goldstein (1998): each next one is the `i` of those left with the largest

        balance * score(query, i) - (1 - balance) * max(score(j, i) for the chosen j)

    where both scores are exact and of the collection's metric. The first one is the nearest; a tie
    goes to the nearer, then to the older item.

    >>> rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    >>> diverse(np.array([1, 0.99, 0.5], np.float32), rows, 2, 0.5, "cosine").tolist()
    [0, 2]
    """
    exact = ExactRows(rows, metric)
    left = np.ones(len(rows), bool)
    nearest = np.full(len(rows), -np.inf)
    relevance = balance * scores.astype(np.float64)
    chosen: list[int] = []
    for _ in range(min(k, len(rows))):
        # Of none so far: the first is the nearest, whatever the balance.
        worth = relevance - (1 - balance) * nearest if chosen else scores
        at = int(np.argmax(np.where(left, worth, -np.inf)))
        chosen.append(at)
        left[at] = False
        nearest = np.maximum(nearest, next(exact.scores(rows[at : at + 1])))
    return np.array(chosen, np.intp)
