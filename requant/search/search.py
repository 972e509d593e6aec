"""A query's way: first pass over codes, fetch of the candidates' floats, exact rescoring.

Whatever the first pass misses through deletions, filters or an engine's own approximation is made
up for by asking for more candidates and in the end by an exact scan, so that k results come back
whenever k exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.indexes import Loaded
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.protocol import Refining
from requant.scores import best, normalise, score, score_many
from requant.search.request import Found, Request
from requant.store import CollectionRow, CollectionState, Reader, Watermark, key_range

# Up to this many matches of a filter are scored outright: as cheap as a search, and exact.
FEW = 1000
# Candidates of a search that names no oversampling, at least: for small k, and while a quantizer
# knows only the first few items of a collection.
MIN_CANDIDATES = 30
# How far a filter may stretch the first pass before the filter's own key set is used instead.
STRETCH = 16
# Queries whose candidates are fetched together, at most, and the bytes that these may take.
BLOCK = 1024
BLOCK_BYTES = 64 << 20
SCAN_ROWS = 8192
# The share of the candidates that keeps nearly all of the recall once a Refining quantizer has
# looked at their codes; their floats need not be fetched at all.
REFINED_SHARE = 0.375


class Search:
    """One request within one snapshot."""

    def __init__(
        self,
        reader: Reader,
        owner: CollectionRow,
        state: CollectionState,
        loaded: Loaded | None,
        request: Request,
    ) -> None:
        """Search with the index `loaded`, or exactly if it is None."""
        self._reader = reader
        self._owner = owner
        self._state = state
        self._loaded = loaded
        self._request = request
        # Read once: another thread may be writing to the index.
        self._size = loaded.size if loaded is not None else 0
        self._mark = loaded.watermark if loaded is not None else None

    def run(self) -> list[Found]:
        """Return keys and scores of each query's results, best first."""
        request = self._request
        if self._loaded is None or not self._size:
            return self._exact(request.queries, self._batches(self._allowed))
        count = self._candidate_count(self._loaded)
        fetched = count * (REFINED_SHARE if self._refines(self._loaded) else 1)
        block = max(1, min(BLOCK, int(BLOCK_BYTES / (fetched * self._owner.dim * 4))))
        results: list[Found] = []
        for start in range(0, len(request.queries), block):
            results += self._block(self._loaded, request.queries[start : start + block], count)
        if self._mark is not None and not self._mark.covers(self._state):
            return self._with_unfollowed(results, self._mark)
        return results

    def _block(self, loaded: Loaded, queries: Float32s, count: int) -> list[Found]:
        prepared = normalise(queries) if self._owner.metric == "cosine" else queries
        encoded = loaded.quantizer.encode_query(prepared, loaded.backend.spec.metric)
        asked = _Asked(queries, prepared, encoded)
        if self._request.condition is not None:
            return self._filtered(loaded, asked, count)
        rows, _ = self._first_pass(loaded, asked, count, count)
        wanted = min(self._request.k, self._size)
        return self._completed(queries, self._rescored(queries, rows), wanted, None)

    def _filtered(self, loaded: Loaded, asked: _Asked, count: int) -> list[Found]:
        """Filter the candidates, of more and more if few pass; then search among what passes."""
        results: dict[int, Found] = {}
        pending, stretched = np.arange(len(asked.queries)), count
        while len(pending) and stretched < min(self._size, STRETCH * count + 1):
            part = asked.take(pending)
            rows, survivors = self._first_pass(loaded, part, stretched, count)
            full = np.flatnonzero(survivors >= count)
            found = self._rescored(part.queries[full], [rows[i] for i in full])
            results.update(zip(pending[full].tolist(), found, strict=True))
            pending, stretched = np.delete(pending, full), stretched * 4
        if len(pending):
            found = self._among_allowed(loaded, asked.take(pending), count)
            results.update(zip(pending.tolist(), found, strict=True))
        return [results[i] for i in range(len(asked.queries))]

    def _among_allowed(self, loaded: Loaded, asked: _Asked, count: int) -> list[Found]:
        allowed = self._allowed
        assert allowed is not None
        if len(allowed) <= FEW or not loaded.takes_key_sets:
            return self._exact(asked.queries, self._batches(allowed))
        rows, _ = self._first_pass(loaded, asked, count, count, among=allowed)
        results = self._rescored(asked.queries, rows)
        return self._completed(asked.queries, results, self._request.k, allowed)

    def _first_pass(
        self, loaded: Loaded, asked: _Asked, ask: int, keep: int, among: Keys | None = None
    ) -> tuple[list[Keys], NDArray[np.intp]]:
        """Ask the engine for `ask` candidates a query; return at most `keep` that meet the filter.

        The second result is how many met it.
        """
        refines = self._refines(loaded) and self._kept(keep) < keep
        answer = loaded.backend.search(
            asked.encoded,
            min(ask, self._size),
            among=among,
            effort=self._request.effort,
            codes=refines,
        )
        passing = self._passing(answer.keys, among)
        survivors = passing.sum(axis=1)
        rows, all_of_them = [], slice(keep)
        for i, row in enumerate(answer.keys):
            at = all_of_them if survivors[i] == len(row) else np.flatnonzero(passing[i])[:keep]
            if refines and answer.codes is not None:
                codes, query = answer.codes[i][at], asked.prepared[i : i + 1]
                rows.append(self._refined(loaded, query, row[at], codes))
            else:
                rows.append(row[at])
        return rows, survivors

    def _passing(self, keys: Keys, among: Keys | None) -> NDArray[np.bool_]:
        """Tell which candidates are no padding, and meet the filter unless the engine saw to it.

        A key of another collection is none of ours, whoever names it.
        """
        first, end = key_range(self._owner.id)
        there: NDArray[np.bool_] = (keys >= first) & (keys < end)
        condition = self._request.condition
        if condition is None or among is not None:
            return there
        met = self._reader.matching(first, end, condition, np.unique(keys[there]))
        return np.isin(keys, met)

    def _refined(self, loaded: Loaded, query: Float32s, keys: Keys, codes: Codes) -> Keys:
        """Keep the candidates that the quantizer, which has seen floats and codes, finds best."""
        keep = self._kept(len(keys))
        if keep >= len(keys):
            return keys
        estimates = cast("Refining", loaded.quantizer).estimate(query, codes)
        return keys[np.argpartition(estimates, len(keys) - keep)[-keep:]]

    def _rescored(self, queries: Float32s, rows: list[Keys]) -> list[Found]:
        """Fetch the floats of all candidates at once and rank each query's by its exact score."""
        if not rows:
            return []
        unique = np.sort(rows[0]) if len(rows) == 1 else np.unique(np.concatenate(rows))
        found, vectors = self._reader.vectors(unique, self._owner.dim)
        k, metric = self._request.k, self._owner.metric
        if len(rows) == 1:
            return [best(found, score(queries[0], vectors, metric), k)]
        results = []
        for query, row in zip(queries, rows, strict=True):
            # An item deleted after the engine answered, or not yet in this snapshot, has no floats.
            row = row[np.isin(row, found)] if len(found) < len(unique) else row
            at = np.searchsorted(found, row)
            results.append(best(row, score(query, vectors[at], metric), k))
        return results

    def _completed(
        self, queries: Float32s, results: list[Found], wanted: int, allowed: Keys | None
    ) -> list[Found]:
        """Answer exactly where an approximate engine came back with too little."""
        if allowed is not None:
            wanted = min(wanted, len(allowed))
        short = [i for i, (keys, _) in enumerate(results) if len(keys) < wanted]
        if short:
            exact = self._exact(queries[short], self._batches(allowed))
            for i, found in zip(short, exact, strict=True):
                results[i] = found
        return results

    def _with_unfollowed(self, results: list[Found], mark: Watermark) -> list[Found]:
        """Add what the index does not know of yet, since somebody else is writing to it."""
        changed = self._reader.changed(self._owner.id, mark.seq, mark.key)
        fresh = self._exact(self._request.queries, self._unfollowed(changed, mark))
        merged = []
        for known, found in zip(results, fresh, strict=True):
            new = ~np.isin(found[0], known[0])
            keys = np.concatenate([known[0], found[0][new]])
            scores = np.concatenate([known[1], found[1][new]])
            merged.append(best(keys, scores, self._request.k))
        return merged

    def _unfollowed(self, changed: Keys, mark: Watermark) -> Iterator[tuple[Keys, Float32s]]:
        new = self._reader.scan(mark.key, self._state.next_key, self._owner.dim)
        for keys, vectors in chain(self._batches(changed), new):
            if self._allowed is None:
                yield keys, vectors
            else:
                met = np.isin(keys, self._allowed)
                yield keys[met], vectors[met]

    def _exact(self, queries: Float32s, batches: Iterable[tuple[Keys, Float32s]]) -> list[Found]:
        """Score every vector of `batches`."""
        empty: Found = (np.empty(0, np.int64), np.empty(0, np.float32))
        results = [empty] * len(queries)
        for keys, vectors in batches:
            for start in range(0, len(queries), BLOCK):
                part = queries[start : start + BLOCK]
                all_scores = score_many(part, vectors, self._owner.metric)
                for i, scores in enumerate(all_scores, start):
                    results[i] = self._merged(results[i], keys, scores)
        return results

    def _merged(self, result: Found, keys: Keys, scores: Float32s) -> Found:
        keys, scores = best(keys, scores, self._request.k)
        both = np.concatenate([result[0], keys]), np.concatenate([result[1], scores])
        return best(*both, self._request.k)

    def _batches(self, allowed: Keys | None) -> Iterator[tuple[Keys, Float32s]]:
        first, _ = key_range(self._owner.id)
        if allowed is None:
            yield from self._reader.scan(first, self._state.next_key, self._owner.dim)
            return
        for start in range(0, len(allowed), SCAN_ROWS):
            yield self._reader.vectors(allowed[start : start + SCAN_ROWS], self._owner.dim)

    @cached_property
    def _allowed(self) -> Keys | None:
        """The keys of all items that meet the filter, None without one."""
        condition = self._request.condition
        if condition is None:
            return None
        first, end = key_range(self._owner.id)
        return self._reader.matching(first, end, condition)

    def _kept(self, count: int) -> int:
        """Return how many of `count` candidates are worth fetching once they are refined."""
        return max(self._request.k, int(count * REFINED_SHARE))

    def _refines(self, loaded: Loaded) -> bool:
        # The estimate is one of inner products.
        return loaded.refines and self._owner.metric != "l2"

    def _candidate_count(self, loaded: Loaded) -> int:
        asked = self._request.oversample
        wish = math.ceil(self._request.k * (asked or loaded.quantizer.oversample))
        wish = max(wish, self._request.k, 0 if asked else MIN_CANDIDATES)
        return min(wish, self._size)  # engines allot memory for all that is asked


class _Asked(NamedTuple):
    """Queries as given, as the quantizer takes them, and encoded."""

    queries: Float32s
    prepared: Float32s
    encoded: Codes

    def take(self, at: NDArray[np.intp]) -> _Asked:
        return _Asked(self.queries[at], self.prepared[at], self.encoded[at])
