"""Exact scores of every vector of some batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from requant.adapters.protocol import Keys
from requant.indexes import Batch
from requant.metrics import Operation
from requant.quantizers.arrays import Float32s
from requant.scores import Queries, best
from requant.search.request import Found

# What the floats may take that are fetched together for several queries.
BLOCK_BYTES = 24 << 20
_NOTHING: Found = np.empty(0, np.int64), np.empty(0, np.float32)


def nearest(queries: Float32s, batches: Iterable[Batch], k: int) -> list[Found]:
    """Return the k best of all `batches` for each of `queries (q, d)`."""
    results, asked = [nothing()] * len(queries), Queries(queries)
    for keys, rows, wanted in batches:
        if not len(keys) or (wanted is not None and not wanted.any()):
            continue
        least = [float(found[k - 1]) if len(found) >= k else -np.inf for _, found in results]
        for i, (at, scores) in enumerate(rows.leading(asked, k, wanted, least)):
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


def counted(batches: Iterable[Batch], operation: Operation) -> Iterator[Batch]:
    """Yield batches, and count what is in them."""
    for batch in batches:
        operation.count("scanned", len(batch.keys))
        yield batch
