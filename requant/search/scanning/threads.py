"""What takes long is done by several threads, each by a snapshot of its own.

The database, BLAS and NumPy let other threads run while they work. The snapshots need not have
begun at the same moment: one takes part if it sees the collection after the same write.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from threading import Lock, Thread
from typing import Generic, TypeVar

from requant.errors import StoreError
from requant.quantizers.threads import cores
from requant.store import CollectionRow, CollectionState, Reader

Part = TypeVar("Part")
Result = TypeVar("Result")


# Of one search: each has a connection's memory, and blocks of some megabytes.
MOST_THREADS = 8
# One for each thread that may run beside those of the callers, for all searches of the process.
_SPARE: deque[None] = deque([None] * (cores() - 1))


def _refill() -> None:
    _SPARE.clear()
    _SPARE.extend([None] * (cores() - 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refill)  # the threads that had taken some are not there


def shared(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    parts: Sequence[Part],
    most: int,
    work: Callable[[Reader, Iterator[Part]], Result],
) -> list[Result]:
    """Return what `work` returns in this thread and in others, `most` of them together at most.

    Each is given a reader of the same contents, and takes of `parts` what no other has taken yet.
    What is raised in one of them is raised here.
    """
    left = _Parts(parts)
    threads = [_Thread(reader, left, work)]
    with ExitStack() as closing:
        for other in _others(reader, owner, state, min(most, len(parts)) - 1, closing):
            thread = _Thread(other, left, work)
            # Before its snapshot ends, whatever comes.
            closing.callback(_join, thread, left)
            try:
                thread.start()
            except RuntimeError:  # the system has no further thread: then without
                break
            threads.append(thread)
        threads[0].run()
        for thread in threads[1:]:
            _join(thread, left)
        for thread in threads:
            if thread.error is not None:
                raise thread.error
    return [result for thread in threads for result in thread.results]


def _join(thread: _Thread[Part, Result], left: _Parts[Part]) -> None:
    """Wait for a thread; where Ctrl-C comes meanwhile, until it has done the part that it is at."""
    interrupted: BaseException | None = None
    while thread.ident is not None and thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            interrupted = error
            left.end()
    if interrupted is not None:
        raise interrupted


def _others(
    reader: Reader, owner: CollectionRow, state: CollectionState, most: int, closing: ExitStack
) -> Iterator[Reader]:
    """Yield readers that see what `reader` does, as far as there are cores to spare."""
    for _ in range(most):
        if reader.another is None:
            return
        try:
            _SPARE.pop()
        except IndexError:
            return
        closing.callback(_SPARE.append, None)
        try:
            other = closing.enter_context(reader.another())
        except StoreError:  # there is no further connection: then without
            return
        if other.state_at(owner.id) != state:
            return
        yield other


class _Parts(Generic[Part]):
    """What is left to be done, a part for whoever asks next."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = iter(parts)
        self._ended = False
        self._lock = Lock()

    def end(self) -> None:
        self._ended = True

    def __iter__(self) -> Iterator[Part]:
        while not self._ended:
            with self._lock:
                part = next(self._parts, None)
            if part is None:
                return
            yield part


class _Thread(Thread, Generic[Part, Result]):
    """A thread, or the caller's own where `run` is called."""

    def __init__(
        self,
        reader: Reader,
        parts: _Parts[Part],
        work: Callable[[Reader, Iterator[Part]], Result],
    ) -> None:
        super().__init__(name="requant-search", daemon=True)
        self._reader = reader
        self._parts = parts
        self._work = work
        self.results: list[Result] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._work(self._reader, iter(self._parts)))
        except BaseException as error:
            self.error = error  # for the thread that asked
            self._parts.end()
