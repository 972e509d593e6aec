"""Exact search: every vector of some batches is scored, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.indexes import Batch
from requant.metrics import Operation
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.scores import Metric, best, score
from requant.search.request import Found


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
    return np.empty(0, np.int64), np.empty(0, np.float32)


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
    query: Float32s, vectors: Float32s, at: NDArray[np.intp] | None, metric: Metric
) -> Float32s:
    """Return the exact scores of `vectors[at]`; None stands for all."""
    step = rows_for(vectors.shape[1])
    if at is None:
        return score(query, vectors, metric)
    if len(at) <= step:
        return score(query, vectors[at], metric)
    parts = [at[start : start + step] for start in range(0, len(at), step)]
    return np.concatenate([score(query, vectors[part], metric) for part in parts])
