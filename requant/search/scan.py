"""Exact scores: of every vector of some batches, or of candidates whose floats are fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.indexes import Batch
from requant.metrics import Operation
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.quantizers.protocol import Refining
from requant.scores import Metric, best, score_exact
from requant.search.request import Found
from requant.store import CollectionRow, Reader

# What the floats may take that are fetched together for several queries.
BLOCK_BYTES = 24 << 20
_NOTHING: Found = np.empty(0, np.int64), np.empty(0, np.float32)


def nearest(queries: Float32s, batches: Iterable[Batch], k: int) -> list[Found]:
    """Return the k best of all `batches` for each of `queries (q, d)`."""
    results = [nothing()] * len(queries)
    for keys, rows, wanted in batches:
        if not len(keys) or (wanted is not None and not wanted.any()):
            continue
        least = [float(found[k - 1]) if len(found) >= k else -np.inf for _, found in results]
        for i, (at, scores) in enumerate(rows.leading(queries, k, wanted, least)):
            if len(scores):
                results[i] = merged(results[i], keys[at], scores, k)
    return results


def nothing() -> Found:
    """Return a result without items."""
    return _NOTHING


def merged(result: Found, keys: Keys, scores: Float32s, k: int) -> Found:
    """Return the k best of `result`, which is in order, and of more keys with their scores."""
    known_keys, known = result
    if not len(known):
        return best(keys, scores, k)
    if len(known) >= k:
        # Most of a large collection is further away than the k nearest of what was seen first.
        at = np.flatnonzero(scores >= known[k - 1])
        if not len(at):
            return result
        keys, scores = keys[at], scores[at]
    keys, scores = best(keys, scores, k)
    return best(np.concatenate([known_keys, keys]), np.concatenate([known, scores]), k)


def keep_vectors(
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


def counted(batches: Iterable[Batch], operation: Operation) -> Iterator[Batch]:
    """Yield batches, and count what is in them."""
    for batch in batches:
        operation.count("scanned", len(batch.keys))
        yield batch


def scores_at(
    query: NDArray[np.float64], vectors: Float32s, at: NDArray[np.intp], metric: Metric
) -> Float32s:
    """Return the scores of `vectors[at]` for one of `exact_queries`."""
    step = rows_for(vectors.shape[1])
    if len(at) <= step:
        return score_exact(query, vectors[at], metric)
    parts = [at[start : start + step] for start in range(0, len(at), step)]
    return np.concatenate([score_exact(query, vectors[part], metric) for part in parts])


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
    queries: NDArray[np.float64],
    rows: list[Keys],
    k: int,
    operation: Operation,
    seen: dict[int, Float32s] | None,
) -> list[Found]:
    """Return the k best of the candidates `rows` of each of `exact_queries (q, d)`.

    Stored vectors of results are left in `seen`, by key.
    """
    if not rows:
        return []
    one = len(rows) == 1
    unique = np.sort(rows[0]) if one else np.unique(np.concatenate(rows))
    results = [nothing()] * len(rows)
    # Usually all of them; a part at a time where so many were asked for.
    step = rows_for(owner.dim)
    if not one:
        step = max(BLOCK_BYTES // (4 * owner.dim), step)
    for start in range(0, len(unique), step):
        begun = perf_counter()
        found, vectors = reader.vectors(unique[start : start + step], owner.dim)
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
                scores = scores_at(query, vectors, np.searchsorted(found, row), owner.metric)
                results[i] = merged(results[i], row, scores, k)
        operation.took("rescore", begun)
        if seen is not None:
            keep_vectors(seen, results, found, vectors)
    return results
