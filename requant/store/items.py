"""Writing items and vectors, within a transaction that holds the collection's turn."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import sqlalchemy as sa

from requant.errors import DuplicateIdError, UnknownIdError
from requant.inputs import OnConflict, Rows
from requant.patches import Patch, merged
from requant.store.connections import raw_of, worded
from requant.store.fields import Memory, Upkeep
from requant.store.history import ChangeLog, Turns
from requant.store.reader import VECTOR_DTYPE
from requant.store.schema import Tables, key_range
from requant.store.statements import HotSql

# Items whose metadata are merged at a time, so that not all of them are in memory.
_MERGED = 256


class ItemWriter:
    """Writes to one collection through an open transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        sql: HotSql,
        collection: int,
        name: str,
        turns: Turns,
        change_log: ChangeLog,
        memory: Memory,
    ) -> None:
        """Take the collection's turn: waits until no other transaction writes to it."""
        self._connection = connection
        self._tables = tables
        self._sql = sql
        self._collection = collection
        self._name = name
        self._change_log = change_log
        self._turn = turns.take(connection)
        fields = memory.fields(connection, collection, self._turn.fields)
        self._fields = Upkeep(connection, sql, key_range(collection)[0], fields)

    def upsert(self, rows: Rows, on_conflict: OnConflict = "replace") -> int:
        """Write a batch and return how many of its ids are new.

        Columns that were not given stay as they are. Of ids that are stored already, "skip" leaves
        everything as it is; "error" raises DuplicateIdError, before anything is written.
        """
        existing = self._existing(rows.ids)
        if existing and on_conflict == "error":
            raise already_stored(rows.ids, existing)
        new = [row for row, text in enumerate(rows.ids) if text not in existing]
        old = [(existing[text], row) for row, text in enumerate(rows.ids) if text in existing]
        if on_conflict == "skip":
            old = []
        first = self._turn.next_key
        if new:
            self._many(self._sql.insert_item, self._new_items(rows, new, first))
            self._set(next_key=first + len(new))
            texts = rows.metadata if rows.metadata is not None else [None] * len(rows)
            self._fields.add(first, (texts[row] for row in new))
        if old:
            self._update(rows, old)
        self._put_vectors(rows, old, list(zip(count(first), new, strict=False)))
        return len(new)

    def update(self, rows: Rows, patches: Patch | list[Patch | None] | None) -> int:
        """Change items that are stored, and return how many; `patches` are those of the metadata.

        Raises UnknownIdError, before anything is written.
        """
        existing = self._existing(rows.ids)
        unknown = next((i for i, text in enumerate(rows.ids) if text not in existing), None)
        if unknown is not None:
            raise UnknownIdError(
                f"no item {rows.ids[unknown][:80]!r} (row {unknown}) in collection "
                f"{self._name!r}: nothing was updated"
            )
        old = [(existing[text], row) for row, text in enumerate(rows.ids)]
        self._update(rows, old)
        self._put_vectors(rows, old, [])
        if patches is not None:
            self.merge([key for key, _ in old], patches)
        return len(old)

    def merge(self, keys: Sequence[int], patches: Patch | list[Patch | None]) -> None:
        """Merge one patch into the metadata of `keys`, or one for each; None takes them away."""
        items = self._tables.items
        for start in range(0, len(keys), _MERGED):
            part = keys[start : start + _MERGED]
            stored = sa.select(items.c.key, items.c.metadata).where(items.c.key.in_(part))
            texts = {key: text for key, text in self._connection.execute(stored)}
            changed = []
            for row, key in enumerate(part, start):
                patch = patches[row] if isinstance(patches, list) else patches
                text = None if patch is None else merged(texts[key], patch)
                if text != texts[key]:
                    changed.append((text, key))
            if changed:
                self._fields.replace((key, texts[key], text) for text, key in changed)
                self._many(self._sql.put_metadata, iter(changed))

    def clear(self) -> int:
        """Remove every item and return how many there were.

        All indexes are behind the log then, and begin anew: to delete key by key takes long.
        """
        items, vectors, changes = self._tables.items, self._tables.vectors, self._tables.changes
        first, end = key_range(self._collection)
        removed = 0
        for table in (vectors, items):
            within = sa.and_(table.c.key >= first, table.c.key < end)
            removed = self._connection.execute(sa.delete(table).where(within)).rowcount
        log = changes.c.collection_id == self._collection
        self._connection.execute(sa.delete(changes).where(log))
        self._set(log_floor=self._turn.seq)
        self._fields.clear()
        return removed

    def delete(self, keys: Sequence[int]) -> int:
        """Remove items by key and return how many there were."""
        self._fields.remove(keys)
        self._delete(self._tables.vectors, keys)
        removed = self._delete(self._tables.items, keys)
        self._log(keys)
        return removed

    def keys_of(self, ids: Sequence[str]) -> list[int]:
        """Return the keys of those ids that are stored."""
        return list(self._existing(ids).values())

    def _existing(self, ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(ids), 10_000):
            parameters = (self._sql.texts(ids[start : start + 10_000]), self._collection)
            statement = worded(self._sql.existing, self._connection)
            result = self._connection.exec_driver_sql(statement, parameters)
            found.update((text, key) for text, key in result)
        return found

    def _new_items(self, rows: Rows, new: list[int], first: int) -> Iterator[tuple[Any, ...]]:
        ids, kinds, collection = rows.ids, rows.kinds, self._collection
        documents = rows.documents if rows.documents is not None else [None] * len(rows)
        metadata = rows.metadata if rows.metadata is not None else [None] * len(rows)
        for i, row in enumerate(new):
            yield first + i, collection, ids[row], kinds[row], documents[row], metadata[row]

    def _update(self, rows: Rows, old: list[tuple[int, int]]) -> None:
        columns = {"document": rows.documents, "metadata": rows.metadata}
        given = {name: column for name, column in columns.items() if column is not None}
        if not given:
            return
        if rows.metadata is not None:
            before = self._fields.stored([key for key, _ in old])
            changed = ((key, before[key], rows.metadata[row]) for key, row in old if key in before)
            self._fields.replace(changed)
        items = self._tables.items
        statement = (
            sa.update(items)
            .where(items.c.key == sa.bindparam("at"))
            .values({name: sa.bindparam(f"new_{name}") for name in given})
        )
        self._connection.execute(
            statement,
            [
                {"at": key, **{f"new_{name}": column[row] for name, column in given.items()}}
                for key, row in old
            ],
        )

    def _put_vectors(
        self, rows: Rows, old: list[tuple[int, int]], new: list[tuple[int, int]]
    ) -> None:
        """Write the vectors of (key, row), and take away those of old items that have none now."""
        if rows.vectors is None:
            return
        placed = [*old, *new]
        if rows.present is not None:
            there = rows.present.tolist()
            self._delete(self._tables.vectors, [key for key, row in old if not there[row]])
            placed = [(key, row) for key, row in placed if there[row]]
        if placed:
            self._many(self._sql.put_vector, _vector_parameters(rows, placed))
        self._log([key for key, _ in old])

    def _delete(self, table: sa.Table, keys: Sequence[int]) -> int:
        removed = 0
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            removed += self._connection.execute(
                sa.delete(table).where(table.c.key.in_(part))
            ).rowcount
        return removed

    def _log(self, keys: Sequence[int]) -> None:
        if self._turn.logging and keys:
            seq, collection = self._turn.seq, self._collection
            self._many(self._sql.log_change, ((collection, seq, key) for key in keys))
            self._change_log.bound(self._connection, seq, self._turn.next_key)

    def _set(self, **values: int) -> None:
        table = self._tables.collections
        where = table.c.id == self._collection
        self._connection.execute(sa.update(table).where(where).values(**values))

    def _many(self, statement: str, parameters: Iterator[tuple[Any, ...]]) -> None:
        # Through the driver, which takes an iterator: Core would cost four times as much a row.
        cursor = raw_of(self._connection).cursor()
        try:
            cursor.executemany(statement, parameters)
        finally:
            cursor.close()


def already_stored(ids: Sequence[str], known: Mapping[str, int]) -> DuplicateIdError:
    """Return the error that names the first of `ids` that is stored."""
    row, text = next((i, one) for i, one in enumerate(ids) if one in known)
    return DuplicateIdError(
        f"row {row}: id {text[:80]!r} is already stored: use upsert to replace it, or "
        'on_conflict="skip" to leave it as it is'
    )


def _vector_parameters(
    rows: Rows, placed: list[tuple[int, int]]
) -> Iterator[tuple[int, bytes, int]]:
    assert rows.vectors is not None
    floats = rows.vectors.astype(VECTOR_DTYPE, copy=False)
    for key, row in placed:
        vec = floats[row].tobytes()
        yield key, vec, zlib.crc32(vec)
