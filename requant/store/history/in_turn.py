"""Writers one after the other, as SQLite has them: whoever writes holds the collection's turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from requant.store.connections import plain_cursor
from requant.store.history.change_log import ChangeLog
from requant.store.history.turns import Turns
from requant.store.schema import CollectionRow, Tables
from requant.store.statements import HotSql


class InTurn:
    """One call that writes to a collection, and counts and logs what it does."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        sql: HotSql,
        owner: CollectionRow,
        turns: Turns,
        change_log: ChangeLog,
        reserve: int,
    ) -> None:
        """Take the collection's turn: waits until no other transaction writes to it.

        So many keys are reserved for new items.
        """
        self._connection = connection
        self._cursor = plain_cursor(connection)
        self._tables = tables
        self._sql = sql
        self._collection = owner.id
        self._change_log = change_log
        self._turn = turns.take(connection, self._cursor, reserve)
        self._used = 0
        self.fields: int | None = self._turn.fields

    def draw(self, count: int) -> list[int]:
        """Return the next keys, in order."""
        first = self._turn.next_key + self._used
        self._used += count
        return list(range(first, first + count))

    def give_back(self, count: int) -> None:
        """Return the last keys that were drawn: nothing was added under them."""
        self._used -= count

    def lock(self, keys: Sequence[int]) -> list[int]:
        """Return these keys: nobody else changes anything."""
        return list(keys)

    def hold(self, found: Mapping[str, int]) -> dict[str, int]:
        """Return these items, found by id: nobody else changes anything."""
        return dict(found)

    def add(self, keys: Sequence[int]) -> None:
        """Note new items: their keys have been drawn, which is enough."""

    def change(self, keys: Sequence[int]) -> None:
        """Log items that an index has to look at again."""
        if self._turn.logging and keys:
            seq = self._turn.seq
            parameters = (self._collection, seq, self._sql.keys(list(keys)))
            self._cursor.execute(self._sql.log_changes, parameters)
            self._change_log.bound(self._connection, seq, self._turn.next_key)

    def touch(self, keys: Sequence[int]) -> None:
        """Note nothing: the turn itself tells that something was written."""

    def start_over(self) -> None:
        """All items were removed: indexes begin anew."""
        changes, table = self._tables.changes, self._tables.collections
        log = changes.c.collection_id == self._collection
        self._connection.execute(sa.delete(changes).where(log))
        here = sa.update(table).where(table.c.id == self._collection)
        self._connection.execute(here.values(log_floor=self._turn.seq))

    def leave(self) -> int:
        """Say how many keys were used, if not those reserved; return how many are not numbered."""
        if self._used != self._turn.reserved:
            after = self._turn.next_key + self._used
            self._cursor.execute(self._sql.next_key, (after, self._collection))
        return 0
