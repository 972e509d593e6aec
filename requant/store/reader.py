"""Reading one snapshot through the driver: the path that every search takes.

This file is long because all reads of one snapshot go through one cursor.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import Any, Literal, TypeVar

import numpy as np
import sqlalchemy as sa

from requant.adapters.protocol import Keys
from requant.errors import UnknownCollectionError
from requant.filters import Filter
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.connections import Untried, commits_alone, ended_in_time
from requant.store.decoding import (
    SEPARATOR,
    VECTOR_DTYPE,
    Id,
    Item,
    RawItem,
    block_of,
    floats_of,
    id_of,
    item_of,
    joined_floats,
    matrix_of,
)
from requant.store.fields import Counting, Field, Matching, Memory, Source, one_of, parse_metadata
from requant.store.gate import BARRED
from requant.store.mapping import Mapped
from requant.store.schema import CollectionRow, Tables, collection_of, key_range
from requant.store.statements import FIELDS, HotSql, json_texts
from requant.store.states import CollectionState, Head, Seen, Watermark, state_of_rows

T = TypeVar("T")
Noted = Literal["model", "text"]
# Rows of so many keys are read faster one after the other than by a mapping that is not cached.
_MANY = 1024
_APART = 8  # so many keys from one to the next, on average, and rows lie together
# Any bytes as they come, zeros and what is no text among them.
_ANY = bytes(range(256)), bytes(range(255, -1, -1))
_JOINED = "SELECT CAST(group_concat(v, ?) AS BLOB) FROM (SELECT ? AS v UNION ALL SELECT ?)"


class Reader:
    """Reads by key within one snapshot."""

    def __init__(
        self,
        connection: sa.Connection,
        cursor: Any,
        sql: HotSql,
        tables: Tables,
        memory: Memory,
        *,
        lent: bool = False,
        mapped: Mapped | None = None,
    ) -> None:
        """Read with a driver's cursor whose transaction has begun on `connection`.

        A `lent` connection may have written, and need not see one snapshot: whoever reads by more
        than one statement sees to it that nothing was written meanwhile.
        """
        self._memory = memory
        self.lent: bool = lent
        self.mapped = mapped
        self._open = connection
        self._cursor = self._driver_cursor = cursor
        self._sql = sql
        self.tables: Tables = tables
        self._items = tables.items
        self._vectors = tables.vectors
        self._changes = tables.changes
        self._joins: bool | None = None
        # What was noted under which name when the state was read: for who asks for it next.
        self.noted: tuple[str, str | None] | None = None
        # Begins another snapshot beside this one, where there may be several.
        self.another: Callable[[], AbstractContextManager[Reader]] | None = None

    def retry_first(self, renew: Callable[[BaseException], Reader]) -> None:
        """Let the first statement, if it fails, be tried again by the reader that `renew` returns.

        `renew` raises the error that it is given where another reader would do no better.
        """
        self._cursor = Untried(self, self._driver_cursor, self._open.info, renew)

    def go_on_as(self, other: Reader) -> Any:
        """Read by the connection of another reader from now on; returns its cursor."""
        self._open, self._driver_cursor = other.source()
        self._cursor = self._driver_cursor
        return self._cursor

    def source(self, *, bulk: bool = True) -> tuple[sa.Connection, Any]:
        """Return the connection that is read by, much at a time if `bulk`, and its cursor."""
        if bulk:
            self.in_bulk()
        return self._connection, self._driver_cursor

    def in_bulk(self) -> None:
        """Read what lies together from now on, which no mapping is made for."""
        if self.mapped is not None:
            self.mapped.leave()

    @property
    def _connection(self) -> sa.Connection:
        """The connection, whose snapshot has begun."""
        if isinstance(self._cursor, Untried):
            self._cursor.begin()
        return self._open

    def go_on(self) -> None:
        """Read by the driver's cursor from now on: its connection lives."""
        self._cursor = self._driver_cursor

    def hold_still(self, collection: int) -> bool:
        """Let nobody begin to write to a collection before the transaction ends; PostgreSQL alone.

        Where it is refused, what was done since the last savepoint is to be taken back.
        """
        try:
            # Others hold them up for the length of a read; who writes holds up nobody here.
            self._cursor.execute("SET LOCAL lock_timeout = '100ms'")
            shut = self._cursor.execute(self._sql.shut_door, (collection,)).fetchone()
        except (self._connection.dialect.loaded_dbapi.Error, sa.exc.DBAPIError) as error:
            # By an asynchronous driver it comes as SQLAlchemy's, and asyncpg has no class for it.
            raised = getattr(error, "orig", error)
            if getattr(raised, "sqlstate", getattr(raised, "pgcode", None)) not in BARRED:
                raise
            return False
        return shut is not None

    def begin(self) -> None:
        """Begin a snapshot where the driver does not do so by itself."""
        self._cursor.execute("BEGIN")
        if self.mapped is not None:
            self.mapped.ready = False

    def end(self) -> None:
        """End a snapshot of SQLite's that was begun by `begin`."""
        self._driver_cursor.connection.rollback()

    def at_once(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        """Return the rows of a statement that tells all: nothing else of this snapshot is read."""
        cursor = self._cursor
        if isinstance(cursor, Untried):
            rows: list[Any] = cursor.execute(statement, parameters, alone=True).fetchall()
            return rows
        return list(cursor.execute(statement, parameters).fetchall())

    def state_of(self, owner: CollectionRow, noting: Noted | None = None) -> CollectionState:
        """Return the state of a collection; raises UnknownCollectionError if it is gone.

        What is noted of `noting` is read by the way, for the `note` that follows.
        """
        state = self.state_at(owner.id, owner.name, noting)
        if state is None:
            raise UnknownCollectionError.gone(owner.name)
        return state

    def state_at(
        self, collection: int, name: str | None = None, noting: Noted | None = None
    ) -> CollectionState | None:
        """Return the state of a collection by its number, None if it is gone, or of another name.

        Its name is given away when it moves to another model.
        """
        sql, self.noted = self._sql, None
        statement = sql.state
        if noting is not None:
            statement = sql.state_model if noting == "model" else sql.state_text
        rows = self._cursor.execute(statement, (collection,)).fetchall()
        if not rows or (name is not None and rows[0][6] != name):
            return None
        if noting is not None:
            self.noted = f"{noting} of {collection}", rows[0][-1]
            rows = [row[:-1] for row in rows]
        return state_of_rows(rows)

    def note(self, name: str) -> str | None:
        """Return what is noted in `meta` under a name, None if nothing is."""
        if self.noted is not None and self.noted[0] == name:
            (_, value), self.noted = self.noted, None
            return value
        row = self._cursor.execute(self._sql.note, (name,)).fetchone()
        return None if row is None else str(row[0])

    def knows(self, collection: int, state: CollectionState, seen: Seen) -> bool | None:
        """Whether the write `seen` is still one of those that have led to `state`, a later one.

        False where the database has been set back before it, and written to anew; None where that
        was so many writes ago that it cannot be told.
        """
        if state.run == seen.run:
            return True
        row = self._cursor.execute(self._sql.run_at, (collection, seen.seq)).fetchone()
        if row is None:
            return True if seen.run is None else None
        return bool(row[0] == seen.run)

    def index_number(self, owner: CollectionRow, name: str) -> int | None:
        """Return the number of an index by name, None if the collection has none of that name."""
        row = self._cursor.execute(self._sql.index_number, (owner.id, name)).fetchone()
        return None if row is None else int(row[0])

    def index_info(self, owner: CollectionRow, name: str) -> str | None:
        """Return what else is noted of an index, as JSON; None for nothing."""
        row = self._cursor.execute(self._sql.index_info, (owner.id, name)).fetchone()
        return None if row is None else row[0]

    def head_of(self, index: int) -> Head | None:
        """Return the head of a live index, None if it has not been published."""
        row = self._cursor.execute(self._sql.head, (index,)).fetchone()
        if row is None:
            return None
        name, reaching, key, seq, items = row
        return Head(name, reaching, Watermark(key, seq), items)

    def vectors(self, keys: Keys, dim: int) -> tuple[Keys, Float32s]:
        """Return those of `keys` (ascending) that have a vector, and the vectors `(m, dim)`."""
        if len(keys) <= rows_for(dim):
            return self._fetched(keys, dim)
        # Into one array, so that many are not in memory once more as rows.
        found, vectors = np.empty(len(keys), np.int64), np.empty((len(keys), dim), VECTOR_DTYPE)
        n = 0
        for some, floats in self.vectors_of(keys, dim):
            end = n + len(some)
            found[n:end], vectors[n:end], n = some, floats, end
        return found[:n], vectors[:n]

    def candidates(self, keys: Keys, dim: int) -> tuple[Keys, Float32s]:
        """Return what `vectors` does, as it comes from the database: rows may lie apart.

        SQLite hands all of them out at once: for each row that the driver fetches it lets other
        threads run, and has to wait for them.
        """
        if self._sql.joined and len(keys) <= rows_for(dim) and self._joins_bytes():
            ((count, joined),) = self._of_keys(self._sql.joined, keys.tolist())
            # All of them, as nearly always, come in the order that was asked for.
            floats = joined_floats(joined, count, dim) if count == len(keys) else None
            if floats is not None:
                return keys, floats
        return self.vectors(keys, dim)

    def vectors_of(self, keys: Keys, dim: int) -> Iterator[tuple[Keys, Float32s]]:
        """Yield `vectors` of any number of `keys`, `rows_for(dim)` at a time."""
        step = rows_for(dim)
        for start in range(0, len(keys), step):
            yield self._fetched(keys[start : start + step], dim)

    def scan(
        self, first: int, end: int, dim: int, batch: int = 8192
    ) -> Iterator[tuple[Keys, Float32s]]:
        """Yield the keys and vectors of `first <= key < end`, in key order.

        At most `batch` at a time, and no more than `rows_for(dim)`.
        """
        for rows in self._pages(self._sql.scan, first, end, rows_for(dim, batch)):
            keys, vectors = matrix_of(rows, dim)
            rows.clear()  # not in memory twice while they are looked at
            yield keys, vectors

    def blocks(self, first: int, end: int, dim: int, size: int) -> Iterator[tuple[Keys, Float32s]]:
        """Yield what `scan` does, but for the sizes: `size` keys at a time, whoever has one.

        For what is looked at once: the vectors are read together and stay as they come.
        """
        if not self._joins_bytes():
            yield from self.scan(first, end, dim, size)
            return
        if end - first > _MANY:
            self.in_bulk()
        while first < end:
            stop = min(first + size, end)
            (row,) = self._cursor.execute(self._sql.block, (first, stop)).fetchall()
            block = block_of(row[0], row[1], dim)
            if block is None:
                yield from self.scan(first, stop, dim, size)  # which names what is damaged
            elif len(block[0]):
                yield block
            first = stop
            if block is not None and 4 * len(block[0]) < size and first < end:
                # Many are gone here: a page skips what is not there.
                page = next(self._pages(self._sql.scan, first, end, rows_for(dim, size)), None)
                if page is None:
                    return
                yield matrix_of(page, dim)
                first = page[-1][0] + 1

    def _joins_bytes(self) -> bool:
        """Whether the database joins bytes unchanged: not where SQLite's texts are UTF-16."""
        if self._joins is None:
            self._joins = True
            if self._sql.name == "sqlite":
                row = self._cursor.execute(_JOINED, (SEPARATOR, *_ANY)).fetchone()
                self._joins = row == (SEPARATOR.join(_ANY),)
        return self._joins

    def damaged(self, first: int, end: int, dim: int) -> Iterator[int]:
        """Yield the keys whose vector has another size or checksum than was written."""
        for rows in self._pages(self._sql.scan_checked, first, end, rows_for(dim)):
            for key, vec, crc in rows:
                if len(vec) != dim * VECTOR_DTYPE.itemsize or zlib.crc32(vec) != crc:
                    yield key

    def strays(self, first: int, end: int) -> list[int]:
        """Return the keys of vectors without an item."""
        self.in_bulk()
        v, items = self._vectors, self._items
        nobody = ~sa.exists().where(items.c.key == v.c.key)
        statement = sa.select(v.c.key).where(v.c.key >= first, v.c.key < end, nobody)
        return list(self._connection.execute(statement).scalars())

    def pages(self, statement: sa.Select[Any], size: int) -> Iterator[Sequence[sa.Row[Any]]]:
        """Yield what a statement selects, `size` rows at a time and never more in memory."""
        self.in_bulk()
        # Where each statement commits by itself, PostgreSQL has no cursor on the server.
        alone = self._sql.name == "postgresql" and commits_alone(self._connection)
        options = {} if alone else {"stream_results": True, "yield_per": size}
        with (
            self._connection.execute(statement, execution_options=options) as result,
            ended_in_time(self._connection, result),
        ):
            yield from result.partitions(size)

    def integrity(self) -> list[str]:
        """Return what SQLite finds wrong with its file; PostgreSQL looks after its own."""
        if self._sql.name != "sqlite":
            return []
        lines = [row[0] for row in self._cursor.execute("PRAGMA integrity_check")]
        return [] if lines == ["ok"] else lines

    def changed(self, collection: int, after_seq: int, before_key: int) -> Keys:
        """Return the keys below `before_key` that were updated or deleted after `after_seq`."""
        parameters = (collection, after_seq, before_key)
        rows = self._cursor.execute(self._sql.changed, parameters).fetchall()
        return np.array([row[0] for row in rows], np.int64)

    def has_logged(self, collection: int, after_seq: int, keys: Keys) -> bool:
        """Whether one of `keys` was updated or deleted after `after_seq`."""
        c = self._changes.c
        logged = sa.select(c.key).where(c.collection_id == collection, c.seq > after_seq)
        there = logged.where(one_of(c.key, keys, self._sql)).limit(1)
        return self._connection.execute(there).first() is not None

    def log(
        self, collection: int, after: tuple[int, int], before_key: int, limit: int
    ) -> list[tuple[int, int]]:
        """Return the next (seq, key) of the log below `before_key`, in order, at most `limit`."""
        parameters = (collection, *after, before_key, limit)
        return list(self._cursor.execute(self._sql.log, parameters).fetchall())

    def items(self, keys: list[int]) -> dict[int, Item]:
        """Return the items of `keys` by key, without vectors."""
        return {key: item_of(0, *row) for key, row in self.raw_items(keys).items()}

    def raw_items(self, keys: list[int], fields: frozenset[str] = FIELDS) -> dict[int, RawItem]:
        """Return the items of `keys` by key, as they are stored; `content_of` reads them.

        What is not among `fields` is None.
        """
        return {row[0]: row for row in self._of_keys(self._sql.items_with(fields), keys)}

    def metadata(self, keys: list[int]) -> dict[int, dict[str, Any] | None]:
        """Return the metadata of `keys` by key."""
        return {key: parse_metadata(text) for key, text in self._of_keys(self._sql.metadata, keys)}

    def ids(self, keys: list[int]) -> dict[int, Id]:
        """Return the ids of `keys` by key."""
        rows = self._of_keys(self._sql.ids, keys)
        return {key: id_of(ext_id, kind) for key, ext_id, kind in rows}

    def count(self, collection: int) -> int:
        """Return how many items a collection has."""
        self.in_bulk()
        items = self._items
        statement = sa.select(sa.func.count()).where(items.c.collection_id == collection)
        return int(self._connection.execute(statement).scalar_one())

    def count_vectors(self, first: int, end: int) -> int:
        """Return how many vectors there are of `first <= key < end`."""
        self.in_bulk()
        key = self._vectors.c.key
        statement = sa.select(sa.func.count()).where(key >= first, key < end)
        return int(self._connection.execute(statement).scalar_one())

    def first_with_vector(self, first: int, end: int) -> int:
        """Return the first key of `first <= key < end` that has a vector, `end` if none has."""
        key = self._vectors.c.key
        statement = sa.select(sa.func.min(key)).where(key >= first, key < end)
        found = self._connection.execute(statement).scalar()
        return end if found is None else int(found)

    def matching(
        self,
        first: int,
        end: int,
        condition: Filter | sa.ColumnElement[bool],
        among: Keys | None = None,
    ) -> Keys:
        """Return the keys of `first <= key < end`, or of `among`, whose item meets `condition`."""
        if not isinstance(condition, Filter):
            return self._source().select(condition, first, end, among)
        found = self.matcher(collection_of(first), condition)
        if found is None:
            return np.empty(0, np.int64)
        if among is None:
            return found.keys(first, end)
        return found.among(among[(among >= first) & (among < end)])

    def narrowed(
        self,
        collection: int,
        condition: Filter,
        first: int | None = None,
        limit: int | None = None,
    ) -> sa.ColumnElement[bool]:
        """Return a filter as SQL: the first keys that meet it, where indexed fields tell them."""
        found = self.matcher(collection, condition)
        if found is None or not found.by_fields:
            return condition.condition
        begin, end = key_range(collection)
        keys = self.matching(begin if first is None else first, end, condition)
        return self.one_of(keys[:limit])

    def matcher(
        self, collection: int, condition: Filter, state: CollectionState | None = None
    ) -> Matching | None:
        """Return a filter on a collection as this reader sees it, None if that is gone."""
        state = self.state_at(collection) if state is None else state
        return None if state is None else Matching(self._source(), collection, condition, state)

    def counted(
        self, collection: int, path: tuple[str, ...], count: Callable[[Counting], T]
    ) -> T | None:
        """Return what `count` tells of an indexed field, None where the items have to tell."""
        state = self.state_at(collection)
        told = None if state is None else self._source().counted(collection, state, path, count)
        # Where each statement sees what others have committed meanwhile, all saw the same.
        return told if not self.lent or self.state_at(collection) == state else None

    def fields(self, collection: int, number: int | None) -> tuple[Field, ...]:
        """Return the indexed fields of a collection whose definitions have this number."""
        return self._source().fields(collection, number)

    def _source(self) -> Source:
        c = self._connection
        return Source(
            c, self._cursor, self._sql, self._items, self._memory, self.lent, self.in_bulk
        )

    def rows(self, statement: sa.Select[Any]) -> Sequence[Any]:
        """Return the rows of a statement; not the first one of a snapshot, which may be retried."""
        return self._connection.execute(statement).all()

    def one_of(self, keys: Keys) -> sa.ColumnElement[bool]:
        """Return the condition that an item has one of `keys`, which travel as one parameter."""
        return one_of(self._items.c.key, keys, self._sql)

    def keys_named(self, owner: CollectionRow, ids: Sequence[str]) -> dict[str, int]:
        """Return `keys_of` a collection; none where it is gone, or its name is another's."""
        parameters = (json_texts(ids), owner.id, owner.id, owner.name)
        return dict(self._cursor.execute(self._sql.existing_named, parameters).fetchall())

    def keys_of(self, collection: int, ids: Sequence[str]) -> dict[str, int]:
        """Return the keys of those ids that are stored."""
        parameters = (json_texts(ids), collection)
        return dict(self._cursor.execute(self._sql.existing, parameters).fetchall())

    def vectors_named(self, collection: int, ids: Sequence[str], dim: int) -> tuple[Keys, Float32s]:
        """Return the keys, in order, and vectors of those ids that have one; few ids, each once."""
        self._here_and_there()
        parameters = (json_texts(ids), collection)
        if self._sql.block_named and self._joins_bytes():
            (row,) = self._cursor.execute(self._sql.block_named, parameters).fetchall()
            block = block_of(row[0], row[1], dim)
            if block is not None:
                return block
        rows = self._cursor.execute(self._sql.vectors_named, parameters).fetchall()
        return matrix_of(sorted(rows, key=itemgetter(0)), dim)

    def aliases(self, index: int, names: Sequence[str]) -> dict[str, int]:
        """Return the keys of those names that an attached index has for items."""
        parameters = (self._sql.texts(names), index)
        return dict(self._cursor.execute(self._sql.aliases, parameters).fetchall())

    def iterate(self, first: int, end: int, dim: int, batch: int) -> Iterator[Item]:
        """Yield the items of `first <= key < end` with their vectors, in key order."""
        size = rows_for(dim, batch)
        for rows in self._pages(self._sql.items_with_vectors, first, end, size):
            for key, ext_id, kind, document, metadata, vec in rows:
                yield item_of(dim, key, ext_id, kind, document, metadata, vec)

    def _pages(self, statement: str, first: int, end: int, batch: int) -> Iterator[list[Any]]:
        count = batch
        if end - first > _MANY:
            self.in_bulk()
        while count == batch and first < end:
            rows = self._cursor.execute(statement, (first, end, batch)).fetchall()
            count = len(rows)
            if rows:
                first = rows[-1][0] + 1
                yield rows

    def _fetched(self, keys: Keys, dim: int) -> tuple[Keys, Float32s]:
        together = len(keys) > _MANY and keys[-1] - keys[0] < _APART * len(keys)
        rows = self._of_keys(self._sql.vectors, keys.tolist(), bulk=bool(together))
        # All of them, as nearly always, come in the order that was asked for.
        return (keys, floats_of(rows, dim)) if len(rows) == len(keys) else matrix_of(rows, dim)

    def _of_keys(self, statement: str, keys: list[int], *, bulk: bool = False) -> list[Any]:
        if bulk:
            self.in_bulk()
        else:
            self._here_and_there()
        rows: list[Any] = self._cursor.execute(*self._sql.of_keys(statement, keys)).fetchall()
        return rows

    def _here_and_there(self) -> None:
        if self.mapped is not None and not self.mapped.ready:
            self.mapped.here_and_there()
