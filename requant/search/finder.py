"""The searches that a call makes in its snapshot: one, or several where results are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from requant.adapters.protocol import Keys
from requant.filters import Filter
from requant.indexes import Loaded, Memory
from requant.metrics import Operation
from requant.quantizers.arrays import Float32s
from requant.search.choosing import FieldValues
from requant.search.request import MAX_K, Found, Request
from requant.search.search import Search
from requant.store import CollectionRow, CollectionState, Reader

Compile = Callable[["Mapping[str, Any]"], "Filter | None"]


class Ranked(NamedTuple):
    """Results of some queries; `ended` tells which of them would have no more if asked for more."""

    found: list[Found]
    ended: list[bool]


class Finder:
    """Asks one index, in one snapshot, as often as it takes; leaves out what nobody wants."""

    def __init__(
        self,
        reader: Reader,
        owner: CollectionRow,
        state: CollectionState,
        loaded: Loaded | None,
        request: Request,
        *,
        where: Mapping[str, Any] | None,
        compile_where: Compile,
        without: Keys,
        min_score: float | None,
        keep: bool,
        operation: Operation,
        memory: Memory,
    ) -> None:
        """Search as `request` says, with the index `loaded` or exactly if it is None.

        `where` is the filter that `request` has compiled. Items of the keys `without`, and those
        with a score below `min_score`, are not wanted; the vectors of results are kept where `keep`
        says that somebody will ask for them. `operation` is what is measured.
        """
        self._reader = reader
        self._owner = owner
        self._state = state
        self._loaded = loaded
        self._request = request
        self._where = where
        self._compile = compile_where
        self._without = without
        self._min_score = min_score
        self._keeps = keep
        self._operation = operation
        self._memory = memory
        self._seen: dict[int, Float32s] = {}
        self.fields: FieldValues = FieldValues(reader)
        # What the first search was, and found, before anything was left out.
        self.first: tuple[Request, list[Found]] = request, []

    def run(self, queries: Float32s, count: int, where: Mapping[str, Any] | None = None) -> Ranked:
        """Return the `count` nearest of those that are wanted, and that `where` lets through too.

        At most MAX_K of them.
        """
        asked, extra, condition = self._request, len(self._without), self._request.condition
        if where is not None:
            both = where if self._where is None else {"$and": [self._where, where]}
            condition = self._compile(both)
        count = min(count, MAX_K)
        request = asked._replace(queries=queries, k=count + extra, condition=condition)
        seen = self._seen if self._keeps else None
        every = Search(
            self._reader,
            self._owner,
            self._state,
            self._loaded,
            request,
            seen,
            self._operation,
            self._memory,
        ).run()
        if not self.first[1]:
            self.first = request, every
        wanted = [self._wanted(found) for found in every]
        ended = [len(keys) < count or count == MAX_K for keys, _ in wanted]
        return Ranked([(keys[:count], scores[:count]) for keys, scores in wanted], ended)

    def settle(self, queries: Float32s, count: int) -> Found | None:
        """Return None: a score is the same however far down it is looked."""
        return None

    def vectors(self, keys: Keys) -> Float32s:
        """Return the stored vectors of results, `(n, d) float32` in the order of `keys`."""
        rows = np.empty((len(keys), self._owner.dim), np.float32)
        missing = np.array(sorted(set(keys.tolist()) - self._seen.keys()), np.int64)
        for some, vectors in self._reader.vectors_of(missing, self._owner.dim):
            self._seen.update(zip(some.tolist(), vectors, strict=True))
        for row, key in enumerate(keys.tolist()):
            rows[row] = self._seen[key]
        return rows

    def _wanted(self, found: Found) -> Found:
        keys, scores = found
        if len(self._without):
            others = ~np.isin(keys, self._without)
            keys, scores = keys[others], scores[others]
        return best_of((keys, scores), self._min_score)


def best_of(found: Found, least: float | None) -> Found:
    """Return results, best first, without those that have a lower score than `least`."""
    keys, scores = found
    if least is None:
        return found
    count = int(np.searchsorted(-scores, -least, "right"))
    return keys[:count], scores[:count]
