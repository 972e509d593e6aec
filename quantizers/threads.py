"""Rows worked on by several threads: NumPy lets them run at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Thread


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parts(n: int, least: int, work: Callable[[slice], None]) -> None:
    """Do `work` on slices that cover `n` rows, of `least` rows at least, side by side.

    What is raised on the first of them that fails is raised here, when all have ended.

    >>> done = [0] * 5
    >>> in_parts(5, 1, lambda some: done.__setitem__(some, [1] * (some.stop - some.start)))
    >>> done
    [1, 1, 1, 1, 1]
    """
    count = max(1, min(cores(), n // max(1, least)))
    step = max(1, -(-n // count))
    parts = [_Part(work, slice(start, min(start + step, n))) for start in range(0, n, step)]
    for part in parts[1:]:
        part.start()
    for part in parts[:1]:
        part.run()
    for part in parts[1:]:
        part.join()
    for part in parts:
        if part.error is not None:
            raise part.error


class _Part(Thread):
    def __init__(self, work: Callable[[slice], None], some: slice) -> None:
        super().__init__(name="requant-rows", daemon=True)
        self._work = work
        self._some = some
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work(self._some)
        except BaseException as error:
            self.error = error  # for the thread that asked
