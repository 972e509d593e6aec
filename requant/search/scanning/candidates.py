"""Exact scores of candidates, whose floats are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.metrics import Operation
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.quantizers.protocol import Refining
from requant.quantizers.threads import cores
from requant.scores import Metric, score_exact
from requant.search.request import Found
from requant.search.scanning.scan import BLOCK_BYTES, merged, nothing
from requant.search.scanning.threads import MOST_THREADS, shared
from requant.store import CollectionRow, CollectionState, Reader

Exact = NDArray[np.float64]
# Candidates that a thread looks at, at least: some milliseconds.
_SHARE = 2048


def refined(
    quantizer: Refining, query: Float32s, keys: Keys, codes: Codes, keep: int, step: int
) -> Keys:
    """Return the `keep` best of `keys` as the quantizer estimates them from their codes."""
    if keep >= len(keys):
        return keys
    estimates = np.concatenate(
        [
            quantizer.estimate(query, codes[start : start + step])
            for start in range(0, len(codes), step)
        ]
    )
    return keys[np.argpartition(estimates, len(keys) - keep)[-keep:]]


def rescored(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    queries: Exact,
    rows: list[Keys],
    k: int,
    operation: Operation,
    seen: dict[int, Float32s] | None,
) -> list[Found]:
    """Return the k best of the candidates `rows` of each of `exact_queries (q, d)`.

    Stored vectors of results are left in `seen`, by key.
    """
    if len(rows) < 2:
        return _rescored(reader, owner, queries, rows, k, operation, seen)
    total = sum(map(len, rows))
    most = min(cores(), MOST_THREADS, len(rows) // 2, total // _SHARE)
    if most > 1:  # all threads together fetch no more at a time than one would alone
        fits = BLOCK_BYTES // (4 * owner.dim) * len(rows) // total
        most = min(most, fits)
    if most < 2:
        return _rescored(reader, owner, queries, rows, k, operation, seen)
    step = min(fits // most, -(-len(rows) // most))

    def work(reader: Reader, starts: Iterator[int]) -> tuple[dict[int, list[Found]], Operation]:
        found, own = {}, Operation(None, "search", owner.name)
        for start in starts:
            some = slice(start, start + step)
            found[start] = _rescored(reader, owner, queries[some], rows[some], k, own, seen)
        return found, own

    begun = perf_counter()
    done = shared(reader, owner, state, range(0, len(rows), step), most, work)
    _add_up(operation, [own for _, own in done], perf_counter() - begun)
    by_start = {start: some for found, _ in done for start, some in found.items()}
    return [one for start in sorted(by_start) for one in by_start[start]]


def _add_up(operation: Operation, done: list[Operation], seconds: float) -> None:
    """Add what several threads did at the same time, in `seconds`."""
    spent = sum(sum(own.stages.values()) for own in done) or 1.0
    for own in done:
        for stage, took in own.stages.items():
            share = took * seconds / spent
            operation.stages[stage] = operation.stages.get(stage, 0.0) + share
        for what, number in own.counts.items():
            operation.count(what, number)


def _rescored(
    reader: Reader,
    owner: CollectionRow,
    queries: Exact,
    rows: list[Keys],
    k: int,
    operation: Operation,
    seen: dict[int, Float32s] | None,
) -> list[Found]:
    if not rows:
        return []
    one = len(rows) == 1
    if one:
        unique = rows[0].copy()
        unique.sort()
    else:
        unique = np.unique(np.concatenate(rows))
    results = [nothing()] * len(rows)
    # Usually all of them; a part at a time where so many were asked for.
    step = rows_for(owner.dim)
    if not one:
        step = max(BLOCK_BYTES // (4 * owner.dim), step)
    for start in range(0, len(unique), step):
        begun = perf_counter()
        found, vectors = reader.candidates(unique[start : start + step], owner.dim)
        begun = operation.took("fetch", begun)
        operation.count("fetched", len(found))
        if one:
            scores = score_exact(queries[0], vectors, owner.metric)
            results[0] = merged(results[0], found, scores, k)
        else:
            whole = len(found) == len(unique)
            for i, (query, row) in enumerate(zip(queries, rows, strict=True)):
                # What was deleted after the engine answered, or is not there yet, has no floats.
                row = row if whole else row[np.isin(row, found)]
                scores = _scores_at(query, vectors, np.searchsorted(found, row), owner.metric)
                results[i] = merged(results[i], row, scores, k)
        operation.took("rescore", begun)
        if seen is not None:
            _keep_vectors(seen, results, found, vectors)
    return results


def _scores_at(query: Exact, vectors: Float32s, at: NDArray[np.intp], metric: Metric) -> Float32s:
    """Return the scores of `vectors[at]` for one of `exact_queries`."""
    step = rows_for(vectors.shape[1])
    if len(at) <= step:
        return score_exact(query, vectors[at], metric)
    parts = [at[start : start + step] for start in range(0, len(at), step)]
    return np.concatenate([score_exact(query, vectors[part], metric) for part in parts])


def _keep_vectors(
    seen: dict[int, Float32s], results: list[Found], found: Keys, vectors: Float32s
) -> None:
    """Keep those of `vectors`, which belong to the sorted keys `found`, that are results."""
    if not len(found):
        return
    for keys, _ in results:
        at = np.searchsorted(found[:-1], keys)
        for key, row in zip(keys.tolist(), at.tolist(), strict=True):
            if found[row] == key:
                seen[key] = vectors[row].copy()  # and not all of them
