"""A large collection is read by several threads, each by a snapshot of its own.

The database and NumPy let other threads run while they work. The snapshots need not have begun at
the same moment: one takes part if it sees the collection after the same write.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Lock, Thread

from requant.errors import StoreError
from requant.indexes import Batch, ready
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.search.request import Found
from requant.search.scanning.scan import merged, nearest
from requant.store import CollectionRow, CollectionState, Reader, key_range

# Numbers that a thread reads, at least: some milliseconds.
_SHARE = 1 << 20
# A block is worked on while it is in the second cache of a core; of many queries a block more work.
_BLOCK_BYTES, _MOST_ROWS, _MANY_QUERIES = 3 << 18, 1024, 8
# Blocks that a thread takes at a time, unless few of very many keys have a vector.
_BLOCKS, _MOST_PARTS = 8, 1024


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# One for each thread that may run beside those of the callers, for all searches of the process.
_SPARE: deque[None] = deque([None] * (cores() - 1))


def _refill() -> None:
    _SPARE.clear()
    _SPARE.extend([None] * (cores() - 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refill)  # the threads that had taken some are not there


def nearest_of_all(
    reader: Reader, owner: CollectionRow, state: CollectionState, queries: Float32s, k: int
) -> tuple[list[Found], int]:
    """Return the k best of a collection for each of `queries (q, d)`; and how many were scored."""
    parts = _Parts(owner, state, _rows(owner.dim, len(queries)))
    works = [_Work(reader, parts, queries, k)]
    with ExitStack() as closing:
        for other in _others(reader, owner, state, closing):
            works.append(_Work(other, parts, queries, k))
            # Before its snapshot ends, whatever comes.
            closing.callback(_join, works[-1], parts)
            works[-1].start()
        works[0].run()
        for work in works[1:]:
            _join(work, parts)
        for work in works:
            if work.error is not None:
                raise work.error
    results = works[0].results
    for work in works[1:]:
        pairs = zip(results, work.results, strict=True)
        results = [merged(found, *more, k) if len(more[0]) else found for found, more in pairs]
    return results, sum(work.scored for work in works)


def _join(work: _Work, parts: _Parts) -> None:
    """Wait for a thread; where Ctrl-C comes meanwhile, until it has left the part that it is at."""
    interrupted: BaseException | None = None
    while work.ident is not None and work.is_alive():
        try:
            work.join()
        except BaseException as error:
            interrupted = error
            parts.end()
    if interrupted is not None:
        raise interrupted


def _rows(dim: int, queries: int) -> int:
    if queries >= _MANY_QUERIES:
        return rows_for(dim)
    return max(1, min(_MOST_ROWS, _BLOCK_BYTES // (4 * dim)))


def _others(
    reader: Reader, owner: CollectionRow, state: CollectionState, closing: ExitStack
) -> Iterator[Reader]:
    """Yield readers that see what `reader` does, as far as there are cores to spare."""
    useful = (state.end - key_range(owner.id)[0]) * owner.dim // _SHARE
    for _ in range(1, useful):
        if reader.another is None:
            return
        try:
            closing.callback(_SPARE.append, _SPARE.pop())
        except IndexError:
            return
        try:
            other = closing.enter_context(reader.another())
        except StoreError:  # there is no further connection: then without
            return
        if other.state_at(owner.id) != state:
            return
        yield other


class _Parts:
    """The keys of a collection, a part for whoever asks next."""

    def __init__(self, owner: CollectionRow, state: CollectionState, rows: int) -> None:
        first = key_range(owner.id)[0]
        self.owner = owner
        self.rows = rows
        self.ended = False
        self._end = state.end
        self._step = max(rows * _BLOCKS, (state.end - first) // _MOST_PARTS)
        self._starts = iter(range(first, state.end, self._step))
        self._lock = Lock()

    def end(self) -> None:
        self.ended = True

    def __iter__(self) -> Iterator[tuple[int, int]]:
        while not self.ended:
            with self._lock:
                start = next(self._starts, None)
            if start is None:
                return
            yield start, min(start + self._step, self._end)


class _Work(Thread):
    """What one thread reads, and finds."""

    def __init__(self, reader: Reader, parts: _Parts, queries: Float32s, k: int) -> None:
        super().__init__(name="requant-scan", daemon=True)
        self._reader = reader
        self._parts = parts
        self._queries = queries
        self._k = k
        self.results: list[Found] = []
        self.scored = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results = nearest(self._queries, self._batches(), self._k)
        except BaseException as error:
            self.error = error  # for the thread that asked
            self._parts.end()

    def _batches(self) -> Iterator[Batch]:
        owner = self._parts.owner
        for first, end in self._parts:
            blocks = self._reader.blocks(first, end, owner.dim, self._parts.rows)
            for batch in ready(blocks, owner):
                self.scored += len(batch.keys)
                yield batch
                if self._parts.ended:
                    return
