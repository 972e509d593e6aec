"""The items of one collection, read by id or one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from requant.errors import InputError, UnknownIdError
from requant.filters import Filter
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.connections import Lent
from requant.store.contents.one_state import settled
from requant.store.contents.paging import Part, check_limit
from requant.store.contents.selection import Selection
from requant.store.contents.values import Extent, ValueCount, count_values, extent
from requant.store.decoding import Id, Item, id_of, item_of
from requant.store.engine import Store
from requant.store.fields import Counting, FieldInfo, field_infos
from requant.store.reader import Reader
from requant.store.schema import CollectionRow, key_range
from requant.store.text import text_index

# Read at a time, without vectors.
_ROWS = 8192
T = TypeVar("T")


class Contents:
    """What `Collection` reads of its items; ids are checked, and text, by then."""

    def __init__(self, store: Store, owner: CollectionRow) -> None:
        """Stand for the items of `owner`."""
        self._store = store
        self._owner = owner

    def __len__(self) -> int:
        """Return how many items are stored."""
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            return reader.count(self._owner.id)

    def get(
        self, ids: Sequence[str] | None, part: Part, connection: Lent | None, vectors: bool
    ) -> list[Item]:
        """Return items: those of `ids` that exist, in the order asked, or in that of insertion."""
        owner, tables = self._owner, self._store.tables

        def read(reader: Reader) -> list[Item]:
            if ids is not None:
                return self._named(reader, ids, part, vectors)[: part.limit]
            reader.state_of(owner)
            statement = part.select(reader, owner, tables, *self._columns(vectors))
            rows = self._rows(reader, statement, part.limit, vectors)
            return [item_of(self._owner.dim, *row) for row in rows]

        return self._read(read, connection)

    def ids(self, part: Part, connection: Lent | None) -> list[Id]:
        """Return the ids of items in the order of insertion."""
        items = self._store.tables.items

        def read(reader: Reader) -> list[Id]:
            reader.state_of(self._owner)
            columns = items.c.ext_id, items.c.id_kind
            statement = part.select(reader, self._owner, self._store.tables, *columns)
            pages = reader.pages(statement, _ROWS)
            return [id_of(row.ext_id, row.id_kind) for rows in pages for row in rows]

        return self._read(read, connection)

    def count(self, condition: Filter | None, connection: Lent | None) -> int:
        """Return how many items meet `condition`."""

        def read(reader: Reader) -> int:
            reader.state_of(self._owner)
            if condition is None:
                return reader.count(self._owner.id)
            return len(reader.matching(*key_range(self._owner.id), condition))

        return self._read(read, connection)

    def distinct(
        self,
        path: tuple[str, ...],
        values: sa.Select[Any],
        condition: Filter | None,
        limit: int | None,
        connection: Lent | None,
    ) -> list[ValueCount]:
        """Count the items that have each value of the field at `path`.

        `values` is the statement that looks at the items, made by the filters.
        """
        check_limit(limit)
        if condition is None:
            self._let_lists_tell(connection)

        def read(reader: Reader) -> list[ValueCount]:
            reader.state_of(self._owner)
            if condition is None:
                found = reader.counted(self._owner.id, path, lambda one: one.counts(limit))
                if found is not None:
                    return [ValueCount(*pair) for pair in found]
            return count_values(reader, self._where(reader, values, condition), limit)

        return self._read(read, connection)

    def extent(
        self,
        path: tuple[str, ...],
        values: sa.Select[Any],
        kinds: sa.Select[Any],
        condition: Filter | None,
        connection: Lent | None,
    ) -> Extent:
        """Return from what to what the field at `path` reaches; both statements look at items."""
        if condition is None:
            self._let_lists_tell(connection)

        def read(reader: Reader) -> Extent:
            reader.state_of(self._owner)
            if condition is None:
                found = reader.counted(self._owner.id, path, Counting.reach)
                if found is not None:
                    return Extent(*found)
            return extent(
                reader,
                self._where(reader, values, condition),
                self._where(reader, kinds, condition),
            )

        return self._read(read, connection)

    def vectors(self, ids: Sequence[str], connection: Lent | None) -> Float32s:
        """Return `(n, d) float32` in the order asked; raises UnknownIdError."""
        owner = self._owner

        def read(reader: Reader) -> Float32s:
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

        return self._read(read, connection)

    def iterate(
        self,
        condition: Filter | None,
        batch: int,
        vectors: bool,
        connection: Lent | None,
    ) -> Iterator[Item]:
        """Yield the items that meet `condition` in the order of insertion."""
        if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
            raise InputError(f"batch must be a whole number from 1, not {batch!r}")
        if connection is not None:
            yield from self._streamed(condition, int(batch), vectors, connection)
            return
        with self.selected(condition) as selection:
            yield from selection.items(int(batch), vectors=vectors)

    def _streamed(
        self, condition: Filter | None, batch: int, vectors: bool, connection: Lent
    ) -> Iterator[Item]:
        """Yield items from one statement, which sees one state where a transaction may not."""
        owner, columns, part = self._owner, self._columns(vectors), Part(condition)
        size = rows_for(owner.dim, batch) if vectors else batch

        def begin(reader: Reader) -> tuple[Iterator[Any], list[Any]]:
            statement = part.select(reader, owner, self._store.tables, *columns)
            pages = reader.pages(self._beside(statement) if vectors else statement, size)
            return pages, list(next(pages, ()))

        with self._store.reading(connection) as reader:
            pages, rows = settled(reader, owner, lambda _: begin(reader), lasting=True)
            for some in chain([rows], pages):
                yield from (item_of(owner.dim, *row) for row in some)

    def fields(self) -> list[FieldInfo]:
        """Return which fields are indexed."""
        with self._store.reading() as reader:
            number = reader.state_of(self._owner).fields
            return field_infos(reader.fields(self._owner.id, number))

    def full_text(self) -> str | None:
        """Return the tokenizer by which the documents are indexed, None if they are not."""
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            index = text_index(reader, self._owner)
            return index.tokenizer if index is not None and index.ready else None

    @contextmanager
    def selected(self, condition: Filter | None) -> Iterator[Selection]:
        """Lend what meets `condition` as it is in one snapshot, to be read more than once."""
        with self._store.reading() as reader:
            yield Selection(reader, self._owner, condition)

    def _read(self, read: Callable[[Reader], T], connection: Lent | None) -> T:
        """Return what `read` finds in one state of the collection."""
        with self._store.reading(connection) as reader:
            if connection is None:
                return read(reader)
            return settled(reader, self._owner, lambda _state: read(reader))

    def _let_lists_tell(self, connection: Lent | None) -> None:
        """See that what is committed is listed, or whoever counts has to look at every item."""
        if connection is None and self._store.sql.name != "sqlite":
            with self._store.reading() as reader:
                fresh = bool(reader.state_of(self._owner).fresh)
            if fresh:
                self._store.number(self._owner.id)

    def _named(self, reader: Reader, ids: Sequence[str], part: Part, vectors: bool) -> list[Item]:
        keys = reader.keys_named(self._owner, ids)
        items = self._by_key(reader, list(keys.values()), part.condition, vectors)
        if not items:
            reader.state_of(self._owner)  # which raises if the collection itself is gone
        found = (items.get(keys.get(text, -1)) for text in ids)
        return [item for item in found if item is not None]

    def _by_key(
        self,
        reader: Reader,
        keys: list[int],
        condition: Filter | None,
        vectors: bool,
    ) -> dict[int, Item]:
        if condition is None and not vectors:
            return reader.items(keys)
        some = np.array(sorted(keys), np.int64)
        if condition is not None:
            some = reader.matching(*key_range(self._owner.id), condition, some)
        statement = sa.select(*self._columns(vectors)).where(reader.one_of(some))
        rows = self._rows(reader, statement, len(keys), vectors)
        return {row[0]: item_of(self._owner.dim, *row) for row in rows}

    def _where(
        self, reader: Reader, statement: sa.Select[Any], condition: Filter | None
    ) -> sa.Select[Any]:
        key = self._store.tables.items.c.key
        first, end = key_range(self._owner.id)
        statement = statement.where(key >= first, key < end)
        if condition is None:
            return statement
        return statement.where(reader.narrowed(self._owner.id, condition))

    def _columns(self, vectors: bool) -> list[sa.ColumnElement[Any]]:
        c = self._store.tables.items.c
        columns: list[sa.ColumnElement[Any]] = [c.key, c.ext_id, c.id_kind, c.document, c.metadata]
        return [*columns, self._store.tables.vectors.c.vec] if vectors else columns

    def _rows(
        self, reader: Reader, statement: sa.Select[Any], most: int | None, vectors: bool
    ) -> Iterator[Any]:
        """Yield rows of `_columns`, of many not all at once.

        Vectors are joined in the same statement: another may see what was committed meanwhile.
        """
        size = _ROWS
        if vectors:
            size = rows_for(self._owner.dim, size)
            statement = self._beside(statement)
        if most is not None and most <= size:
            yield from reader.rows(statement)
            return
        for rows in reader.pages(statement, size):
            yield from rows

    def _beside(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        items, floats = self._store.tables.items, self._store.tables.vectors
        return statement.select_from(items.outerjoin(floats, floats.c.key == items.c.key))
