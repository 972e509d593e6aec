"""What a measured recall can be relied on for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# One-sided, 95 %.
_Z = 1.645


def lower_bound(hits: Sequence[int], wanted: Sequence[int]) -> float:
    """Return the least recall that `hits` of `wanted` results of each query speak for.

    Wilson's bound. The results of one query fail together, so that they count for fewer than they
    are: by as much as the recall of queries differs more than chance would have it.

    >>> round(lower_bound([10] * 300, [10] * 300), 4)
    0.9911
    >>> few_fail_wholly = lower_bound([10] * 270 + [0] * 30, [10] * 300)
    >>> few_fail_wholly < lower_bound([9, 10, 8] * 100, [10] * 300)
    True
    """
    found, every = np.asarray(hits, np.float64), np.asarray(wanted, np.float64)
    total, queries = every.sum(), len(every)
    if not total:
        return 1.0
    share = found.sum() / total
    # Of the ratio of two sums. Queries that all do alike tell as much as one result each, at least.
    spread = (
        float(np.square(found - share * every).sum()) / max(queries - 1, 1) * queries / total**2
    )
    chance = share * (1 - share)
    n = min(total, chance / spread) if chance and spread else float(queries)
    centre = share + _Z**2 / (2 * n)
    width = _Z * math.sqrt(chance / n + _Z**2 / (4 * n * n))
    return float((centre - width) / (1 + _Z**2 / n))
