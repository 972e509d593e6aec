"""One request, answered within one snapshot: first pass over codes, exact scores, items joined.

A `Searcher` answers for a collection; `Search` is what it does once it has an index and a snapshot.
What a search may be asked beside its query is done in this order, whatever is left out of it:

1. ids are looked up: those of `among`, those that the filter names, those of `more_like`;
2. the nearest items that meet `where` and are `among` them are found, and scored exactly;
3. items of `more_like` themselves, and scores below `min_score`, are left out;
4. the results are chosen: the k nearest; or k groups (`group_by`), found by going on with 2 until
   there are k; or k of the `fetch_k` nearest by `mmr`; with `rerank` all `fetch_k`, or as many
   groups;
5. documents, metadata and, with `vectors`, vectors are joined. Up to here, all is of one snapshot;
6. `rerank` scores what was chosen, of which the k best, or k best groups, stay.

`mmr` goes neither with `group_by` nor with `rerank`, since each of them says what order is best.
"""

from __future__ import annotations

from requant.search.choosing import CrossEncoder, Reranker
from requant.search.options import Question, SearchOptions, check_unasked, question
from requant.search.recall import hits_of, recall_of
from requant.search.request import Found, Request
from requant.search.results import Batch, Hit, Ranks, batch_of, hits
from requant.search.search import Search
from requant.search.searcher import Searcher

__all__ = [
    "Batch",
    "CrossEncoder",
    "Found",
    "Hit",
    "Question",
    "Ranks",
    "Request",
    "Reranker",
    "Search",
    "SearchOptions",
    "Searcher",
    "batch_of",
    "check_unasked",
    "hits",
    "hits_of",
    "question",
    "recall_of",
]
