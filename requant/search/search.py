"""A query's way: first pass over codes, fetch of the candidates' floats, exact rescoring.

Whatever the first pass misses through deletions, filters or an engine's own approximation is made
up for by asking for more candidates and in the end by an exact scan, so that k results come back
whenever k exist.

This file is long because one query's way is told in one place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.indexes import Batch, Loaded, Memory, ready
from requant.metrics import Operation
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.quantizers.protocol import Refining
from requant.scores import exact_queries
from requant.search.recall import as_calibrated
from requant.search.request import Asked, Found, Request
from requant.search.scanning import (
    BLOCK_BYTES,
    are_among,
    counted,
    merged,
    nearest,
    nearest_of_all,
    nothing,
    refined,
    rescored,
    united,
)
from requant.store import (
    CollectionRow,
    CollectionState,
    Matching,
    Reader,
    Watermark,
    key_range,
)

# Up to this many items, or matches of a filter, are scored outright: as cheap as a search, and
# exact. The items of an index are then kept in memory, if they have no more numbers than this.
FEW = 1000
_FEW_FLOATS = 1 << 20
# Candidates of a search that names no oversampling, at least: for small k, and while a quantizer
# knows only the first few items of a collection. No more than of k = 10, if that needs fewer.
MIN_CANDIDATES = 30
_MIN_RESULTS = 10
# How far a filter may stretch the first pass before the filter's own key set is used instead.
STRETCH = 16
# A filter that lets less through is asked for its key set at once, where indexed fields tell it and
# the engine takes it; unless so many items would have to be looked at besides.
NARROW = 0.15
UNSURE = 5000
# Of a filter that lets more through, so many times as many candidates as ought to be enough.
SPARE = 1.3
# What the index lacks is read along with the candidates of a query, if it is no more than this.
_ALONG = 64
# Queries whose candidates are fetched together, at most.
BLOCK = 1024
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
        seen: dict[int, Float32s] | None = None,
        operation: Operation | None = None,
        memory: Memory | None = None,
    ) -> None:
        """Search with the index `loaded`, or exactly if it is None.

        Stored vectors of results are left in `seen`, by key; what it takes is added to `operation`;
        `memory` may have all vectors of the collection.
        """
        self._reader = reader
        self._owner = owner
        self._state = state
        self._loaded = loaded
        if request.recall is not None and loaded is not None:
            request = as_calibrated(request, reader, owner, loaded)
        self._request = request
        self._seen = seen
        self._operation = operation or Operation(None, "search", owner.name)
        self._memory = memory
        # Read once: another thread may be writing to the index.
        self._size = loaded.size if loaded is not None else 0
        self._mark = loaded.watermark if loaded is not None else None
        self._lets_all = request.keys is None and request.condition is None
        self._behind = self._mark is not None and (self._mark.seq < state.seq or bool(state.fresh))

    def run(self) -> list[Found]:
        """Return keys and scores of each query's results, best first."""
        request = self._request
        if request.keys is not None and not len(request.keys):
            return [nothing()] * len(request.queries)
        few = request.keys is not None and len(request.keys) <= FEW
        if self._loaded is None or not self._size or few:
            return self._scanned(request.queries, self._allowed)
        count = self._candidate_count(self._loaded)
        if self._is_small(self._loaded):
            return self._exact(request.queries, self._all_of(self._loaded))
        if count >= self._size:  # nothing would be left out
            return self._scanned(request.queries, self._allowed)
        if 2 * self._changes >= self._size:  # which has to be read in any case
            return self._all_read(self._loaded)
        block = self._queries_at_once(self._loaded, count)
        results: list[Found] = []
        for start in range(0, len(request.queries), block):
            results += self._block(self._loaded, request.queries[start : start + block], count)
        behind = self._mark is not None and not self._mark.covers(self._state)
        if self._mark is not None and (behind or self._state.fresh) and self._along is None:
            return self._with_unfollowed(self._loaded, results, self._mark)
        return results

    def _is_small(self, loaded: Loaded) -> bool:
        """Whether to score everything: unless it is said how hard the index is to try."""
        asked = self._request
        if self._mark is None or asked.oversample is not None or asked.effort is not None:
            return False
        most = min(FEW, _FEW_FLOATS // self._owner.dim)
        if self._size > most:
            return False
        return self._size + max(self._state.end - self._mark.key, 0) <= most

    def _queries_at_once(self, loaded: Loaded, count: int) -> int:
        if len(self._request.queries) == 1:
            return 1
        fetched = count * self._owner.dim * 4
        if self._refines(loaded):
            fetched = self._kept(count) * self._owner.dim * 4
            fetched += count * loaded.backend.spec.code.row_bytes
        return max(1, min(rows_for(self._owner.dim, BLOCK), BLOCK_BYTES // fetched))

    def _block(self, loaded: Loaded, queries: Float32s, count: int) -> list[Found]:
        metric = self._owner.metric
        exact = exact_queries(queries, metric)
        prepared = exact.astype(np.float32) if metric == "cosine" else queries
        encoded = loaded.quantizer.encode_query(prepared, loaded.backend.spec.metric)
        asked = Asked(queries, exact, prepared, encoded)
        if not self._lets_all or self._changes:
            return self._filtered(loaded, asked, count)
        rows, _ = self._first_pass(loaded, asked, count, count)
        wanted = min(self._request.k, self._size)
        return self._completed(queries, self._rescored(exact, rows), wanted, None)

    def _filtered(self, loaded: Loaded, asked: Asked, count: int) -> list[Found]:
        """Filter the candidates, of more and more if few pass; then search among what passes.

        What was changed since the index has followed does not pass: it is scored beside.
        """
        results: dict[int, Found] = {}
        stretched = min(self._size, self._stretched(loaded, count) + self._spare(count))
        pending, part = np.arange(len(asked.queries)), asked
        while len(pending) and stretched < min(self._size, STRETCH * count + 1):
            rows, survivors = self._first_pass(loaded, part, stretched, count)
            if part is asked and min(survivors) >= count:  # as nearly always
                return self._rescored(asked.exact, rows)
            full = np.flatnonzero(np.array(survivors) >= count)
            found = self._rescored(part.exact[full], [rows[i] for i in full])
            results.update(zip(pending[full].tolist(), found, strict=True))
            pending, stretched = np.delete(pending, full), stretched * 4
            part = asked.take(pending)
        if len(pending):
            found = self._among_allowed(loaded, asked.take(pending), count)
            results.update(zip(pending.tolist(), found, strict=True))
        return [results[i] for i in range(len(asked.queries))]

    def _stretched(self, loaded: Loaded, count: int) -> int:
        """Return for how many candidates to ask first, so that about `count` meet the filter.

        All of them stand for: ask among what meets it alone.
        """
        chosen, matching = self._request.keys, self._matching
        if chosen is not None and len(chosen) < max(FEW, self._size // STRETCH):
            return self._size  # hardly a candidate would be among them
        share = None if matching is None else matching.share()
        if matching is None or share is None:
            return count
        if share * self._size <= FEW or (share < NARROW and loaded.takes_key_sets):
            # Indexed fields tell what to look at; but that may be too much to look at.
            return self._size if matching.unsure <= UNSURE else count
        return min(self._size, math.ceil(count / share * SPARE))

    def _spare(self, count: int) -> int:
        """Return how many candidates what was changed since may take the places of."""
        changed = len(self._changed)
        return min(changed, count + math.ceil(2 * count * changed / self._size))

    def _among_allowed(self, loaded: Loaded, asked: Asked, count: int) -> list[Found]:
        allowed = self._allowed
        if allowed is not None and len(self._changed):
            allowed = np.setdiff1d(allowed, self._changed, assume_unique=True)
        if allowed is None or len(allowed) <= FEW or not loaded.takes_key_sets:
            return self._scanned(asked.queries, allowed)
        rows, _ = self._first_pass(loaded, asked, count, count, among=allowed)
        results = self._rescored(asked.exact, rows)
        return self._completed(asked.queries, results, self._request.k, allowed)

    def _first_pass(
        self, loaded: Loaded, asked: Asked, ask: int, keep: int, among: Keys | None = None
    ) -> tuple[list[Keys], list[int]]:
        """Ask the engine for `ask` candidates a query; return at most `keep` that meet the filter.

        The second result is how many met it.
        """
        refines = self._refines(loaded) and self._kept(keep) < keep
        begun = time.perf_counter()
        answer = loaded.backend.search(
            asked.encoded,
            min(ask, self._size),
            among=among,
            effort=self._request.effort,
            codes=refines,
        )
        self._operation.took("first_pass", begun)
        self._operation.count("candidates", answer.keys.size)
        passing = self._passing(answer.keys, among)
        if passing is None:
            survivors = [answer.keys.shape[1]] * len(answer.keys)
        else:
            survivors = passing.sum(axis=1).tolist()
        rows, all_of_them = [], slice(keep)
        for i, row in enumerate(answer.keys):
            at: slice | NDArray[np.intp] = all_of_them
            if passing is not None and survivors[i] < len(row):
                at = np.flatnonzero(passing[i])[:keep]
            if refines and answer.codes is not None:
                codes, query = answer.codes[i][at], asked.prepared[i : i + 1]
                rows.append(self._refined(loaded, query, row[at], codes))
            else:
                rows.append(row[at])
        return rows, survivors

    def _passing(self, keys: Keys, among: Keys | None) -> NDArray[np.bool_] | None:
        """Tell which candidates are no padding, and meet the filter unless the engine saw to it.

        A key of another collection is none of ours, whoever names it. None: all of them pass.
        """
        first, end = key_range(self._owner.id)
        there: NDArray[np.bool_] = (keys >= first) & (keys < end)
        plain = among is not None or (self._lets_all and not self._changes)
        if plain and np.count_nonzero(there) == there.size:
            return None
        if among is not None:
            return there
        if len(self._changed):
            there &= ~are_among(keys, self._changed)
        if self._lets_all:
            return there
        begun = time.perf_counter()
        there[there] = self._met(keys[there])
        self._operation.took("filter", begun)
        return there

    def _met(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which of `keys` may be found."""
        chosen, matching = self._request.keys, self._matching
        met = np.ones(len(keys), np.bool_)
        if chosen is not None:
            met = are_among(keys, chosen)
        if matching is not None:
            met &= np.isin(keys, matching.among(np.unique(keys[met])))
        return met

    def _refined(self, loaded: Loaded, query: Float32s, keys: Keys, codes: Codes) -> Keys:
        """Keep the candidates that the quantizer, which has seen floats and codes, finds best."""
        quantizer, keep = cast("Refining", loaded.quantizer), self._kept(len(keys))
        return refined(quantizer, query, keys, codes, keep, rows_for(self._owner.dim))

    def _rescored(self, queries: NDArray[np.float64], rows: list[Keys]) -> list[Found]:
        k, owner = self._request.k, self._owner
        reader, state, operation = self._reader, self._state, self._operation
        if self._behind and self._along is not None:
            rows = [united(row, self._along) for row in rows]
        return rescored(reader, owner, state, queries, rows, k, operation, self._seen)

    def _completed(
        self, queries: Float32s, results: list[Found], wanted: int, allowed: Keys | None
    ) -> list[Found]:
        """Answer exactly where an approximate engine came back with too little."""
        if allowed is not None:
            wanted = min(wanted, len(allowed))
        short = [i for i, (keys, _) in enumerate(results) if len(keys) < wanted]
        if short:
            exact = self._scanned(queries[short], allowed)
            for i, found in zip(short, exact, strict=True):
                results[i] = found
        return results

    def _with_unfollowed(
        self, loaded: Loaded, results: list[Found], mark: Watermark
    ) -> list[Found]:
        """Add what the index does not know of yet: somebody else writes to it, or it is behind."""
        begun = time.perf_counter()
        changed = self._batches(self._changed) if len(self._changed) else ()
        new = loaded.nearby.batches(self._reader, self._owner, self._state, mark.key)
        fresh = self._exact(self._request.queries, self._passed(chain(changed, new)))
        both = []
        for known, found in zip(results, fresh, strict=True):
            new_ones = ~np.isin(found[0], known[0])
            both.append(merged(known, found[0][new_ones], found[1][new_ones], self._request.k))
        if not loaded.nearby.moved:  # which is not done again
            self._note_seconds(loaded, begun)
        return both

    def _all_read(self, loaded: Loaded) -> list[Found]:
        begun = time.perf_counter()
        results = self._scanned(self._request.queries, self._allowed)
        self._note_seconds(loaded, begun)
        return results

    def _note_seconds(self, loaded: Loaded, begun: float) -> None:
        """Let whoever follows know what it would spare searches."""
        if not self._reader.lent:
            loaded.seconds_unfollowed = time.perf_counter() - begun

    @property
    def _changes(self) -> int:
        return len(self._changed) if self._behind else 0

    @cached_property
    def _changed(self) -> Keys:
        """The keys, in order, of what the index holds otherwise than the snapshot does."""
        if self._mark is None or not self._behind:
            return np.empty(0, np.int64)
        fresh = self._state.fresh.keys(0, self._mark.key)
        if self._mark.seq >= self._state.seq:
            return fresh
        assert self._loaded is not None
        changed = self._loaded.changed(self._reader, self._owner, self._state, self._mark)
        return np.union1d(changed, fresh) if len(fresh) else changed

    @cached_property
    def _along(self) -> Keys | None:
        """What the index lacks, if it is read along with its candidates: few, none at hand."""
        if self._mark is None or not self._behind or not self._lets_all:
            return None
        if self._mark.key < self._state.next_key:
            return None
        new = self._state.fresh.keys(self._mark.key, self._state.end)
        keys = united(self._changed, new) if len(new) else self._changed
        return keys if len(keys) <= _ALONG else None

    def _all_of(self, loaded: Loaded) -> Iterator[Batch]:
        """Yield everything that passes, by way of what is in memory."""
        first, _ = key_range(self._owner.id)
        return self._passed(loaded.nearby.batches(self._reader, self._owner, self._state, first))

    def _passed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if not self._lets_all:
                met = self._met(batch.keys)
                batch = batch._replace(wanted=met if batch.wanted is None else met & batch.wanted)
            yield batch

    def _exact(self, queries: Float32s, batches: Iterable[Batch]) -> list[Found]:
        """Score every vector of `batches`."""
        begun = time.perf_counter()
        found = nearest(queries, counted(batches, self._operation), self._request.k)
        self._operation.took("scan", begun)
        return found

    def _batches(self, keys: Keys) -> Iterator[Batch]:
        known, dim = self._request.known(keys), self._owner.dim
        rows = self._reader.vectors_of(keys, dim) if known is None else iter([known])
        return ready(rows, self._owner)

    def _scanned(self, queries: Float32s, allowed: Keys | None) -> list[Found]:
        """Score every vector, or those that are `allowed`."""
        if allowed is not None:
            return self._exact(queries, self._batches(allowed))
        reader, owner, state = self._reader, self._owner, self._state
        held = None if self._memory is None else self._memory.batches(reader, owner, state)
        if held is not None:
            return self._exact(queries, held)
        begun = time.perf_counter()
        found, scored = nearest_of_all(reader, owner, state, queries, self._request.k)
        self._operation.took("scan", begun)
        self._operation.count("scanned", scored)
        return found

    @cached_property
    def _allowed(self) -> Keys | None:
        """The keys of all items that may be found, None if all may."""
        chosen, matching = self._request.keys, self._matching
        if matching is None:
            return chosen
        begun = time.perf_counter()
        every = key_range(self._owner.id)
        allowed = matching.keys(*every) if chosen is None else matching.among(chosen)
        self._operation.took("filter", begun)
        return allowed

    @cached_property
    def _matching(self) -> Matching | None:
        """The filter as the snapshot sees it, None without one."""
        condition = self._request.condition
        if condition is None:
            return None
        return self._reader.matcher(self._owner.id, condition, self._state)

    def _kept(self, count: int) -> int:
        """Return how many of `count` candidates are worth fetching once they are refined."""
        return max(self._request.k, MIN_CANDIDATES, int(count * REFINED_SHARE))

    def _refines(self, loaded: Loaded) -> bool:
        # The estimate is one of inner products.
        return loaded.refines and self._owner.metric != "l2"

    def _candidate_count(self, loaded: Loaded) -> int:
        asked, usual = self._request.oversample, loaded.oversample
        wish = max(math.ceil(self._request.k * (asked or usual)), self._request.k)
        if not asked:
            wish = max(wish, min(MIN_CANDIDATES, math.ceil(_MIN_RESULTS * usual)))
        return min(wish, self._size)  # engines allot memory for all that is asked
