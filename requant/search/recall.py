"""How much of what is near an index finds, counted by score: exact duplicates tie."""

from __future__ import annotations

from collections.abc import Sequence

from requant.search.request import Found

# What rounding may do to the score of an item that is as near as the k-th nearest.
_TIE = 1e-6


def hits_of(found: Sequence[Found], wanted: Sequence[Found]) -> int:
    """Return how many results of `wanted` are in `found`, or others that are at least as near.

    >>> import numpy as np
    >>> a = (np.array([1, 2]), np.array([0.9, 0.5], np.float32))
    >>> b = (np.array([1, 3]), np.array([0.9, 0.5], np.float32))
    >>> hits_of([a], [b])
    2
    """
    hits = 0
    for (_, scores), (_, best) in zip(found, wanted, strict=False):
        if len(best):
            least = best[-1] - _TIE * max(1.0, abs(float(best[-1])))
            hits += min(int((scores >= least).sum()), len(best))
    return hits


def recall_of(found: Sequence[Found], wanted: Sequence[Found]) -> float:
    """Return the share of the `wanted` results that were found; 1 where nothing was wanted."""
    count = sum(len(keys) for keys, _ in wanted)
    return hits_of(found, wanted) / count if count else 1.0
