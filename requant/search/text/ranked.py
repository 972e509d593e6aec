"""Items ranked by the words in their documents, as far down as it takes."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.filters import Filter
from requant.metrics import Operation
from requant.quantizers.arrays import Float32s
from requant.search.choosing import FieldValues
from requant.search.finder import Compile, Ranked, best_of
from requant.search.request import MAX_K, Found, Request
from requant.store import CollectionRow, CollectionState, Reader, TextQuery, matching_text

# What is asked for first where not all of it may be found: so many for each result, at least.
_SPARE, _LEAST = 4, 100


class ByWords:
    """Asks the text index, in one snapshot, as often as it takes; a `Ranker`."""

    def __init__(
        self,
        reader: Reader,
        owner: CollectionRow,
        state: CollectionState,
        request: Request,
        query: TextQuery,
        *,
        compile_where: Compile,
        min_score: float | None,
        operation: Operation,
    ) -> None:
        """Find what has the words of `query`, among what `request` lets through."""
        self._reader = reader
        self._owner = owner
        self._state = state
        self._request = request
        self._query = query
        self._compile = compile_where
        self._min_score = min_score
        self._operation = operation
        self._every: Found | None = None
        self.fields: FieldValues = FieldValues(reader)
        self.first: tuple[Request, list[Found]] = request, []

    def run(self, queries: Float32s, count: int, where: Mapping[str, Any] | None = None) -> Ranked:
        """Return the best `count`, at most MAX_K, that `where` lets through too."""
        count = min(count, MAX_K)
        extra = None if where is None else self._compile(where)
        lets_all = self._request.keys is None and self._request.condition is None and extra is None
        limit: int | None = count if lets_all else max(_LEAST, _SPARE * count)
        while True:
            keys, scores = self._ranked(limit)
            ended = limit is None or len(keys) < limit
            if not lets_all:
                met = self._met(keys, extra)
                keys, scores = keys[met], scores[met]
            if len(keys) >= count or ended:
                break
            limit = None
        keys, scores = best_of((keys[:count], scores[:count]), self._min_score)
        return Ranked([(keys, scores)], [len(keys) < count or count == MAX_K])

    def settle(self, queries: Float32s, count: int) -> Found | None:
        """Return None: a score is the same however far down it is looked."""
        return None

    def met(self, keys: Keys, where: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Tell which of `keys` may be found, and meet `where`."""
        return self._met(keys, self._compile(where))

    def _ranked(self, limit: int | None) -> Found:
        if self._every is not None:
            keys, scores = self._every
            return (keys, scores) if limit is None else (keys[:limit], scores[:limit])
        begun = perf_counter()
        found = matching_text(self._reader, self._owner, self._query, limit)
        self._operation.took("words", begun)
        if limit is None:
            self._every = found
        return found

    def _met(self, keys: Keys, extra: Filter | None) -> NDArray[np.bool_]:
        chosen = self._request.keys
        met = np.ones(len(keys), np.bool_) if chosen is None else np.isin(keys, chosen)
        for condition in (self._request.condition, extra):
            if condition is not None and met.any():
                matching = self._reader.matcher(self._owner.id, condition, self._state)
                assert matching is not None  # the state is known
                met[met] = np.isin(keys[met], matching.among(np.sort(keys[met])))
        return met
