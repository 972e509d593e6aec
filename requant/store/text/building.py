"""Text indexes made and removed; of collections that have items, while others write to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from requant.errors import ExistsError, StoreError, UnknownCollectionError, UnsupportedError
from requant.store import gate
from requant.store.schema import CollectionRow, Tables, key_range
from requant.store.text import postgresql, sqlite
from requant.store.text.definitions import TextIndex, as_noted, every, look, note_of

if TYPE_CHECKING:
    from requant.store.engine import Store

# Characters that are indexed in one transaction: others wait for it some tenths of a second.
_CHARACTERS = 1 << 21
_MOST_ITEMS = 16_384
# The share of the time that is left to others who write: SQLite has no queue.
_PAUSE = 0.2

Progress = Callable[[int, int], None]


def index_text(
    store: Store, owner: CollectionRow, tokenizer: str, progress: Progress | None
) -> None:
    """Index the documents of a collection, and return when searches use that.

    Goes on with what was interrupted. Raises ExistsError where another tokenizer was used.
    """
    tables, (first, end) = store.tables, key_range(owner.id)
    with store.writing(turn=owner.id) as connection:
        # Nobody is kept waiting at the gate while triggers are made, for which PostgreSQL locks the
        # table of items: one who waits there may have it locked, and both would wait.
        take_turn(connection, tables, owner)
        index = _begun(connection, tables, owner, tokenizer)
    at = first
    while not index.ready:
        begun = time.perf_counter()
        with store.writing(turn=owner.id) as connection:
            # What somebody deletes just now is not to be indexed after that.
            take_turn(connection, tables, owner, alone=True)
            if store.sql.name != "sqlite":
                store.numbering.all(connection, owner.id)  # for who is told of the progress
            found = look(connection, tables, owner.id)
            if found is not None and found.ready and found.tokenizer == tokenizer:
                return  # somebody else was faster
            if found != index:
                raise StoreError(
                    f"the text index of collection {owner.name!r} was removed, or made "
                    "otherwise, while it was built"
                )
            last, upto = _reach(connection, tables, at, end)
            dialect(connection).fill(connection, tables, index, at, upto)
            if last:
                dialect(connection).finish(connection, tables, index)
                index = TextIndex(owner.id, tokenizer, ready=True)
                _note(connection, tables, index)
            total = connection.execute(_next_key(tables, owner.id)).scalar_one()
        at = upto
        if progress is not None and total > first:
            progress(min(at, total) - first, total - first)
        if not index.ready:
            time.sleep((time.perf_counter() - begun) * _PAUSE)


def unindex_text(store: Store, owner: CollectionRow) -> None:
    """Forget the words of a collection's documents; raises UnsupportedError without any."""
    with store.writing(turn=owner.id) as connection:
        take_turn(connection, store.tables, owner)  # at no gate, see `index_text`
        index = look(connection, store.tables, owner.id)
        if index is None:
            raise UnsupportedError(
                f"the documents of collection {owner.name!r} are not indexed by words"
            )
        _remove(connection, store.tables, index)


def note_text(
    connection: sa.Connection, tables: Tables, collection: int, tokenizer: str | None
) -> None:
    """Index the documents of a collection that is being made: it has none yet."""
    if tokenizer is not None:
        index = TextIndex(collection, tokenizer, ready=True)
        dialect(connection).create(connection, tables, index)
        _note(connection, tables, index)


def drop_text(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Forget the text index of a collection that is dropped, before its items are removed."""
    index = look(connection, tables, collection)
    if index is not None:
        _remove(connection, tables, index)


def clear_text(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Forget the words of a collection's documents, all of which are about to be deleted."""
    index = look(connection, tables, collection)
    if index is not None:
        dialect(connection).empty(connection, tables, index)


def make_text_again(connection: sa.Connection, tables: Tables) -> None:
    """Make the text indexes that are noted in a restored database, which has none of them."""
    ways = dialect(connection)
    for noted in every(connection, tables):
        index = TextIndex(noted.collection, noted.tokenizer, ready=True)
        ways.drop(connection, tables, index)
        ways.create(connection, tables, index)
        ways.fill(connection, tables, index, *key_range(index.collection))
        ways.finish(connection, tables, index)
        _note(connection, tables, index)


def remove_all_text(connection: sa.Connection, tables: Tables) -> None:
    """Remove every text index of a database that is about to be filled anew."""
    for index in every(connection, tables):
        _remove(connection, tables, index)


def dialect(connection: sa.Connection | sa.Engine) -> ModuleType:
    """Return what makes and asks text indexes in this database."""
    return sqlite if connection.dialect.name == "sqlite" else postgresql


def _begun(
    connection: sa.Connection, tables: Tables, owner: CollectionRow, tokenizer: str
) -> TextIndex:
    found = look(connection, tables, owner.id)
    if found is not None and found.tokenizer != tokenizer:
        raise ExistsError(
            f"the documents of collection {owner.name!r} are indexed already, with tokenizer="
            f"{found.tokenizer!r}: unindex_text first"
        )
    if found is None:
        found = TextIndex(owner.id, tokenizer, ready=False)
        dialect(connection).create(connection, tables, found)
        _note(connection, tables, found)
    return found


def _reach(connection: sa.Connection, tables: Tables, first: int, end: int) -> tuple[bool, int]:
    """Return whether the next share is the last, and the key after it."""
    i = tables.items.c
    sizes = sa.select(i.key, sa.func.length(i.document)).where(i.key >= first, i.key < end)
    characters, key, rows = 0, first - 1, 0
    with connection.execute(sizes.order_by(i.key).limit(_MOST_ITEMS)) as found:
        for key, size in found:
            characters, rows = characters + (size or 0), rows + 1
            if characters >= _CHARACTERS:
                return False, key + 1
    return rows < _MOST_ITEMS, end if rows < _MOST_ITEMS else key + 1


def take_turn(
    connection: sa.Connection, tables: Tables, owner: CollectionRow, *, alone: bool = False
) -> None:
    """Wait for the collection's turn; nothing that an index follows has changed.

    In PostgreSQL others write all the same, unless we are to be `alone`.
    """
    if alone and connection.dialect.name == "postgresql":
        gate.alone(connection, tables, owner.id)
    c = tables.collections.c
    update = sa.update(tables.collections).where(c.id == owner.id, c.name == owner.name)
    if not connection.execute(update.values(fields=c.fields)).rowcount:
        raise UnknownCollectionError.gone(owner.name)


def _next_key(tables: Tables, collection: int) -> sa.Select[Any]:
    c = tables.collections.c
    return sa.select(c.next_key).where(c.id == collection)


def _note(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    meta, name = tables.meta, note_of(index.collection)
    connection.execute(sa.delete(meta).where(meta.c.name == name))
    connection.execute(sa.insert(meta).values(name=name, value=as_noted(index)))


def _remove(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    dialect(connection).drop(connection, tables, index)
    meta = tables.meta.c
    connection.execute(sa.delete(tables.meta).where(meta.name == note_of(index.collection)))
