"""A share of the catching up, so small that a search can do it in passing."""

from __future__ import annotations

import time

import numpy as np

from requant.indexes.following.ahead import known
from requant.indexes.following.catch_up import put
from requant.indexes.loaded import Loaded
from requant.quantizers.chunks import rows_for
from requant.store import CollectionRow, CollectionState, Reader, Watermark

# What a search may spend on it, whatever the dimension; more only where it is little beside what
# the search has to take anyway: a share of the time that looking at what is left takes.
SECONDS = 0.008
_OF_READING = 0.25
# Rows that are written at once, at least: writing one to a live engine costs as much as a thousand.
_LEAST = 8
_LEAST_LIVE = 1024
_OF_TIME = 0.75
_EVERY_KEY = 1 << 62
# So few changes, and no new items, are read along with a search's candidates for next to nothing.
_LEFT = 32
_now = time.perf_counter


def follow_some(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    reaching: int = 0,
) -> int:
    """Bring an index nearer to `state`, in about the time that a search may spend on it.

    `reaching` is the number of what is taken in beyond that of `state`. Returns how many rows it
    has followed. Safe to repeat if it is interrupted.
    """
    location, most = loaded.location, rows_for(owner.dim)
    least = min(_LEAST_LIVE if location.live else _LEAST, most)
    # Part of it may be of a later snapshot by now, which another thread has begun to follow.
    reaching = max(state.seq, reaching)
    loaded.reaching = max(loaded.reaching, reaching)
    location.announce(loaded.name, loaded.backend, reaching)
    now = _now()
    until = now + max(SECONDS, _OF_READING * loaded.seconds_unfollowed)
    first, followed = True, 0
    while not loaded.watermark.covers(state):
        if not first:
            location.check_turn(loaded.name)
        first = False
        pace = loaded.seconds_a_row
        # Not all that there is time for: the pace is a guess, and mended on the way.
        rows = int(min(_OF_TIME * (until - now) / pace, most)) if pace else least
        done = _step(loaded, reader, owner, state, max(rows, least))
        begun, now, followed = now, _now(), followed + done
        if not done:
            continue  # nothing was logged: the share is one of new rows
        taken = (now - begun) / done
        # Where processors are busy some steps take ten times as long, and tell nothing.
        loaded.seconds_a_row = (3 * pace + min(taken, 3 * pace)) / 4 if pace else taken
        if now + least * loaded.seconds_a_row > until:
            break
    loaded.items = len(loaded.backend)
    location.advance(loaded.name, loaded.watermark, loaded.items)
    if loaded.watermark.covers(state):
        loaded.seconds_unfollowed = 0.0
    return followed


def left_to_later(
    loaded: Loaded, reader: Reader, owner: CollectionRow, state: CollectionState
) -> bool:
    """Whether so little was changed that reading it costs less than following it."""
    mark = loaded.watermark
    if mark.key < state.next_key or not 0 < state.seq - mark.seq <= _LEFT:
        return False
    return len(loaded.changed(reader, owner, state, mark)) <= _LEFT


def _step(
    loaded: Loaded, reader: Reader, owner: CollectionRow, state: CollectionState, rows: int
) -> int:
    """Follow at most so many rows, and return how many there were."""
    if loaded.watermark.seq < state.seq:
        return _follow_log(loaded, reader, owner, state, rows)
    mark = loaded.watermark
    for keys, vectors in reader.scan(mark.key, state.next_key, owner.dim, rows):
        at = known(keys, state)
        done = put(loaded, owner, keys[at], vectors[at])
        loaded.watermark = Watermark(int(keys[-1]) + 1, mark.seq)
        loaded.unpublished += done
        return done
    loaded.watermark = Watermark(state.next_key, mark.seq)
    return 0


def _follow_log(
    loaded: Loaded, reader: Reader, owner: CollectionRow, state: CollectionState, rows: int
) -> int:
    mark = loaded.watermark
    # One write may have logged more than a share, so a share can end within it.
    after = max(loaded.logged, (mark.seq, _EVERY_KEY))
    before = state.next_key if loaded.location.live else mark.key
    logged = reader.log(owner.id, after, before, rows)
    keys = np.unique(np.array([key for _, key in logged], np.int64))
    found, vectors = reader.vectors(keys, owner.dim)
    if len(found) < len(keys):
        loaded.backend.delete(np.setdiff1d(keys, found, assume_unique=True))
    put(loaded, owner, found, vectors)
    loaded.unpublished += len(keys)
    if len(logged) < rows:
        loaded.watermark = Watermark(mark.key, state.seq)
    else:
        loaded.logged = logged[-1]
        loaded.watermark = Watermark(mark.key, max(mark.seq, loaded.logged[0] - 1))
    return len(logged)
