"""What a process remembers of indexed fields: which there are, and which keys met a filter."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from requant.store.fields.definitions import Field, load
from requant.store.schema import Tables

if TYPE_CHECKING:
    from requant.store.states import CollectionState

_COLLECTIONS = 256
_SETS, _BYTES = 64, 64 << 20


class Bounds(NamedTuple):
    """The keys that surely meet a filter, and those that may: a bit each, from the first key on."""

    must: bytes
    may: bytes
    least: int  # how many surely meet it
    most: int


class Memory:
    """Shared by the threads and collections of a store; everything in it never changes."""

    def __init__(self, tables: Tables) -> None:
        """Know nothing yet."""
        self._tables = tables
        # By the number of the definitions, which is random and never used again.
        self._fields: dict[int, tuple[Field, ...]] = {}
        self._sets: OrderedDict[tuple[int, str], tuple[CollectionState, Bounds]] = OrderedDict()
        self._shares: dict[tuple[int, str], float] = {}
        self.warned: set[tuple[int, str]] = set()

    def fields(
        self, connection: sa.Connection, collection: int, number: int | None, *, keep: bool = True
    ) -> tuple[Field, ...]:
        """Return the fields of a collection whose definitions have this number.

        `keep=False` where they may be those of a later number: others commit between statements.
        """
        if number is None:
            return ()
        known = self._fields.get(number)
        if known is None:
            known = load(connection, self._tables, collection)
            if not keep:
                return known
            if len(self._fields) >= _COLLECTIONS:
                self._fields.clear()
            self._fields[number] = known
        return known

    def bounds(self, collection: int, state: CollectionState, text: str) -> Bounds | None:
        """Return what met a filter when the collection was as it is."""
        known = self._sets.get((collection, text))
        if known is None or known[0] != state:
            return None
        return known[1]

    def keep(self, collection: int, state: CollectionState, text: str, bounds: Bounds) -> None:
        """Remember what met a filter; the latest few are kept."""
        if len(text) > 10_000:
            return
        sets = self._sets
        sets.pop((collection, text), None)
        sets[collection, text] = (state, bounds)
        try:
            total = sum(len(one.must) + len(one.may) for _, one in list(sets.values()))
            while sets and (len(sets) > _SETS or total > _BYTES):
                _, (_, gone) = sets.popitem(last=False)
                total -= len(gone.must) + len(gone.may)
        except (KeyError, RuntimeError):  # another thread was at it: it is tidied next time
            pass

    def share(self, collection: int, text: str) -> float | None:
        """Return about how many of the items met a filter when somebody looked."""
        return self._shares.get((collection, text))

    def keep_share(self, collection: int, text: str, share: float) -> None:
        """Remember about how many of the items meet a filter."""
        if len(self._shares) >= 1024:
            self._shares.clear()
        if len(text) <= 10_000:
            self._shares[collection, text] = share
