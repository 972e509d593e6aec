"""Scores from 0 to 1, as Haystack's own store scales them."""

from __future__ import annotations

import math

from requant.errors import UnsupportedError
from requant.integration.haystack.errors import DocumentError
from requant.scores import Metric

# What Haystack calls them.
SIMILARITIES: dict[str, Metric] = {"cosine": "cosine", "dot_product": "ip", "l2": "l2"}
# Of Haystack's own store: inner products of 100 are as good as any.
_PRODUCTS = 100.0


def metric_of(similarity: str) -> Metric:
    """Return the metric that Haystack's word stands for.

    >>> metric_of("dot_product")
    'ip'
    """
    metric = SIMILARITIES.get(similarity) if isinstance(similarity, str) else None
    if metric is None:
        known = ", ".join(map(repr, SIMILARITIES))
        raise DocumentError(f"unknown similarity {similarity!r}; there are {known}")
    return metric


def scaled(score: float, metric: str) -> float:
    """Return a score between 0 and 1: of `l2` by the distance, which is 0 for 1.

    >>> scaled(0.5, "cosine"), scaled(0.0, "ip"), scaled(-9.0, "l2")
    (0.75, 0.5, 0.25)
    """
    if metric == "cosine":
        return min(1.0, max(0.0, (score + 1) / 2))
    if metric == "ip":
        return 0.5 * (1 + math.tanh(score / _PRODUCTS / 2))
    if metric == "l2":
        return 1 / (1 + math.sqrt(-score))
    raise UnsupportedError(f"scores of {metric!r} have no scale from 0 to 1")
