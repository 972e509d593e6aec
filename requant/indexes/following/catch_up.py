"""From the store into an index: the rows that a quantizer learns from, and everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from requant.adapters.protocol import Keys
from requant.indexes.following.ahead import known
from requant.indexes.loaded import Loaded
from requant.indexes.sampling import prepared
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.store import CollectionRow, CollectionState, Reader, Watermark

Progress = Callable[[int, int], None]

_BATCH = 8192
# Codes that are written to a live engine at once.
_LIVE_BYTES = 8 << 20


def catch_up(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    progress: Progress | None = None,
    keep: Callable[[Loaded], None] | None = None,
    reaching: int = 0,
) -> int:
    """Apply what was written since the watermark, and return how many rows that were.

    Safe to repeat if it is interrupted.

    `keep` is called now and then, when the watermark is true of a part of the way. `reaching` is
    the number of what is taken in beyond that of `state`.
    """
    mark, dim, location = loaded.watermark, owner.dim, loaded.location
    # Part of it may be of a later snapshot by now, which another thread has begun to follow.
    reaching = max(state.seq, reaching)
    loaded.reaching = max(loaded.reaching, reaching)
    location.announce(loaded.name, loaded.backend, reaching)
    # A live index may hold more than its mark says, if a process that wrote to it was killed: also
    # items that came after the mark and have gone again.
    before = state.next_key if location.live else mark.key
    changed = reader.changed(owner.id, mark.seq, before)
    total = len(changed) + max(state.next_key - mark.key, 0)
    done = 0
    step = rows_for(dim, _BATCH)
    for start in range(0, len(changed), step):
        keys = changed[start : start + step]
        found, vectors = reader.vectors(keys, dim)
        if start:
            location.check_turn(loaded.name)
        loaded.backend.delete(np.setdiff1d(keys, found, assume_unique=True))
        done += put(loaded, owner, found, vectors)
        _report(progress, done, total)
    gone = max(len(changed) - done, 0)
    loaded.unpublished += done + gone
    rows = _numbered(reader.scan(mark.key, state.next_key, dim, _BATCH), state)
    for keys, codes in _encoded(loaded, owner, rows):
        if done:
            location.check_turn(loaded.name)
        loaded.backend.upsert(keys, codes)
        done, loaded.unpublished = done + len(keys), loaded.unpublished + len(keys)
        loaded.watermark = Watermark(int(keys[-1]) + 1, mark.seq)
        _report(progress, done, total)
        if keep is not None:
            keep(loaded)
    loaded.items = len(loaded.backend)
    mark = Watermark(max(mark.key, state.next_key), max(mark.seq, state.seq))
    location.advance(loaded.name, mark, loaded.items)
    loaded.watermark = mark
    return done + gone


def _numbered(
    rows: Iterator[tuple[Keys, Float32s]], state: CollectionState
) -> Iterator[tuple[Keys, Float32s]]:
    """Yield what has a number: the rest comes with its own."""
    for keys, vectors in rows:
        at = known(keys, state)
        if len(at):
            yield (keys, vectors) if len(at) == len(keys) else (keys[at], vectors[at])


def _encoded(
    loaded: Loaded, owner: CollectionRow, rows: Iterator[tuple[Keys, Float32s]]
) -> Iterator[tuple[Keys, Codes]]:
    """Yield keys and codes, many at once where each write is a transaction of the engine's own."""
    enough = _LIVE_BYTES if loaded.location.live else 0
    keys: list[Keys] = []
    codes: list[Codes] = []
    for more, vectors in rows:
        keys.append(more)
        codes.append(loaded.quantizer.encode(prepared(owner, vectors)))
        if sum(part.nbytes for part in codes) >= enough:
            yield np.concatenate(keys), np.concatenate(codes)
            keys, codes = [], []
    if keys:
        yield np.concatenate(keys), np.concatenate(codes)


def put(loaded: Loaded, owner: CollectionRow, keys: Keys, vectors: Float32s) -> int:
    """Write `vectors (n, d)` as codes, and return how many there are."""
    if len(keys):
        loaded.backend.upsert(keys, loaded.quantizer.encode(prepared(owner, vectors)))
    return len(keys)


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, max(done, total))
