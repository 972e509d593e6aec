"""Which ids a file has had so far, in eight bytes each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class SeenIds:
    """Finds an id that occurs twice, however far apart; whether a file is good must not depend on
    where its batches begin.

    It keeps 64-bit hashes in sorted runs that double in length: among ten million ids a false
    alarm has a chance of one in 400,000.

    >>> seen = SeenIds()
    >>> seen.first_repeated(["a", "b"]), seen.first_repeated(["c", "b"])
    (None, 1)
    """

    def __init__(self) -> None:
        """Have seen nothing."""
        self._runs: list[NDArray[np.int64]] = []

    def first_repeated(self, ids: Sequence[object]) -> int | None:
        """Remember a batch of ids and return the place of the first one seen before, if any."""
        # The store keeps ids as text, so 7 and "7" are the same.
        hashes = np.fromiter((hash(str(value)) for value in ids), np.int64, len(ids))
        known = np.ones(len(hashes), bool)
        known[np.unique(hashes, return_index=True)[1]] = False
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            known |= run[at] == hashes
        self._remember(hashes)
        return int(known.argmax()) if known.any() else None

    def _remember(self, hashes: NDArray[np.int64]) -> None:
        if not len(hashes):
            return
        run = np.sort(hashes)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
