"""Which key stands in which row: a growing NumPy column, for engines that know rows and no keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys

Rows = NDArray[np.int64]
DEAD = -1
# So many keys may have moved, or a 64th of all, before the sorted copy is made anew.
_MOVED = 4096
_MOVED_SHARE = 6


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
    order, and then the column is its own search tree; else there is a sorted copy, and a small
    dictionary of what has moved since, so that one write never costs a pass over all keys.

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
        # None while the column itself is ascending.
        self._sorted: _Sorted | None = None
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
        if self._sorted is not None:
            return self._sorted.find(keys, known)
        rows = np.searchsorted(known, keys)
        np.minimum(rows, len(known) - 1, out=rows)
        return np.where(known[rows] == keys, rows, -1)

    def append(self, keys: Keys) -> None:
        """Give `keys` the next rows; none of them may be known."""
        if not len(keys):
            return
        n = len(self)
        if self._sorted is None:
            follows = not n or keys[0] > self.view[-1]
            ascending = bool(follows and (keys[1:] > keys[:-1]).all())
            self._keys.append(keys)
            if not ascending:
                self._sorted = _Sorted(self.view)
            return
        self._keys.append(keys)
        self._sorted.add(keys, np.arange(n, n + len(keys)), self.view)

    def kill(self, rows: Rows) -> None:
        """Mark rows as dead: their keys become -1."""
        if len(rows):
            self._leave_order()
            self._keys.view[rows] = DEAD

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
        if len(holes):
            self._leave_order()
        moved = self.view[movers]
        self.view[holes] = moved
        self._keys.truncate(left)
        if not left:
            self._sorted = None
        elif self._sorted is not None:
            self._sorted.add(moved, holes, self.view)
        return holes, movers

    def _leave_order(self) -> None:
        if self._sorted is None:
            self._sorted = _Sorted(self.view)


class _Sorted:
    """Where keys are: a sorted copy of most of them, right or out of date, and what has moved.

    An answer counts only if the column says the same, so that nothing has to be removed here.
    """

    def __init__(self, keys: Keys) -> None:
        """Sort `keys (n,)`, the column by row."""
        self._make(keys)

    def find(self, keys: Keys, known: Keys) -> Rows:
        """Return the row of each key in the column `known`, -1 where there is none."""
        at = np.searchsorted(self._keys.view, keys)
        np.minimum(at, len(self._keys) - 1, out=at)
        rows: Rows = np.minimum(self._rows.view[at], len(known) - 1)
        rows = np.where(known[rows] == keys, rows, -1)
        if self._moved:
            for i in np.flatnonzero(rows < 0).tolist():
                row = self._moved.get(int(keys[i]), -1)
                if 0 <= row < len(known) and known[row] == keys[i]:
                    rows[i] = row
        return rows

    def add(self, keys: Keys, rows: Rows, known: Keys) -> None:
        """Note that `keys` are in `rows` of the column `known` now."""
        if not len(keys):
            return
        if keys[0] > self._keys.view[-1] and (keys[1:] > keys[:-1]).all():
            self._keys.append(keys)
            self._rows.append(rows)
        elif len(self._moved) + len(keys) > max(_MOVED, len(known) >> _MOVED_SHARE):
            self._make(known)
        else:
            self._moved.update(zip(keys.tolist(), rows.tolist(), strict=True))

    def _make(self, keys: Keys) -> None:
        order = np.argsort(keys, kind="stable")  # a merge sort, which flies over what is in order
        self._keys, self._rows = Growing(keys[order]), Growing(order)
        self._moved: dict[int, int] = {}
