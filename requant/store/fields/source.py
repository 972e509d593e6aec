"""What a filter is answered from: the items, what is listed of them, and what is remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import sqlalchemy as sa

from requant.adapters.protocol import Keys
from requant.store.fields.counting import Counting
from requant.store.fields.definitions import Field, load
from requant.store.fields.key_lists import PART
from requant.store.fields.listed import Listed
from requant.store.fields.questions import Question
from requant.store.fields.values import FLOAT, ODD
from requant.store.schema import Tables, key_range
from requant.store.statements import HotSql

if TYPE_CHECKING:
    from requant.store.states import CollectionState

T = TypeVar("T")
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


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Source:
    """One transaction that is read from; a `lent` one may have written what never comes to stay."""

    connection: sa.Connection
    cursor: Any
    sql: HotSql
    items: sa.Table
    memory: Memory
    lent: bool
    in_bulk: Callable[[], None] = _nothing  # called before every item is looked at

    def select(
        self,
        condition: sa.ColumnElement[bool],
        first: int | None = None,
        end: int | None = None,
        among: Keys | None = None,
    ) -> Keys:
        """Return the keys, in order, of the items that meet `condition`, by looking at them."""
        key = self.items.c.key
        statement = sa.select(key).where(condition).order_by(key)
        if first is not None:
            statement = statement.where(key >= first)
        if end is not None:
            statement = statement.where(key < end)
        if among is not None:
            statement = statement.where(one_of(key, among, self.sql))
        else:
            self.in_bulk()
        return np.fromiter(self.connection.execute(statement).scalars(), np.int64)

    def texts(self, keys: list[int]) -> dict[int, str | None]:
        """Return the metadata of `keys` by key, as they are stored."""
        return dict(self.cursor.execute(self.sql.metadata, (self.sql.keys(keys),)).fetchall())

    def fields(self, collection: int, number: int | None) -> tuple[Field, ...]:
        """Return the indexed fields of a collection whose definitions have this number."""
        return self.memory.fields(self.connection, collection, number, keep=not self.lent)

    def listed(self) -> Listed:
        """Return what reads the lists of indexed fields."""
        return Listed(self.cursor, self.sql)

    def counted(
        self,
        collection: int,
        state: CollectionState,
        path: object,
        count: Callable[[Counting], T],
    ) -> T | None:
        """Return what `count` tells of a field, None where the items have to be looked at."""
        if state.fresh:
            return None  # what is listed lacks what has no number yet
        fields = self.fields(collection, state.fields)
        field = next((one for one in fields if one.ready and one.path == path), None)
        if field is None:
            return None
        first, _ = key_range(collection)
        parts = -(-(state.next_key - first) // PART)
        unclear = self.listed().found(field.id, Question((ODD, FLOAT)), 0, parts)
        return None if unclear.any() else count(Counting(self.cursor, self.sql, field))

    def remembered(self, collection: int, state: CollectionState, text: str) -> Bounds | None:
        """Return what met a filter when the collection was as it is here."""
        return None if self.lent else self.memory.bounds(collection, state, text)

    def keep(self, collection: int, state: CollectionState, text: str, bounds: Bounds) -> None:
        """Remember it, unless it may never be committed."""
        if not self.lent:
            self.memory.keep(collection, state, text, bounds)


def one_of(key: sa.ColumnElement[int], keys: Keys, sql: HotSql) -> sa.ColumnElement[bool]:
    """Return the condition that `key` is one of `keys`, which travel as one parameter."""
    listed = keys.tolist()
    if sql.name == "sqlite":
        each = sa.func.json_each(sql.keys(listed)).table_valued("value")
        return key.in_(sa.select(each.c.value))
    return key == sa.any_(sa.bindparam(None, listed, type_=sa.ARRAY(sa.BigInteger)))
