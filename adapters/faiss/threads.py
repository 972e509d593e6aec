"""How many of OpenMP's threads FAISS uses for what a caller asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss

# Rows that one thread adds in the time that it takes to wake the others where processors are busy.
FEW_ROWS = 512


@contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS work on this thread alone.

    It would wake all its threads however little there is to do, and wait for them again and again:
    where processors are busy that takes ten times as long as the work.
    """
    threads = faiss.omp_get_max_threads()
    if threads == 1:
        yield
        return
    faiss.omp_set_num_threads(1)  # of this thread: OpenMP keeps the number a thread
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
