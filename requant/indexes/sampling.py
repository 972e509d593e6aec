"""Stored vectors as quantizers and trials see them: a sample to learn from, a few to ask for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.quantizers.protocol import Quantizer
from requant.scores import normalise
from requant.store import CollectionRow, CollectionState, Reader, key_range

# Thresholds and scales settle with a thousand rows, if these are like those to come: a quantizer
# fitted on fewer than SAMPLE_ROWS is fitted again when there are four times as many.
SAMPLE_ROWS = 10_000
ENOUGH_ROWS = 1_000
_SAMPLE_BYTES = 16 << 20
# What an engine learns lists from, as the floats that it makes of codes: so many bytes, and rows
# enough for twice as many lists as the square root of the items.
_LISTS_BYTES = 256 << 20
_LISTS_SHARE = 80
# How unequal norms may be before codes that forget them are worth a warning (deviation / mean).
_UNEQUAL = 0.3


def sample_rows(dim: int) -> int:
    """Return how many rows of `dim` floats a quantizer learns from, at most.

    >>> sample_rows(384), sample_rows(4096)
    (10000, 1024)
    """
    return min(SAMPLE_ROWS, _SAMPLE_BYTES // (4 * dim))


def lists_rows(dim: int, items: int) -> int:
    """Return how many rows of `dim` floats an engine learns the lists of so many items from.

    >>> lists_rows(768, 1_000_000), lists_rows(384, 10_000)
    (80000, 8000)
    """
    return min(items, int(_LISTS_SHARE * items**0.5), _LISTS_BYTES // (4 * dim))


def prepared(owner: CollectionRow, vectors: Float32s) -> Float32s:
    """Return vectors `(n, d) float32` as quantizers see them: of length 1 for cosine."""
    return normalise(vectors) if owner.metric == "cosine" else vectors


def beginning(reader: Reader, owner: CollectionRow, state: CollectionState) -> int:
    """Return the first key that has a vector: of a collection that was cleared, a late one."""
    return reader.first_with_vector(key_range(owner.id)[0], state.end)


def sample(reader: Reader, owner: CollectionRow, state: CollectionState) -> Float32s:
    """Return rows of the whole collection to learn from, prepared."""
    first = beginning(reader, owner, state)
    span, most = state.end - first, sample_rows(owner.dim)
    if span > most:
        keys = np.linspace(first, state.end - 1, most).astype(np.int64)
        spread_out = _filled(owner, reader.vectors_of(keys, owner.dim), most)
        if len(spread_out) >= min(ENOUGH_ROWS, most // 2):
            return spread_out
    # Few rows, or few of many left: take what there is from the start.
    return _filled(owner, reader.scan(first, state.end, owner.dim), most)


def coded_sample(
    reader: Reader, owner: CollectionRow, state: CollectionState, most: int, quantizer: Quantizer
) -> Codes:
    """Return codes of up to `most` rows of the whole collection; floats are held a batch at a time.

    Fewer where many of the keys are of items that are gone.
    """
    first = beginning(reader, owner, state)
    keys = np.unique(np.linspace(first, state.end - 1, most).astype(np.int64))
    codes = np.empty((most, quantizer.spec.width), quantizer.spec.dtype)
    n = 0
    for _, vectors in reader.vectors_of(keys, owner.dim):
        codes[n : n + len(vectors)] = quantizer.encode(prepared(owner, vectors))
        n += len(vectors)
    return codes[:n]


def _filled(owner: CollectionRow, batches: Iterator[tuple[Keys, Float32s]], most: int) -> Float32s:
    """Return up to `most` rows of `batches`, prepared, without holding them twice."""
    rows, n = np.empty((most, owner.dim), np.float32), 0
    for _, vectors in batches:
        some = vectors[: most - n]
        rows[n : n + len(some)] = prepared(owner, some)
        n += len(some)
        if n == most:
            break
    return rows[:n]


def spread(
    reader: Reader, owner: CollectionRow, state: CollectionState, count: int = 100
) -> tuple[Keys, Float32s]:
    """Return keys and vectors `(n, d) float32` from all over a collection, about `count`.

    Fewer where the vectors are wide.
    """
    count = rows_for(owner.dim, count)
    first = beginning(reader, owner, state)
    keys = np.unique(np.linspace(first, max(state.end - 1, first), count).astype(np.int64))
    found, vectors = reader.vectors(keys, owner.dim)
    order = np.argsort(found)
    return found[order], vectors[order]


def unequal_norms(rows: Float32s) -> bool:
    """Tell whether the lengths of `rows (n, d)` differ so much that they matter."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return bool(norms.std() > _UNEQUAL * norms.mean())
