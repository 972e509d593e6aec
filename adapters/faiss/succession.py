"""An index without its dead rows, built beside the one that goes on to answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from requant.adapters.keys import KeyColumn, Rows

_AT_ONCE = 65536
# So many new rows are taken over while everybody waits.
_FEW = 256


class Crowded(Protocol):
    """A structure that FAISS cannot remove rows from; rows are only added, and die."""

    keys: KeyColumn

    @property
    def is_crowded(self) -> bool:
        """Whether so many rows are dead that it should be made anew."""

    def empty(self) -> Any:
        """Return a FAISS index like its own, without rows."""

    def vectors(self, rows: Rows) -> Any:
        """Return copies of `rows` as FAISS takes them."""

    def become(self, inner: Any, keys: KeyColumn) -> None:
        """Go on with the FAISS index `inner`, whose row i has key i of `keys`."""


class Successor(NamedTuple):
    """A FAISS index, the old row of each of its rows, and how many old rows were looked at."""

    inner: Any
    rows: Rows
    seen: int


def successor_of(old: Crowded, reading: AbstractContextManager[Any]) -> Successor:
    """Return an index of the living rows; `reading` is entered for short whiles only."""
    with reading:
        found = Successor(old.empty(), np.empty(0, np.int64), 0)
    while True:
        with reading:
            live = np.flatnonzero(old.keys.view[found.seen :] >= 0) + found.seen
            seen = len(old.keys)
        if found.seen and seen - found.seen <= _FEW:
            return found
        for start in range(0, len(live), _AT_ONCE):
            with reading:
                vectors = old.vectors(live[start : start + _AT_ONCE])
            found.inner.add(vectors)
        found = Successor(found.inner, np.concatenate([found.rows, live]), seen)


def replace(old: Crowded, successor: Successor) -> None:
    """Let `successor` take the place, with what was written since; nobody else is inside."""
    new = np.arange(successor.seen, len(old.keys))
    if len(new):
        successor.inner.add(old.vectors(new))
    keys = old.keys.view
    old.become(successor.inner, KeyColumn(np.concatenate([keys[successor.rows], keys[new]])))
