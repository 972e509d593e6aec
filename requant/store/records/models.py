"""Which model embeds the texts of a collection; noted by name in `meta`, as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import sqlalchemy as sa

from requant.embeddings import Model, ModelInfo, check_alike, check_same, checked_model
from requant.errors import UnknownCollectionError
from requant.store.connections import plain_cursor
from requant.store.engine import Store, insert_into
from requant.store.reader import Reader
from requant.store.records import checked
from requant.store.schema import CollectionRow, Tables


def note_of(collection: int) -> str:
    """Return the name under which a collection's model is noted."""
    return f"model of {collection}"


def look(store: Store, owner: CollectionRow) -> ModelInfo | None:
    """Return the model of a collection, None if none is remembered."""
    with store.reading() as reader:
        reader.state_of(owner)
        return seen_by(reader, owner)


def seen_by(reader: Reader, owner: CollectionRow) -> ModelInfo | None:
    """Return the model of a collection as a reader sees it."""
    return read_note(reader.note(note_of(owner.id)), owner)


def within(connection: sa.Connection, store: Store, owner: CollectionRow) -> ModelInfo | None:
    """Return the model of a collection as a transaction sees it."""
    return read_note(_noted(connection, store, owner), owner)


def _noted(connection: sa.Connection, store: Store, owner: CollectionRow) -> str | None:
    row = plain_cursor(connection).execute(store.sql.note, (note_of(owner.id),)).fetchone()
    return None if row is None else str(row[0])


def settle(
    connection: sa.Connection,
    store: Store,
    owner: CollectionRow,
    model: Model,
    info: ModelInfo,
    *,
    noted: tuple[str | None] | None = None,
) -> None:
    """Remember the model that has embedded what a transaction writes, or see that it is the same.

    `noted` is what it has just read, if it has. Of a model without a name nothing is remembered.
    Raises OtherModelError.
    """
    text = _noted(connection, store, owner) if noted is None else noted[0]
    if text is None and model.name is None:
        return
    meta = store.tables.meta
    if text is None:
        values = {"name": note_of(owner.id), "value": json.dumps(info.as_json())}
        insert = insert_into(connection, meta).values(values)
        connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        # Somebody else may have been faster, and was waited for.
        text = _noted(connection, store, owner)
    stored = read_note(text, owner)
    assert stored is not None
    check_same(stored, model, owner.name, writing=True)
    check_alike(stored, info, owner.name, owner.metric)
    if stored.normalised is None and info.normalised is not None:
        known = json.dumps(replace(stored, normalised=info.normalised).as_json())
        as_read = sa.and_(meta.c.name == note_of(owner.id), meta.c.value == text)
        if not connection.execute(sa.update(meta).where(as_read).values(value=known)).rowcount:
            settle(connection, store, owner, model, info)  # another one was noted meanwhile


def take_turn(connection: sa.Connection, store: Store, owner: CollectionRow) -> None:
    """Wait until nobody else remembers one; raises UnknownCollectionError if it is gone."""
    c = store.tables.collections.c
    at = sa.update(store.tables.collections).where(c.id == owner.id, c.name == owner.name)
    if not connection.execute(at.values(logging=c.logging)).rowcount:
        raise UnknownCollectionError.gone(owner.name)


def put(connection: sa.Connection, tables: Tables, collection: int, info: ModelInfo | None) -> None:
    """Remember a model in the place of whichever there is; None forgets that."""
    meta, name = tables.meta, note_of(collection)
    if info is None:
        connection.execute(sa.delete(meta).where(meta.c.name == name))
        return
    value = json.dumps(info.as_json())
    insert = insert_into(connection, meta).values(name=name, value=value)
    # Not in two statements: who had waited for somebody else's would find it there again.
    replaced = insert.on_conflict_do_update(index_elements=["name"], set_={"value": value})
    connection.execute(replaced)


def read_note(text: str | None, owner: CollectionRow) -> ModelInfo | None:
    """Return what a note says, None without one; raises CorruptDataError."""
    if text is None:
        return None
    what = f"the model of collection {owner.name!r}"
    return checked_model(checked.mapping(text, what), owner.dim, what)
