"""Writing items and vectors, within a transaction that holds the collection's turn."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from requant.errors import DuplicateIdError, UnknownIdError
from requant.inputs import OnConflict, Rows
from requant.patches import Patch, merged
from requant.quantizers.arrays import Float32s
from requant.store.connections import LEAST_COPIED, check_transaction, copies, plain_cursor
from requant.store.contents.loading import copy_items, copy_vectors, put_items, put_vectors
from requant.store.decoding import VECTOR_DTYPE
from requant.store.fields import Memory, Upkeep
from requant.store.history import ChangeLog, Turn, Turns
from requant.store.schema import CollectionRow, Tables, key_range
from requant.store.statements import HotSql, json_texts
from requant.store.text import clear_text

# Items whose metadata are merged at a time, so that not all of them are in memory.
_MERGED = 256


class ItemWriter:
    """Writes to one collection through an open transaction, in turn."""

    connection: sa.Connection

    def __init__(
        self,
        tables: Tables,
        sql: HotSql,
        owner: CollectionRow,
        turns: Turns,
        change_log: ChangeLog,
        memory: Memory,
    ) -> None:
        """Write to the collection `owner`; `begin` comes first."""
        self._tables = tables
        self._sql = sql
        self._owner = owner
        self._collection = owner.id
        self._turns = turns
        self._change_log = change_log
        self._memory = memory

    def begin(self, connection: sa.Connection, reserve: int | None = 0) -> None:
        """Wait until no other transaction writes to the collection, and write by `connection`.

        So many keys are reserved for new items; None: to add one item is what takes the turn.
        """
        self.connection = connection
        self._cursor = plain_cursor(connection)
        if reserve is not None:
            self._have(self._turns.take(connection, self._cursor, reserve))

    def upsert(self, rows: Rows, on_conflict: OnConflict = "replace") -> int:
        """Write a batch and return how many of its ids are new.

        Columns that were not given stay as they are. Of ids that are stored already, "skip" leaves
        everything as it is; "error" raises DuplicateIdError, before anything is written.
        """
        if len(rows) == 1:
            if self._add_one(rows):
                return 1
            if on_conflict == "replace" and self._replace_one(rows):
                return 0
        existing = self._existing(rows.ids)
        if existing and on_conflict == "error":
            raise already_stored(rows.ids, existing)
        new = [row for row, text in enumerate(rows.ids) if text not in existing]
        old = [(existing[text], row) for row, text in enumerate(rows.ids) if text in existing]
        if on_conflict == "skip":
            old = []
        first = self._turn.next_key
        if len(new) != self._turn.reserved:
            self._cursor.execute(self._sql.next_key, (first + len(new), self._collection))
        if new:
            self._add(rows, new, first)
        if old:
            self._update(rows, old)
        self._replace_vectors(rows, old)
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
                f"{self._owner.name!r}: nothing was updated"
            )
        old = [(existing[text], row) for row, text in enumerate(rows.ids)]
        self._update(rows, old)
        self._replace_vectors(rows, old)
        if patches is not None:
            self.merge([key for key, _ in old], patches)
        return len(old)

    def merge(self, keys: Sequence[int], patches: Patch | list[Patch | None]) -> None:
        """Merge one patch into the metadata of `keys`, or one for each; None takes them away."""
        items = self._tables.items
        for start in range(0, len(keys), _MERGED):
            part = keys[start : start + _MERGED]
            stored = sa.select(items.c.key, items.c.metadata).where(items.c.key.in_(part))
            texts = {key: text for key, text in self.connection.execute(stored)}
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
        clear_text(self.connection, self._tables, self._collection)
        removed = 0
        for table in (vectors, items):
            within = sa.and_(table.c.key >= first, table.c.key < end)
            removed = self.connection.execute(sa.delete(table).where(within)).rowcount
        log = changes.c.collection_id == self._collection
        self.connection.execute(sa.delete(changes).where(log))
        table = self._tables.collections
        here = sa.update(table).where(table.c.id == self._collection)
        self.connection.execute(here.values(log_floor=self._turn.seq))
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

    def _have(self, turn: Turn) -> None:
        self._turn = turn
        fields = self._memory.fields(self.connection, self._collection, turn.fields)
        first, _ = key_range(self._collection)
        self._fields = Upkeep(self.connection, self._sql, first, fields)

    def _add_one(self, rows: Rows) -> bool:
        """Add an item if it is new, and say so."""
        vec, crc = _one_vector(rows)
        if self._sql.write_one:
            added = self._in_one_statement(rows, vec, crc)
        else:
            (item,) = self._items(rows, [0], self._turn.next_key)
            added = self._cursor.execute(self._sql.insert_new, item).fetchone() is not None
            if added and vec is not None:
                self._cursor.execute(self._sql.put_vector, (self._turn.next_key, vec, crc))
        if added:
            self._fields.add(self._turn.next_key, rows.metadata or [None])
        return added

    def _in_one_statement(self, rows: Rows, vec: bytes | None, crc: int | None) -> bool:
        """Take the turn, and add an item if it is new."""
        check_transaction(self.connection)  # before a statement that would commit by itself
        asked = self._turns.asked()
        ((_, *item),) = self._items(rows, [0], 0)
        parameters = (self._collection, rows.ids[0], *asked, *item, vec, crc)
        found = self._cursor.execute(self._sql.write_one, parameters).fetchone()
        *turn, reserved, key = found or (0, None)
        self._have(self._turns.taken(self.connection, self._cursor, asked, turn, reserved))
        return key is not None

    def _replace_one(self, rows: Rows) -> bool:
        """Replace an item in one statement, and say so, where there is such a statement for it."""
        vec, crc = _one_vector(rows)
        given = [column is not None for column in (rows.documents, rows.metadata)]
        taken_away = rows.vectors is not None and vec is None
        if not self._sql.replace_one or self._fields.kept or taken_away or not any(given):
            return False
        document = rows.documents[0] if rows.documents is not None else None
        metadata = rows.metadata[0] if rows.metadata is not None else None
        turn, log = self._turn, self._turn.logging and vec is not None
        at = (self._collection, rows.ids[0])
        columns = (given[0], document, given[1], metadata, *at, vec, crc)
        parameters = (*columns, self._collection, turn.seq, log)
        if self._cursor.execute(self._sql.replace_one, parameters).fetchone() is None:
            return False  # it was removed while we waited for our turn
        if turn.reserved:
            self._cursor.execute(self._sql.next_key, (turn.next_key, self._collection))
        if log:
            self._change_log.bound(self.connection, turn.seq, turn.next_key)
        return True

    def _existing(self, ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(ids), 10_000):
            # In order, neighbours stand on one page of the database's index.
            some = json_texts(sorted(ids[start : start + 10_000]))
            parameters = (some, self._collection)
            found.update(self._cursor.execute(self._sql.existing, parameters).fetchall())
        return found

    def _add(self, rows: Rows, new: list[int], first: int) -> None:
        """Add these rows, whose ids are new, under keys from `first` on."""
        keys, placed, copy = range(first, first + len(new)), new, self._copies(new)
        items = self._items(rows, new, first)
        if copy:
            copy_items(self._cursor, self._sql, items)
        else:
            self._many(self._sql.insert_item, items)
        texts = rows.metadata if rows.metadata is not None else [None] * len(rows)
        self._fields.add(first, (texts[row] for row in new))
        if rows.vectors is None:
            return
        if rows.present is not None:
            there = rows.present[new]
            keys = np.arange(first, first + len(new))[there].tolist()
            placed = np.array(new)[there].tolist()
        if copy:
            copy_vectors(self._cursor, self._sql, keys, _taken(rows.vectors, placed))
        elif placed:
            self._many(self._sql.put_vector, _vector_parameters(rows.vectors, keys, placed))

    def _items(self, rows: Rows, new: list[int], first: int) -> Iterator[tuple[Any, ...]]:
        ids, kinds, collection = rows.ids, rows.kinds, self._collection
        documents = rows.documents if rows.documents is not None else [None] * len(rows)
        metadata = rows.metadata if rows.metadata is not None else [None] * len(rows)
        for key, row in enumerate(new, first):
            yield key, collection, ids[row], kinds[row], documents[row], metadata[row]

    def _update(self, rows: Rows, old: list[tuple[int, int]]) -> None:
        """Write the documents and metadata that were given of (key, row)."""
        if rows.metadata is not None:
            before = self._fields.stored([key for key, _ in old])
            changed = ((key, before[key], rows.metadata[row]) for key, row in old if key in before)
            self._fields.replace(changed)
        given = [column for column in (rows.documents, rows.metadata) if column is not None]
        if not given:
            return
        if self._copies(old):
            keys, at = [key for key, _ in old], [row for _, row in old]
            columns = [
                None if column is None else [column[row] for row in at]
                for column in (rows.documents, rows.metadata)
            ]
            put_items(self._cursor, self._sql, keys, *columns)
            return
        statement = self._sql.put_item if len(given) == 2 else self._sql.put_metadata
        if rows.metadata is None:
            statement = self._sql.put_document
        self._many(statement, ((*(column[row] for column in given), key) for key, row in old))

    def _replace_vectors(self, rows: Rows, old: list[tuple[int, int]]) -> None:
        """Write the vectors of (key, row), and take away those of items that have none now."""
        if rows.vectors is None or not old:
            return
        placed = old
        if rows.present is not None:
            there = rows.present.tolist()
            self._delete(self._tables.vectors, [key for key, row in old if not there[row]])
            placed = [(key, row) for key, row in old if there[row]]
        keys, at = [key for key, _ in placed], [row for _, row in placed]
        if self._copies(placed):
            put_vectors(self._cursor, self._sql, keys, _taken(rows.vectors, at))
        elif placed:
            self._many(self._sql.put_vector, _vector_parameters(rows.vectors, keys, at))
        self._log([key for key, _ in old])

    def _copies(self, rows: Sequence[Any]) -> bool:
        return len(rows) >= LEAST_COPIED and copies(self.connection)

    def _delete(self, table: sa.Table, keys: Sequence[int]) -> int:
        removed = 0
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            removed += self.connection.execute(
                sa.delete(table).where(table.c.key.in_(part))
            ).rowcount
        return removed

    def _log(self, keys: Sequence[int]) -> None:
        if self._turn.logging and keys:
            seq = self._turn.seq
            parameters = (self._collection, seq, self._sql.keys(list(keys)))
            self._cursor.execute(self._sql.log_changes, parameters)
            self._change_log.bound(self.connection, seq, self._turn.next_key)

    def _many(self, statement: str, parameters: Iterator[tuple[Any, ...]]) -> None:
        # Through the driver, which takes an iterator: Core would cost four times as much a row.
        self._cursor.executemany(statement, parameters)


def already_stored(ids: Sequence[str], known: Mapping[str, int]) -> DuplicateIdError:
    """Return the error that names the first of `ids` that is stored."""
    row, text = next((i, one) for i, one in enumerate(ids) if one in known)
    return DuplicateIdError(
        f"row {row}: id {text[:80]!r} is already stored: use upsert to replace it, or "
        'on_conflict="skip" to leave it as it is'
    )


def _one_vector(rows: Rows) -> tuple[bytes, int] | tuple[None, None]:
    """Return the vector of a single row, and its checksum."""
    if rows.vectors is None or (rows.present is not None and not rows.present[0]):
        return None, None
    vec = rows.vectors.astype(VECTOR_DTYPE, copy=False).tobytes()
    return vec, zlib.crc32(vec)


def _vector_parameters(
    vectors: Float32s, keys: Sequence[int], rows: Sequence[int]
) -> Iterator[tuple[int, bytes, int]]:
    floats = vectors.astype(VECTOR_DTYPE, copy=False)
    for key, row in zip(keys, rows, strict=True):
        vec = floats[row].tobytes()
        yield key, vec, zlib.crc32(vec)


def _taken(vectors: Float32s, rows: Sequence[int]) -> Float32s:
    """Return some of the vectors, without a copy where it is all of them."""
    return vectors if len(rows) == len(vectors) else vectors[list(rows)]
