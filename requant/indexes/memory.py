"""The vectors of a small collection, kept in memory once they are searched again and again.

Kept is what a snapshot of a certain write saw, and it serves snapshots of that same write alone:
whoever wrote since, here or elsewhere, has it read again.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from requant.indexes.nearby import Batch, Nearby
from requant.store import CollectionRow, CollectionState, Reader, Seen, key_range

# What the collections of a database may keep together, and so each of them.
MOST_BYTES = 32 << 20


class Room:
    """How much memory there is for the vectors of a database's collections: the latest keep it."""

    def __init__(self) -> None:
        """Have room for all that is allowed."""
        self._taken: weakref.WeakKeyDictionary[Memory, int] = weakref.WeakKeyDictionary()

    def take(self, memory: Memory, size: int) -> None:
        """Make room for `size` bytes, at most MOST_BYTES; others forget what they have."""
        self._taken.pop(memory, None)
        for other, taken in list(self._taken.items()):  # the oldest first
            if size + sum(self._taken.values()) <= MOST_BYTES:
                break
            if self._taken.pop(other, taken):
                other.forget()
        self._taken[memory] = size


class Memory:
    """What is kept of one collection; shared by the threads that search it."""

    def __init__(self, room: Room) -> None:
        """Keep nothing yet."""
        self._room = room
        self._nearby = Nearby()
        self._asked: Seen | None = None
        self._kept: Seen | None = None

    def forget(self) -> None:
        """Let go of the memory."""
        self._kept = self._asked = None
        self._nearby.forget()

    def batches(
        self, reader: Reader, owner: CollectionRow, state: CollectionState
    ) -> Iterator[Batch] | None:
        """Return every vector as `reader` sees it, at `state`; None if it is better read once.

        It is kept from the second search on that comes without a write since the first.
        """
        if state.fresh:  # what is kept has no number that another snapshot would know it by
            return None
        first, seen = key_range(owner.id)[0], state.seen
        if self._kept != seen:
            size = 4 * owner.dim * (state.end - first)
            if reader.lent or size > MOST_BYTES:
                return None
            if self._asked != seen:
                self._asked = seen
                return None
            self._room.take(self, size)
            self._kept = seen
        return self._nearby.batches(reader, owner, state, first)
