"""Writers beside one another on PostgreSQL: each leaves a note of what it wrote.

Who writes takes no turn. It draws keys from a sequence, locks the items that it changes and no
others, and leaves rows in `requant_writes`, in its own transaction: they are seen when it commits,
whatever that transaction has drawn or done before, and gone if it is rolled back. Whoever reads
next gives a number to what it sees (`numbering`), for a moment, in a transaction of its own. So the
numbers are in the order in which commits were seen, which is what followers rely on, and nothing
depends on the order in which they began, on how long they last, or on any transaction's id.

Until then a reader takes what its snapshot sees of these rows as read beside every index
(`fresh`). The collection's gate (`requant.store.gate`) is passed on the way in: that bars who drops
or clears the collection or begins to index a field, and neither other writers nor numbering.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from requant.errors import UnknownCollectionError
from requant.store import gate
from requant.store.connections import check_transaction, plain_cursor
from requant.store.history.fresh import packed_keys, packed_runs, runs_of
from requant.store.history.keys import common_source, skip, source_of
from requant.store.schema import CollectionRow, Tables, key_range
from requant.store.statements import HotSql

if TYPE_CHECKING:
    from requant.store.history.numbering import Numbering


# Who has waited since, at the gate or for another writer, has seen what was noted before.
_JUST_NOW = 0.02


class Beside:
    """One call that writes to a collection, beside others."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        sql: HotSql,
        owner: CollectionRow,
        numbering: Numbering,
        *,
        noting: bool = False,
    ) -> None:
        """Stand beside others; `join` comes first, or an item that is added alone.

        With `noting` it reads by the way what is noted of the model.
        """
        check_transaction(connection)  # before a statement that would commit by itself
        self._connection = connection
        self._cursor = plain_cursor(connection)
        self._tables = tables
        self._numbering = numbering
        self._sql = sql
        self._owner = owner
        self._noting = noting
        self.fields: int | None = None
        self._noted: tuple[str | None] | None = None
        self._noted_at = 0.0
        self._own_keys = True
        self._added: list[int] = []
        self._changed: list[int] = []
        self._touched: list[int] = []
        self._left = 0

    def join(self, *, alone: bool = False) -> None:
        """Join those who write, or wait until they have committed and be `alone`.

        Raises UnknownCollectionError if the collection is gone.
        """
        statement = self._sql.join_model if self._noting else self._sql.join
        if alone:
            gate.alone(self._connection, self._tables, self._owner.id)
            statement, self._noting = self._sql.join_alone, False
        begun = perf_counter()
        row = self._cursor.execute(statement, (self._owner.id, self._owner.name)).fetchone()
        self._joined(row, begun)

    def add_one(self, item: tuple[Any, ...], vec: bytes | None, crc: int | None) -> int | None:
        """Join, and add an item and its note if its id is new; return its key, None else."""
        _, collection, text, kind, document, metadata = item
        given = (
            self._owner.id, self._owner.name, source_of(self._tables, self._owner.id),
            self._tables.quoted("writes"), collection, kind, document, metadata, text, vec, crc,
            secrets.randbits(63),
        )  # fmt: skip
        statement = self._sql.write_one_model if self._noting else self._sql.write_one
        begun = perf_counter()
        row = self._cursor.execute(statement, given).fetchone()
        self._joined(row, begun)
        key: int | None = row[2]
        self._left += key is not None
        return key

    def _joined(self, row: Any, begun: float) -> None:
        if row is None:
            raise UnknownCollectionError.gone(self._owner.name)
        self.fields, self._own_keys = row[0], bool(row[1])
        if self._noting:
            self._noted, self._noted_at = (row[-1],), begun

    @property
    def noted(self) -> tuple[str | None] | None:
        """What was noted of the model just now, None if that was not read, or is long ago."""
        return self._noted if perf_counter() - self._noted_at < _JUST_NOW else None

    def draw(self, count: int) -> list[int]:
        """Return so many keys that nobody else has, in order."""
        if not count:
            return []
        first, _ = key_range(self._owner.id)
        rows = self._cursor.execute(self._sql.draw_keys, (self._source(), count)).fetchall()
        return sorted(first + n for (n,) in rows)

    def skip_taken(self) -> None:
        """Let keys be drawn that come after all that are stored."""
        first, end = key_range(self._owner.id)
        key = self._tables.items.c.key
        last = sa.select(sa.func.max(key)).where(key >= first, key < end)
        highest = self._connection.scalar(last)
        if highest is not None:
            skip(self._connection, self._source(), highest + 1 - first)

    def _source(self) -> str:
        if self._own_keys:
            return source_of(self._tables, self._owner.id)
        return common_source(self._connection, self._tables)

    def lock(self, keys: Sequence[int]) -> list[int]:
        """Keep others from changing these items; return those that are still there."""
        if not keys:
            return []
        rows = self._cursor.execute(self._sql.lock_items, (self._sql.keys(list(keys)),)).fetchall()
        return [key for key, _ in rows]

    def hold(self, found: Mapping[str, int]) -> dict[str, int]:
        """Keep others from changing items found by id; return those that are still there.

        What has another id since, as triggers that follow a model's rows may give it, is not.
        """
        if not found:
            return {}
        keys = self._sql.keys(sorted(found.values()))
        rows = self._cursor.execute(self._sql.lock_items, (keys,)).fetchall()
        return {text: key for key, text in rows if found.get(text) == key}

    def add(self, keys: Sequence[int]) -> None:
        """Note new items."""
        self._added += keys

    def change(self, keys: Sequence[int]) -> None:
        """Note items that an index has to look at again."""
        self._changed += keys

    def touch(self, keys: Sequence[int]) -> None:
        """Note items of which something else than the vector is changed."""
        self._touched += keys

    def keep(self, lists: bytes) -> None:
        """Leave what changes in the lists of fields; before the keys, which come last."""
        self._leave([], (), (), lists)

    def keep_one(self, key: int, lists: bytes) -> None:
        """Leave what is listed of an item whose key has been left already: it says so again."""
        self._leave([], (), (key,), lists)

    def start_over(self) -> None:
        """All items were removed, by who is alone: indexes begin anew."""
        self._numbering.start_over(self._connection, self._owner.id)

    def leave(self) -> int:
        """Leave the note of all that was written, and return of how many keys it is."""
        count = len(self._added) + len(self._changed) + len(self._touched)
        if count:
            self._leave(runs_of(sorted(self._added)), self._changed, self._touched, None)
        return count + self._left

    def _leave(
        self,
        runs: Sequence[tuple[int, int]],
        changed: Sequence[int],
        touched: Sequence[int],
        lists: bytes | None,
    ) -> None:
        values: tuple[Any, ...] = (
            self._owner.id, secrets.randbits(63), self.fields,
            packed_runs(runs), packed_keys(changed), packed_keys(touched), lists,
        )  # fmt: skip
        self._cursor.execute(self._sql.leave, values)
