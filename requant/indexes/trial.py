"""Trying an index with stored vectors: are they found, and is what is nearest to them?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from requant.adapters.protocol import Backend, Keys
from requant.indexes.sampling import prepared, spread
from requant.quantizers.arrays import Float32s
from requant.scores import best, score_many
from requant.store import CollectionRow, CollectionState, Reader, key_range

K = 10
_CANDIDATES = 40
_QUERIES = 20


class Trial(NamedTuple):
    """How many stored vectors there were to find, and how an index did on some of them.

    `found`: the share of the `asked` that are among their own candidates; `recall`: the share of
    the 10 nearest of a few of them that are.
    """

    items: int
    asked: int
    found: float
    recall: float


def tried(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    moved: Keys,
    backend: Backend,
    count: int,
    *,
    thorough: bool,
) -> Trial | None:
    """Ask `backend` for about `count` vectors of `state` that have not `moved` since it was made.

    None where there are none. What takes a look at every vector is done if it is to be `thorough`:
    else there is nothing to find, and all of it is found.
    """
    keys, vectors = spread(reader, owner, state, count=count)
    same = ~np.isin(keys, moved)
    keys, vectors = keys[same], vectors[same]
    if not len(keys):
        return None
    wanted = min(_CANDIDATES, len(backend))
    found = backend.search(prepared(owner, vectors), wanted).keys
    itself = float((found == keys[:, None]).any(axis=1).mean())
    if not thorough:
        return Trial(0, len(keys), itself, 1.0)
    nearest, items = _nearest(reader, owner, state, moved, vectors[:_QUERIES])
    hits = [np.isin(one, row).sum() for one, row in zip(nearest, found, strict=False)]
    return Trial(items, len(keys), itself, float(sum(hits) / sum(map(len, nearest))))


def _nearest(
    reader: Reader, owner: CollectionRow, state: CollectionState, moved: Keys, queries: Float32s
) -> tuple[list[Keys], int]:
    """Return the keys nearest to each query, and how many vectors have not moved."""
    first, _ = key_range(owner.id)
    results = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    items = 0
    for keys, vectors in reader.scan(first, state.end, owner.dim):
        same = ~np.isin(keys, moved)
        keys, vectors = keys[same], vectors[same]
        items += len(keys)
        for i, scores in enumerate(score_many(queries, vectors, owner.metric)):
            known = np.concatenate([results[i][0], keys]), np.concatenate([results[i][1], scores])
            results[i] = best(*known, K)
    return [keys for keys, _ in results], items
