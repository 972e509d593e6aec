"""Writing items and vectors, within a transaction that holds the turn, or beside others."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from requant.errors import DuplicateIdError, StoreError, UnknownIdError
from requant.inputs import OnConflict, Rows
from requant.patches import Patch, merged
from requant.quantizers.arrays import Float32s
from requant.store.connections import LEAST_COPIED, copies, plain_cursor
from requant.store.contents.loading import copy_items, copy_vectors, put_items, put_vectors
from requant.store.decoding import VECTOR_DTYPE
from requant.store.fields import Memory, Upkeep
from requant.store.history import Beside, InTurn
from requant.store.schema import CollectionRow, Tables, key_range
from requant.store.statements import HotSql, json_texts
from requant.store.text import clear_text

# Items whose metadata are merged at a time, so that not all of them are in memory.
_MERGED = 256
# So many ids are added in their order: two who add the same ones then wait in one direction.
_ORDERED = 1000
# Items that one statement adds.
_ADDED = 1000
# Items that one statement deletes: their keys are one parameter.
_DELETED = 10_000
# Each time others have to add one of the ids meanwhile, and delete it again.
_TRIES = 20
Placed = list[tuple[int, int]]  # keys, and the rows that belong to them


class ItemWriter:
    """Writes to one collection through an open transaction, in turn or beside others."""

    connection: sa.Connection

    def __init__(self, tables: Tables, sql: HotSql, owner: CollectionRow, memory: Memory) -> None:
        """Write to the collection `owner`; `begin` comes first."""
        self._tables = tables
        self._sql = sql
        self._owner = owner
        self._collection = owner.id
        self._memory = memory

    def begin(
        self, connection: sa.Connection, history: InTurn | Beside, *, join: bool = True
    ) -> None:
        """Write by `connection`, and down in `history` what others have to know of it.

        Without `join` one item is to be added, and that is what joins those who write.
        """
        self.connection = connection
        self._cursor = plain_cursor(connection)
        self._history = history
        if join:
            self._look_at_fields()

    @property
    def noted(self) -> tuple[str | None] | None:
        """What was noted of the model just now, None where that is to be read."""
        return self._history.noted if isinstance(self._history, Beside) else None

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
        new = [row for row, text in enumerate(rows.ids) if text not in existing]
        added = tries = 0
        while new or (existing and on_conflict == "error"):
            if existing and on_conflict == "error":
                raise already_stored(rows.ids, existing)
            if tries == _TRIES:
                raise self._in_vain(rows.ids[new[0]])
            if tries and isinstance(self._history, Beside):
                self._history.skip_taken()  # where the sequence of its keys was set back
            tries += 1
            left = self._add(rows, new)
            added += len(new) - len(left)
            # What others have added meanwhile is there by now, unless they deleted it again.
            found = self._existing([rows.ids[row] for row in left])
            existing |= found
            new = [row for row in left if rows.ids[row] not in found]
        old = [(existing[text], row) for row, text in enumerate(rows.ids) if text in existing]
        if old and on_conflict != "skip":
            self._update(rows, old)
            self._replace_vectors(rows, old)
        return added

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
                self._history.touch([key for _, key in changed])
                self._fields.replace((key, texts[key], text) for text, key in changed)
                self._many(self._sql.put_metadata, iter(changed))

    def clear(self) -> int:
        """Remove every item and return how many there were.

        All indexes are behind the log then, and begin anew: to delete key by key takes long.
        """
        first, end = key_range(self._collection)
        clear_text(self.connection, self._tables, self._collection)
        removed = 0
        for table in (self._tables.vectors, self._tables.items):
            within = sa.and_(table.c.key >= first, table.c.key < end)
            removed = self.connection.execute(sa.delete(table).where(within)).rowcount
        self._history.start_over()
        self._fields.clear()
        return removed

    def delete(self, keys: Sequence[int]) -> int:
        """Remove items by key and return how many; `keys_of` or `lock` have returned these."""
        self._fields.remove(keys)
        self._delete(self._sql.delete_vectors, keys)
        self._delete(self._sql.delete_items, keys)
        self._history.change(keys)
        return len(keys)

    def lock(self, keys: Sequence[int]) -> list[int]:
        """Keep others from changing these items; return those that are still there."""
        return self._history.lock(keys)

    def keys_of(self, ids: Sequence[str]) -> list[int]:
        """Return the keys of those ids that are stored, which others cannot change any more."""
        return list(self._existing(ids).values())

    def _look_at_fields(self) -> None:
        fields = self._memory.fields(self.connection, self._collection, self._history.fields)
        note = self._history.keep if isinstance(self._history, Beside) else None
        first, _ = key_range(self._collection)
        self._fields = Upkeep(self.connection, self._sql, first, fields, note)

    def _add_one(self, rows: Rows) -> bool:
        """Add an item if it is new, and say so."""
        vec, crc = _one_vector(rows)
        texts = rows.metadata or [None]
        if isinstance(self._history, Beside):
            (item,) = self._items(rows, [(0, 0)])
            added = self._history.add_one(item, vec, crc)
            self._look_at_fields()
            if added is not None:
                self._fields.add_one(added, texts[0], self._history.keep_one)
            return added is not None
        (key,) = self._history.draw(1)
        (item,) = self._items(rows, [(key, 0)])
        if self._cursor.execute(self._sql.insert_new, item).fetchone() is None:
            self._history.give_back(1)
            return False
        if vec is not None:
            self._cursor.execute(self._sql.put_vector, (key, vec, crc))
        self._fields.add([key], texts)
        return True

    def _replace_one(self, rows: Rows) -> bool:
        """Replace an item in one statement, and say so, where there is such a statement for it."""
        vec, crc = _one_vector(rows)
        given = [column is not None for column in (rows.documents, rows.metadata)]
        taken_away = rows.vectors is not None and vec is None
        if not self._sql.replace_one or self._fields.kept or taken_away or not any(given):
            return False
        document = rows.documents[0] if rows.documents is not None else None
        metadata = rows.metadata[0] if rows.metadata is not None else None
        at = (self._collection, rows.ids[0])
        parameters = (given[0], document, given[1], metadata, *at, vec, crc)
        found = self._cursor.execute(self._sql.replace_one, parameters).fetchone()
        if found is None:
            return False  # it was removed while we waited for it
        (self._history.touch if vec is None else self._history.change)([found[0]])
        return True

    def _existing(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the keys of those ids that are stored, which others cannot change any more."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), 10_000):
            # In order, neighbours stand on one page of the database's index.
            some = json_texts(sorted(ids[start : start + 10_000]))
            parameters = (some, self._collection)
            found.update(self._cursor.execute(self._sql.existing, parameters).fetchall())
        return self._history.hold(found)

    def _in_vain(self, text: str) -> StoreError:
        return StoreError(
            f"others add and delete item {text[:80]!r} of {self._owner.name!r} all the time"
        )

    def _add(self, rows: Rows, new: list[int]) -> list[int]:
        """Add these rows, whose ids looked new; return those whose ids others have added."""
        placed = list(zip(self._history.draw(len(new)), new, strict=True))
        left: list[int] = []
        if isinstance(self._history, Beside):
            placed, left = self._add_beside(rows, placed)
        elif self._copies(new):
            copy_items(self._cursor, self._sql, self._items(rows, placed))
        else:
            self._many(self._sql.insert_item, self._items(rows, placed))
        self._history.add([key for key, _ in placed])
        texts = rows.metadata if rows.metadata is not None else [None] * len(rows)
        self._fields.add((key for key, _ in placed), (texts[row] for _, row in placed))
        if rows.vectors is None:
            return left
        if rows.present is not None:
            there = rows.present.tolist()
            placed = [(key, row) for key, row in placed if there[row]]
        keys, at = [key for key, _ in placed], [row for _, row in placed]
        if self._copies(placed):
            copy_vectors(self._cursor, self._sql, keys, _taken(rows.vectors, at))
        elif placed:
            self._many(self._sql.put_vector, _vector_parameters(rows.vectors, keys, at))
        return left

    def _add_beside(self, rows: Rows, placed: Placed) -> tuple[Placed, list[int]]:
        """Add items; return those that are new, and the rows whose ids others have added."""
        ordered = placed  # of many in the order in which they will be read
        if len(placed) <= _ORDERED:
            ordered = sorted(placed, key=lambda one: rows.ids[one[1]])
        if self._copies(placed) and self._copied(rows, ordered):
            return placed, []
        added: set[str] = set()
        for start in range(0, len(ordered), _ADDED):
            items = self._items(rows, ordered[start : start + _ADDED])
            key, _, text, kind, document, metadata = map(list, zip(*items, strict=True))
            given = (self._collection, key, text, kind, document, metadata)
            found = self._cursor.execute(self._sql.insert_items, given).fetchall()
            added.update(one for (one,) in found)
        left = [row for _, row in placed if rows.ids[row] not in added]
        return [one for one in placed if rows.ids[one[1]] in added] if left else placed, left

    def _copied(self, rows: Rows, placed: Placed) -> bool:
        """Add items by COPY, all or, where others have added one of the ids, none."""
        driver: Any = self.connection.dialect.loaded_dbapi
        self._cursor.execute("SAVEPOINT requant_copy")
        try:
            copy_items(self._cursor, self._sql, self._items(rows, placed))
        except driver.IntegrityError:
            self._cursor.execute("ROLLBACK TO SAVEPOINT requant_copy")
            return False
        finally:
            with contextlib.suppress(driver.Error):  # where the transaction itself has failed
                self._cursor.execute("RELEASE SAVEPOINT requant_copy")
        return True

    def _items(self, rows: Rows, placed: Placed) -> Iterator[tuple[Any, ...]]:
        ids, kinds, collection = rows.ids, rows.kinds, self._collection
        documents = rows.documents if rows.documents is not None else [None] * len(rows)
        metadata = rows.metadata if rows.metadata is not None else [None] * len(rows)
        for key, row in placed:
            yield key, collection, ids[row], kinds[row], documents[row], metadata[row]

    def _update(self, rows: Rows, old: list[tuple[int, int]]) -> None:
        """Write the documents and metadata that were given of (key, row)."""
        if rows.documents is not None or rows.metadata is not None:
            self._history.touch([key for key, _ in old])
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
            self._delete(self._sql.delete_vectors, [key for key, row in old if not there[row]])
            placed = [(key, row) for key, row in old if there[row]]
        keys, at = [key for key, _ in placed], [row for _, row in placed]
        if self._copies(placed):
            put_vectors(self._cursor, self._sql, keys, _taken(rows.vectors, at))
        elif placed:
            self._many(self._sql.put_vector, _vector_parameters(rows.vectors, keys, at))
        self._history.change([key for key, _ in old])

    def _copies(self, rows: Sequence[Any]) -> bool:
        return len(rows) >= LEAST_COPIED and copies(self.connection)

    def _delete(self, statement: str, keys: Sequence[int]) -> None:
        for start in range(0, len(keys), _DELETED):
            part = list(keys[start : start + _DELETED])
            self._cursor.execute(statement, (self._sql.keys(part),))

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
