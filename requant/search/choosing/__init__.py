"""Which of the nearest items are the results, in what order: groups, diversity, a reranker."""

from __future__ import annotations

from requant.search.choosing.diversity import diverse
from requant.search.choosing.grouping import Groups, Ranker, grouped
from requant.search.choosing.reranking import CrossEncoder, Reranker, check_reranker, reranked
from requant.search.choosing.values import FieldValues

__all__ = [
    "CrossEncoder",
    "FieldValues",
    "Groups",
    "Ranker",
    "Reranker",
    "check_reranker",
    "diverse",
    "grouped",
    "reranked",
]
