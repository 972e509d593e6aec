"""The items of one collection: written, removed and read by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import sqlalchemy as sa

from requant.errors import InputError, UnknownIdError
from requant.inputs import OnConflict, Rows
from requant.patches import Patch
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.change_log import ChangeLog
from requant.store.engine import Store
from requant.store.items import ItemWriter, already_stored
from requant.store.reader import Item
from requant.store.records import catalog
from requant.store.schema import CollectionRow, key_range
from requant.store.selection import Selection


class Contents:
    """What `Collection` does with its items; ids are checked, and text, by then."""

    def __init__(self, store: Store, owner: CollectionRow) -> None:
        """Stand for the items of `owner`."""
        self._store = store
        self._owner = owner
        self._change_log = ChangeLog(store.tables, owner.id)

    def __len__(self) -> int:
        """Return how many items are stored."""
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            return reader.count(self._owner.id)

    def write(
        self, rows: Rows, connection: sa.Connection | None, on_conflict: OnConflict = "replace"
    ) -> int:
        """Store a batch and return how many of its ids are new; raises DuplicateIdError."""
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            return self._writer(open_connection).upsert(rows, on_conflict)

    def update(
        self,
        rows: Rows,
        patches: Patch | list[Patch | None] | None,
        connection: sa.Connection | None,
    ) -> int:
        """Change items by id and return how many; raises UnknownIdError."""
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            return self._writer(open_connection).update(rows, patches)

    def update_where(
        self, condition: sa.ColumnElement[bool], patch: Patch, connection: sa.Connection | None
    ) -> int:
        """Merge a patch into the metadata of what meets `condition`, and return how many do."""
        first, end = key_range(self._owner.id)
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            writer = self._writer(open_connection)
            keys = self._store.reader_of(open_connection).matching(first, end, condition)
            writer.merge(keys.tolist(), patch)
            return len(keys)

    def clear(self, connection: sa.Connection | None) -> int:
        """Remove every item and return how many there were."""
        with self._store.writing(connection, turn=self._owner.id) as open_connection:
            removed = self._writer(open_connection).clear()
            catalog.forget_origins(open_connection, self._store, self._owner)
            return removed

    def to_be_written(
        self, rows: Rows, connection: sa.Connection | None, on_conflict: OnConflict
    ) -> Rows:
        """Return what a `write` just now would write; raises DuplicateIdError as it would.

        Others may store some of it before it is written, which then decides once more.
        """
        self._store.check_writable()
        if on_conflict == "replace":
            return rows
        with self._store.reading(connection) as reader:
            reader.state_of(self._owner)
            known = reader.keys_of(self._owner.id, rows.ids)
        if known and on_conflict == "error":
            raise already_stored(rows.ids, known)
        return rows.take([row for row, text in enumerate(rows.ids) if text not in known])

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

    def get(self, ids: Sequence[str], connection: sa.Connection | None) -> list[Item]:
        """Return the items that exist, in the order asked, without their vectors."""
        with self._store.reading(connection) as reader:
            keys = reader.keys_of(self._owner.id, ids)
            items = reader.items(list(keys.values()))
            if not items:
                reader.state_of(self._owner)  # which raises if the collection itself is gone
        found = (items.get(keys.get(text, -1)) for text in ids)
        return [item for item in found if item is not None]

    def vectors(self, ids: Sequence[str]) -> Float32s:
        """Return `(n, d) float32` in the order asked; raises UnknownIdError."""
        owner = self._owner
        with self._store.reading() as reader:
            reader.state_of(owner)
            by_id = reader.keys_of(owner.id, ids)
            unknown = next((text for text in ids if text not in by_id), None)
            if unknown is not None:
                raise UnknownIdError(f"no item {unknown[:80]!r} in collection {owner.name!r}")
            keys = np.array([by_id[text] for text in ids], np.int64)
            order = np.argsort(keys)
            vectors = np.empty((len(keys), owner.dim), np.float32)
            step = rows_for(owner.dim)
            for start in range(0, len(order), step):
                part = order[start : start + step]
                found, some = reader.vectors(np.unique(keys[part]), owner.dim)
                lost = ~np.isin(keys[part], found)
                if lost.any():
                    name = ids[int(part[lost].min())][:80]
                    raise UnknownIdError(
                        f"item {name!r} of collection {owner.name!r} has no vector"
                    )
                vectors[part] = some[np.searchsorted(found, keys[part])]
        return vectors

    def iterate(self, condition: sa.ColumnElement[bool] | None, batch: int) -> Iterator[Item]:
        """Yield the items that meet `condition`, with vectors, in the order of insertion."""
        if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
            raise InputError(f"batch must be a whole number from 1, not {batch!r}")
        with self.selected(condition) as selection:
            yield from selection.items(int(batch))

    @contextmanager
    def selected(self, condition: sa.ColumnElement[bool] | None) -> Iterator[Selection]:
        """Lend what meets `condition` as it is in one snapshot, to be read more than once."""
        with self._store.reading() as reader:
            yield Selection(reader, self._owner, condition)

    def _writer(self, connection: sa.Connection) -> ItemWriter:
        store, owner = self._store, self._owner
        return ItemWriter(
            connection, store.tables, store.sql, owner.id, owner.name, self._change_log
        )
