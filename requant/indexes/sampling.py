"""Stored vectors as quantizers and trials see them: a sample to learn from, a few to ask for."""

from __future__ import annotations

import numpy as np

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s
from requant.scores import normalise
from requant.store import CollectionRow, CollectionState, Reader, key_range

# Thresholds and scales settle with a thousand rows, if these are like those to come: a quantizer
# fitted on fewer than SAMPLE_ROWS is fitted again when there are four times as many.
SAMPLE_ROWS = 10_000
ENOUGH_ROWS = 1_000


def prepared(owner: CollectionRow, vectors: Float32s) -> Float32s:
    """Return vectors `(n, d) float32` as quantizers see them: of length 1 for cosine."""
    return normalise(vectors) if owner.metric == "cosine" else vectors


def sample(reader: Reader, owner: CollectionRow, state: CollectionState) -> Float32s:
    """Return rows of the whole collection to learn from, prepared."""
    first, _ = key_range(owner.id)
    span, dim = state.next_key - first, owner.dim
    if span > SAMPLE_ROWS:
        keys = np.linspace(first, state.next_key - 1, SAMPLE_ROWS).astype(np.int64)
        _, vectors = reader.vectors(keys, dim)
        if len(vectors) >= ENOUGH_ROWS:
            return prepared(owner, vectors)
    # Few rows, or few of many left: take what there is from the start.
    for _, vectors in reader.scan(first, state.next_key, dim, batch=SAMPLE_ROWS):
        return prepared(owner, vectors)
    return np.empty((0, dim), np.float32)


def spread(
    reader: Reader, owner: CollectionRow, state: CollectionState, count: int = 100
) -> tuple[Keys, Float32s]:
    """Return keys and vectors `(n, d) float32` from all over a collection, about `count`."""
    first, _ = key_range(owner.id)
    keys = np.unique(np.linspace(first, max(state.next_key - 1, first), count).astype(np.int64))
    found, vectors = reader.vectors(keys, owner.dim)
    order = np.argsort(found)
    return found[order], vectors[order]
