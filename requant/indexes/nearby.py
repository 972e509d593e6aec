"""Vectors that every search scores: kept in memory, so that they are not read each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s
from requant.scores import ExactRows
from requant.store import CollectionRow, CollectionState, Reader, Seen

# Numbers that are kept, in double precision: 16 MB an index.
MOST_FLOATS = 1 << 21
# So many may have to be read beside those at hand before all are read again.
_BESIDE = 64


class Batch(NamedTuple):
    """Vectors to be scored; `wanted` marks those that count, None stands for all."""

    keys: Keys
    rows: ExactRows
    wanted: NDArray[np.bool_] | None = None


class _AtHand(NamedTuple):
    """The vectors of `first <= key < end` as they were after the write `seen`."""

    first: int
    end: int
    seen: Seen
    keys: Keys
    rows: ExactRows
    full: bool


class Nearby:
    """All vectors from a key on, as far as they are few; shared by the threads that search."""

    def __init__(self) -> None:
        """Have nothing at hand yet."""
        self._at_hand: _AtHand | None = None

    def forget(self) -> None:
        """Let go of the memory."""
        self._at_hand = None

    def batches(
        self, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
    ) -> Iterator[Batch]:
        """Yield every vector from the key `first` on as `reader` sees it, at `state`."""
        known, beside = self._at_hand, np.empty(0, np.int64)
        if known is None or not _serves(known, reader, owner, state, first):
            known = self._read(reader, owner, state, first)
        elif known.seen.seq < state.seq:
            beside = reader.changed(owner.id, known.seen.seq, known.end)
            beside = beside[beside >= first]
        wanted = None
        if known.first < first or len(beside):
            wanted = (known.keys >= first) & ~np.isin(known.keys, beside)
        yield Batch(known.keys, known.rows, wanted)
        yield from ready(reader.vectors_of(beside, owner.dim), owner)
        after = 0
        for batch in ready(reader.scan(known.end, state.next_key, owner.dim), owner):
            after += len(batch.keys)
            yield batch
        useless = 0 if wanted is None else len(wanted) - int(wanted.sum())
        if useless > max(_BESIDE, len(known.keys) // 2) or (after > _BESIDE and not known.full):
            self.forget()

    def _read(
        self, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
    ) -> _AtHand:
        older = self._at_hand is None or self._at_hand.seen.seq <= state.seq
        if older:
            self.forget()
        keys, parts, count = [np.empty(0, np.int64)], [np.empty((0, owner.dim), np.float32)], 0
        full, end = False, max(first, state.next_key)
        for some, vectors in reader.scan(first, state.next_key, owner.dim):
            if count + vectors.size > MOST_FLOATS:
                full, end = True, int(some[0])
                break
            keys.append(some)
            parts.append(vectors)
            count += vectors.size
        rows = ExactRows(np.concatenate(parts), owner.metric)
        known = _AtHand(first, end, state.seen, np.concatenate(keys), rows, full)
        if older:
            self._at_hand = known
        return known


def ready(batches: Iterator[tuple[Keys, Float32s]], owner: CollectionRow) -> Iterator[Batch]:
    """Yield stored vectors made ready to be scored."""
    for keys, vectors in batches:
        yield Batch(keys, ExactRows(vectors, owner.metric))


def _serves(
    known: _AtHand, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
) -> bool:
    """Tell whether what is known can be brought up to `state` by the log."""
    there = known.first <= first <= known.end and state.log_floor <= known.seen.seq <= state.seq
    return there and reader.knows(owner.id, state, known.seen) is True
