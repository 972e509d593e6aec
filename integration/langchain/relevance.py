"""Scores as LangChain's relevance: from 0, unlike, to 1, the same."""

from __future__ import annotations

import math
from collections.abc import Callable

from requant.scores import Metric


def relevance_of(metric: Metric) -> Callable[[float], float]:
    """Return what turns a score of `metric` into a relevance; the order stays.

    >>> relevance_of("cosine")(-1.0), relevance_of("ip")(0.0), relevance_of("l2")(-9.0)
    (0.0, 0.5, 0.25)
    """
    return {"cosine": _cosine, "ip": _product, "l2": _distance}[metric]


def _cosine(score: float) -> float:
    return min(max((1.0 + score) / 2.0, 0.0), 1.0)  # rounding may lead beyond


def _product(score: float) -> float:
    return 0.5 + 0.5 * math.tanh(score / 2.0)  # the sigmoid, of a score of any size


def _distance(score: float) -> float:
    return 1.0 / (1.0 + math.sqrt(max(-score, 0.0)))
