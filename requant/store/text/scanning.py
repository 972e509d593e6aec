"""Documents found by looking at all of them: for terms that are shorter than a trigram.

Two characters are a word in Chinese, and no index of three finds them. Scores are BM25 as in
SQLite's FTS5, with what is looked for in place of words, and characters for lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from requant.store.reader import Reader
from requant.store.schema import CollectionRow, key_range
from requant.store.text.syntax import Term, TextQuery

TRIGRAM = 3
# As FTS5 has them.
_K1, _B, _LEAST_WEIGHT = 1.2, 0.75, 1e-6
_PAGE = 4096


def too_short(query: TextQuery) -> bool:
    """Whether an index of trigrams cannot answer a query."""
    return any(len(term.text) < TRIGRAM for term in (*query.terms, *query.without))


def scan(
    reader: Reader, owner: CollectionRow, query: TextQuery, limit: int | None
) -> list[tuple[int, float]]:
    """Return (key, score) of what matches, best first; all of it without a limit."""
    terms = [*query.terms, *(term for term in query.without if term not in query.terms)]
    texts = [term.text.lower() for term in terms]
    keys: list[int] = []
    rows: list[list[int]] = []
    total = characters = 0
    for key, document in _documents(reader, owner):
        text = document.lower()
        total, characters = total + 1, characters + len(text)
        counts = [text.count(one) for one in texts]
        if any(counts):
            keys.append(key)
            rows.append([len(text), *counts])
    if not keys:
        return []
    lengths, counted = np.array(rows, np.int64)[:, 0], np.array(rows, np.int64)[:, 1:]
    places = {term: at for at, term in enumerate(terms)}
    met = _met(query, places, counted > 0)
    scores = _scores(counted[:, : len(query.terms)], lengths, total, characters / total)
    order = np.lexsort((np.array(keys), -scores))
    order = order[met[order]][:limit]
    return [(keys[at], float(scores[at])) for at in order.tolist()]


def _met(query: TextQuery, places: dict[Term, int], there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    groups = [there[:, [places[term] for term in group]].all(axis=1) for group in query.groups]
    met: NDArray[np.bool_] = np.logical_or.reduce(groups)
    if query.without:
        met &= ~there[:, [places[term] for term in query.without]].any(axis=1)
    return met


def _scores(
    counts: NDArray[np.int64], lengths: NDArray[np.int64], total: int, mean: float
) -> NDArray[np.float64]:
    having = (counts > 0).sum(axis=0)
    weights = [max(math.log((total - n + 0.5) / (n + 0.5)), _LEAST_WEIGHT) for n in having.tolist()]
    damped = _K1 * (1 - _B + _B * lengths[:, None] / mean)
    scores: NDArray[np.float64] = (counts * (_K1 + 1) / (counts + damped)) @ np.array(weights)
    return scores


def _documents(reader: Reader, owner: CollectionRow) -> Iterator[tuple[int, str]]:
    connection, cursor = reader.source()
    statement = _page(reader.tables.quoted("items"), connection.dialect.name)
    first, end = key_range(owner.id)
    while rows := cursor.execute(statement, (first, end, _PAGE)).fetchall():
        yield from rows
        first = rows[-1][0] + 1


@lru_cache
def _page(items: str, dialect_name: str) -> str:
    mark = "?" if dialect_name == "sqlite" else "%s"
    within = f"key >= {mark} AND key < {mark} AND document IS NOT NULL"
    return f"SELECT key, document FROM {items} WHERE {within} ORDER BY key LIMIT {mark}"  # noqa: S608
