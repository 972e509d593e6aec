"""What was committed and has no number yet: read beside every index, until somebody numbers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys

_KEY = np.dtype(">i8")  # as int8send has it
# So many writes, or items, cost a search more beside the index than in it.
_WRITES, _ITEMS = 16, 128
Runs = NDArray[np.int64]  # (n, 2): the first key of each and the first after it


def _no_runs() -> Runs:
    return np.empty((0, 2), np.int64)


def _no_keys() -> Keys:
    return np.empty(0, np.int64)


_NO_KEYS = _no_keys()


@dataclass(frozen=True)
class Fresh:
    """Writes of one collection that a snapshot sees and that have no number yet.

    Two are equal if they are the same writes, which their random tokens tell.
    """

    tokens: tuple[int, ...] = ()
    runs: Runs = field(default_factory=_no_runs, compare=False)
    changed: Keys = field(default_factory=_no_keys, compare=False)
    touched: Keys = field(default_factory=_no_keys, compare=False)  # only what is not the vector

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.tokens)

    @property
    def much(self) -> bool:
        """Whether it is time to number it, so that indexes can follow."""
        if not self.tokens:  # as SQLite's never have: a search asks twice
            return False
        if len(self.tokens) >= _WRITES:
            return True
        added = int((self.runs[:, 1] - self.runs[:, 0]).sum()) if len(self.runs) else 0
        return added + len(self.changed) > _ITEMS

    @property
    def end(self) -> int:
        """The first key after all that were added."""
        return int(self.runs[:, 1].max()) if len(self.runs) else 0

    def added(self, first: int, end: int) -> Keys:
        """Return the keys of `first <= key < end` that were added, in order."""
        return expanded(self.runs, first, end)

    def keys(self, first: int, end: int) -> Keys:
        """Return the keys of `first <= key < end` that were added or changed, in order."""
        if not self.tokens:
            return _NO_KEYS
        changed = self.changed[(self.changed >= first) & (self.changed < end)]
        added = self.added(first, end)
        if not len(added) or not len(changed):  # as nearly always
            return added if len(added) else changed
        return np.union1d(added, changed)

    def written(self, first: int, end: int) -> Keys:
        """Return all keys of `first <= key < end` whose lists may not be what their items are."""
        touched = self.touched[(self.touched >= first) & (self.touched < end)]
        return np.union1d(self.keys(first, end), touched)

    @cached_property
    def altered(self) -> Keys:
        """The keys of items that were there before: changed, and not added as well."""
        at = np.searchsorted(self.runs[:, 0], self.changed, "right") - 1
        fresh = (at >= 0) & (self.changed < self._ends[at]) if len(self.runs) else at < -1
        return self.changed[~fresh]

    @property
    def _ends(self) -> Keys:
        ends: Keys = self.runs[:, 1]
        return ends


NOTHING = Fresh()


def fresh_of(tokens: Sequence[int], added: Any, changed: Any, touched: Any = b"") -> Fresh:
    """Return what rows of `requant_writes` say, their columns each joined to one."""
    runs = np.frombuffer(bytes(added), _KEY).reshape(-1, 2).astype(np.int64)
    if len(runs) > 1:
        runs = runs[np.argsort(runs[:, 0])]
    return Fresh(tuple(sorted(tokens)), runs, _unique(changed), _unique(touched))


def _unique(column: Any) -> Keys:
    if not len(column):
        return _NO_KEYS
    return np.unique(np.frombuffer(bytes(column), _KEY)).astype(np.int64)


def expanded(runs: Runs, first: int, end: int) -> Keys:
    """Return the keys of `runs` that are in `first <= key < end`, in order."""
    if not len(runs):
        return _NO_KEYS
    begin, stop = np.maximum(runs[:, 0], first), np.minimum(runs[:, 1], end)
    there = begin < stop
    parts = [np.arange(a, b) for a, b in zip(begin[there], stop[there], strict=True)]
    return np.concatenate(parts) if parts else _no_keys()


def runs_of(keys: Sequence[int]) -> list[tuple[int, int]]:
    """Return keys, in order, as runs of those that follow one another.

    >>> runs_of([4, 5, 6, 9])
    [(4, 7), (9, 10)]
    """
    found = np.asarray(keys, np.int64)
    if not len(found):
        return []
    breaks = np.flatnonzero(np.diff(found) != 1) + 1
    parts = np.split(found, breaks)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def packed_keys(keys: Sequence[int]) -> bytes:
    """Return keys as a column of `requant_writes` keeps them."""
    return np.asarray(keys, _KEY).tobytes()


def packed_runs(runs: Sequence[tuple[int, int]]) -> bytes:
    """Return runs as a column of `requant_writes` keeps them."""
    return np.asarray(runs, _KEY).tobytes()
