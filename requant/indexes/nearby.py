"""Vectors that every search scores: kept in memory, so that they are not read each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.indexes.screening import ScreenedRows, kept, once
from requant.quantizers.arrays import Float32s
from requant.scores import ExactRows
from requant.store import CollectionRow, CollectionState, Reader, Seen

# Numbers that are kept: 32 MB an index, while it is so far behind.
MOST_FLOATS = 8 << 20
# So many may have to be read beside those at hand before these are brought up to date.
_BESIDE = 64
# Parts with fewer rows, and numbers, are joined with what comes after them.
_SMALL, _SMALL_FLOATS = 1024, 1 << 19


class Batch(NamedTuple):
    """Vectors to be scored; `wanted` marks those that count, None stands for all."""

    keys: Keys
    rows: ExactRows | ScreenedRows
    wanted: NDArray[np.bool_] | None = None


class _Part(NamedTuple):
    """Some of the vectors at hand, in the order of their keys."""

    keys: Keys
    vectors: Float32s
    rows: ExactRows | ScreenedRows


class _AtHand(NamedTuple):
    """The vectors of `first <= key < end` as they were after the write `seen`."""

    first: int
    end: int
    seen: Seen
    parts: tuple[_Part, ...]
    full: bool = False


class Nearby:
    """All vectors from a key on, as far as they are few; shared by the threads that search."""

    def __init__(self) -> None:
        """Have nothing at hand yet."""
        self._at_hand: _AtHand | None = None
        self.moved: bool = False  # whether the last search read vectors that are kept now

    def forget(self) -> None:
        """Let go of the memory."""
        self._at_hand = None

    def batches(
        self, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
    ) -> Iterator[Batch]:
        """Yield every vector from the key `first` on as `reader` sees it, at `state`.

        What a lent reader sees may never come to stay: it takes what is at hand, and adds nothing.
        """
        if reader.lent:
            yield from self._beside(reader, owner, state, first)
            return
        known, changed = self._at_hand, np.empty(0, np.int64)
        self.moved = False
        if known is None or not _serves(known, reader, owner, state, first):
            known = self._read_on(_AtHand(first, first, state.seen, ()), reader, owner, state)
        elif known.seen.seq < state.seq:
            changed = reader.changed(owner.id, known.seen.seq, known.end)
        if not len(changed):
            known = self._brought_up(known, reader, owner, state, first)
        changed = changed[changed >= first]
        changed = np.union1d(changed, state.fresh.keys(first, known.end))
        held = useless = after = 0
        for keys, _, rows in known.parts:
            held += len(keys)
            useless += int(np.isin(changed, keys).sum()) if len(changed) else 0
            yield Batch(keys, rows, _wanted(keys, first, changed))
        yield from ready(reader.vectors_of(changed, owner.dim), owner)
        for batch in ready(reader.scan(known.end, state.end, owner.dim), owner):
            after += len(batch.keys)
            yield batch
        if len(changed) and (useless > max(_BESIDE, held // 2) or _lacks(known, after)):
            self.forget()

    def _beside(
        self, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
    ) -> Iterator[Batch]:
        known, changed = self._at_hand, np.empty(0, np.int64)
        if known is None or not _serves(known, reader, owner, state, first):
            known = _AtHand(first, first, state.seen, ())
        elif known.seen.seq < state.seq:
            changed = reader.changed(owner.id, known.seen.seq, known.end)
            changed = changed[changed >= first]
        changed = np.union1d(changed, state.fresh.keys(first, known.end))
        for keys, _, rows in known.parts:
            yield Batch(keys, rows, _wanted(keys, first, changed))
        yield from ready(reader.vectors_of(changed, owner.dim), owner)
        yield from ready(reader.scan(known.end, state.end, owner.dim), owner)

    def _brought_up(
        self,
        known: _AtHand,
        reader: Reader,
        owner: CollectionRow,
        state: CollectionState,
        first: int,
    ) -> _AtHand:
        """Let go of what comes before `first`, and read on; nothing has changed since."""
        parts = tuple(one for one in known.parts if one.keys[-1] >= first)
        if len(parts) < len(known.parts):
            known = known._replace(first=first, parts=parts, full=False)
            self._keep(known)
        if not _lacks(known, state.next_key - known.end):
            return known
        return self._read_on(known, reader, owner, state)

    def _read_on(
        self, known: _AtHand, reader: Reader, owner: CollectionRow, state: CollectionState
    ) -> _AtHand:
        """Read from the end of what is known as far as there is room, as it is at `state`.

        Nothing is kept of a part that has fresh writes: another snapshot of that number may see it
        without them.
        """
        if len(state.fresh.keys(known.end, state.next_key)):
            return known
        self.moved = True
        parts, end, full = list(known.parts), max(known.end, state.next_key), False
        count = sum(one.vectors.size for one in parts)
        for keys, vectors in reader.scan(known.end, state.next_key, owner.dim):
            if count + vectors.size > MOST_FLOATS:
                full, end = True, int(keys[0])
                break
            count += vectors.size
            if parts and _is_small(parts[-1]):  # each part costs a search some time
                last = parts.pop()
                keys = np.concatenate([last.keys, keys])
                vectors = np.concatenate([last.vectors, vectors])
            parts.append(_Part(keys, vectors, kept(vectors, owner.metric)))
        known = _AtHand(known.first, end, state.seen, tuple(parts), full)
        self._keep(known)
        return known

    def _keep(self, known: _AtHand) -> None:
        if self._at_hand is None or self._at_hand.seen.seq <= known.seen.seq:
            self._at_hand = known


def ready(batches: Iterator[tuple[Keys, Float32s]], owner: CollectionRow) -> Iterator[Batch]:
    """Yield stored vectors made ready to be scored."""
    for keys, vectors in batches:
        yield Batch(keys, once(vectors, owner.metric))


def _serves(
    known: _AtHand, reader: Reader, owner: CollectionRow, state: CollectionState, first: int
) -> bool:
    """Tell whether what is known can be brought up to `state` by the log."""
    there = known.first <= first <= known.end and state.log_floor <= known.seen.seq <= state.seq
    return there and reader.knows(owner.id, state, known.seen) is True


def _is_small(part: _Part) -> bool:
    return len(part.keys) < _SMALL and part.vectors.size < _SMALL_FLOATS


def _lacks(known: _AtHand, rows: int) -> bool:
    """Whether so many rows after those at hand are worth being kept as well."""
    return rows > _BESIDE and not known.full


def _wanted(keys: Keys, first: int, changed: Keys) -> NDArray[np.bool_] | None:
    if keys[0] >= first and not len(changed):
        return None
    wanted = keys >= first
    return wanted & ~np.isin(keys, changed) if len(changed) else wanted
