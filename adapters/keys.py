"""Which key stands in which row: a growing NumPy column, for engines that know rows and no keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys

Rows = NDArray[np.int64]
DEAD = -1


class Growing:
    """An array `(n, ...)` that grows at its end at amortised cost."""

    def __init__(self, start: NDArray[Any]) -> None:
        """Begin with `start`, which is copied on the first growth and never written before."""
        self._array = start
        self._n = len(start)

    def __len__(self) -> int:
        """Return the number of rows in use."""
        return self._n

    @property
    def view(self) -> NDArray[Any]:
        """The rows in use; only valid until the next growth."""
        return self._array[: self._n]

    def append(self, rows: NDArray[Any]) -> None:
        """Put `rows` at the end."""
        n = self._n + len(rows)
        if n > len(self._array):
            larger = np.empty((max(n, self._n * 3 // 2), *self._array.shape[1:]), self._array.dtype)
            larger[: self._n] = self.view
            self._array = larger
        self._array[self._n : n] = rows
        self._n = n

    def truncate(self, n: int) -> None:
        """Forget all but the first `n` rows."""
        self._n = n


class KeyColumn:
    """The keys of rows 0 to n - 1, and the rows of keys.

    A dictionary would cost ten times the memory of the keys. Keys mostly arrive in ascending
    order, and then the column is its own search tree; else a sorted order is made when it is
    needed and kept up to date by merging.

    >>> column = KeyColumn()
    >>> column.append(np.array([7, 9, 3]))
    >>> column.find(np.array([3, 4, 7])).tolist()
    [2, -1, 0]
    >>> holes, movers = column.drop(np.array([0]))
    >>> column.view.tolist(), holes.tolist(), movers.tolist()
    ([3, 9], [0], [2])
    """

    def __init__(self, keys: Keys | None = None) -> None:
        """Begin with a copy of `keys (n,) int64`."""
        self._keys = Growing(np.empty(0, np.int64))
        self._ascending = True
        # A permutation of the first rows, sorted by key as they once were.
        self._order: Rows = np.empty(0, np.int64)
        self._sorted = True
        if keys is not None:
            self.append(keys)

    def __len__(self) -> int:
        """Return the number of rows, dead ones included."""
        return len(self._keys)

    @property
    def view(self) -> Keys:
        """The keys by row, -1 where a row is dead; only valid until the next write."""
        return self._keys.view

    def find(self, keys: Keys) -> Rows:
        """Return the row of each key `(m,)`, -1 where there is none."""
        known = self.view
        if not len(known):
            return np.full(len(keys), -1, np.int64)
        order = self._sorted_rows()
        at = np.searchsorted(known, keys, sorter=order)
        np.minimum(at, len(known) - 1, out=at)
        rows = at if order is None else order[at]
        return np.where(known[rows] == keys, rows, -1)

    def append(self, keys: Keys) -> None:
        """Give `keys` the next rows; none of them may be known."""
        if not len(keys):
            return
        follows = not len(self) or keys[0] > self.view[-1]
        self._ascending &= bool(follows and (keys[1:] > keys[:-1]).all())
        self._keys.append(keys)
        self._sorted = False

    def kill(self, rows: Rows) -> None:
        """Mark rows as dead: their keys become -1."""
        if len(rows):
            self._keys.view[rows] = DEAD
            self._ascending = self._sorted = False

    def drop(self, rows: Rows) -> tuple[Rows, Rows]:
        """Remove `rows` (no duplicates) by moving the last rows into the holes.

        Returns `(holes, movers)`: row `movers[i]` has become row `holes[i]`, and the caller moves
        its own data alike before it cuts off the last `len(rows)` rows.
        """
        left = len(self) - len(rows)
        holes = rows[rows < left]
        stays = np.ones(len(self) - left, bool)
        stays[rows[rows >= left] - left] = False
        movers = np.flatnonzero(stays) + left
        keys = self.view
        keys[holes] = keys[movers]
        self._keys.truncate(left)
        self._order = self._order[self._order < left]
        self._ascending = not left or (self._ascending and not len(holes))
        self._sorted = False
        return holes, movers

    def _sorted_rows(self) -> Rows | None:
        if self._ascending:
            return None
        # Several readers may find the same order at the same time: the flag is set last, and the
        # unsorted order is read once.
        if self._sorted:
            return self._order
        keys, order = self.view, self._order
        # The old order followed by the new rows is nearly sorted: a merge sort flies over it.
        nearly = np.concatenate([order, np.arange(len(order), len(keys))])
        self._order = order = nearly[np.argsort(keys[nearly], kind="stable")]
        self._sorted = True
        return order
