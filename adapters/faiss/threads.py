"""How many of OpenMP's threads FAISS uses for what a caller asks of it."""

from __future__ import annotations

import faiss

# Rows that one thread adds in the time that it takes to wake the others where processors are busy.
FEW_ROWS = 512


class OneThread:
    """A context: FAISS works on this thread alone.

    It would wake all its threads however little there is to do, and wait for them again and again:
    where processors are busy that takes ten times as long as the work.
    """

    __slots__ = ("_threads",)

    def __enter__(self) -> None:
        """Let it have one; OpenMP keeps the number a thread."""
        self._threads = faiss.omp_get_max_threads()
        if self._threads > 1:
            faiss.omp_set_num_threads(1)

    def __exit__(self, *raised: object) -> None:
        """Let it have as many as before."""
        if self._threads > 1:
            faiss.omp_set_num_threads(self._threads)
