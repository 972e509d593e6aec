"""One request, answered within one snapshot: first pass over codes, exact scores, items joined.

A `Searcher` answers for a collection; `Search` is what it does once it has an index and a snapshot.
"""

from __future__ import annotations

from requant.search.recall import recall_of
from requant.search.request import Found, Request
from requant.search.results import Batch, Hit, batch_of, hits
from requant.search.search import Search
from requant.search.searcher import Searcher

__all__ = [
    "Batch",
    "Found",
    "Hit",
    "Request",
    "Search",
    "Searcher",
    "batch_of",
    "hits",
    "recall_of",
]
