"""The items of one collection, written and removed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from requant.inputs import Rows
from requant.store.change_log import ChangeLog
from requant.store.engine import Store
from requant.store.items import ItemWriter
from requant.store.schema import CollectionRow, key_range


class ContentsWriter:
    """What `Collection` writes and removes; ids are checked, and text, by then."""

    def __init__(self, store: Store, owner: CollectionRow) -> None:
        """Stand for the items of `owner`."""
        self._store = store
        self._owner = owner
        self._change_log = ChangeLog(store.tables, owner.id)

    def write(self, rows: Rows, connection: sa.Connection | None, *, replace: bool) -> int:
        """Store a batch and return how many of its ids are new; raises DuplicateIdError."""
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            return self._writer(open_connection).upsert(rows, replace=replace)

    def delete(self, ids: Sequence[str], connection: sa.Connection | None) -> int:
        """Remove items by id and return how many there were."""
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            writer = self._writer(open_connection)
            return writer.delete(writer.keys_of(ids))

    def delete_where(
        self, condition: sa.ColumnElement[bool], connection: sa.Connection | None
    ) -> int:
        """Remove the items that meet `condition` and return how many there were."""
        first, end = key_range(self._owner.id)
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            writer = self._writer(open_connection)
            reader = self._store.reader_of(open_connection)
            return writer.delete(reader.matching(first, end, condition).tolist())

    def _writer(self, connection: sa.Connection) -> ItemWriter:
        store, owner = self._store, self._owner
        return ItemWriter(
            connection, store.tables, store.sql, owner.id, owner.name, self._change_log
        )
