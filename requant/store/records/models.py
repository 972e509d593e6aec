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
    row = plain_cursor(connection).execute(store.sql.note, (note_of(owner.id),)).fetchone()
    return read_note(None if row is None else row[0], owner)


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
    stored = within(connection, store, owner) if noted is None else read_note(noted[0], owner)
    if stored is None and model.name is None:
        return
    if stored is None:
        meta = store.tables.meta
        values = {"name": note_of(owner.id), "value": json.dumps(info.as_json())}
        insert = insert_into(store.engine, meta).values(values)
        connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        # Somebody else may have been faster, and was waited for.
        stored = within(connection, store, owner)
        assert stored is not None
    check_same(stored, model, owner.name, writing=True)
    check_alike(stored, info, owner.name, owner.metric)
    if stored.normalised is None:
        if noted is not None:  # what is put takes the place of whatever there is by now
            settle(connection, store, owner, model, info)
            return
        known = replace(stored, normalised=info.normalised)
        put(connection, store.tables, owner.id, known)


def take_turn(connection: sa.Connection, store: Store, owner: CollectionRow) -> None:
    """Wait until nobody else remembers one; raises UnknownCollectionError if it is gone."""
    c = store.tables.collections.c
    at = sa.update(store.tables.collections).where(c.id == owner.id, c.name == owner.name)
    if not connection.execute(at.values(logging=c.logging)).rowcount:
        raise UnknownCollectionError.gone(owner.name)


def put(connection: sa.Connection, tables: Tables, collection: int, info: ModelInfo | None) -> None:
    """Remember a model in the place of whichever there is; None forgets that."""
    meta, name = tables.meta, note_of(collection)
    connection.execute(sa.delete(meta).where(meta.c.name == name))
    if info is not None:
        connection.execute(sa.insert(meta).values(name=name, value=json.dumps(info.as_json())))


def read_note(text: str | None, owner: CollectionRow) -> ModelInfo | None:
    """Return what a note says, None without one; raises CorruptDataError."""
    if text is None:
        return None
    what = f"the model of collection {owner.name!r}"
    return checked_model(checked.mapping(text, what), owner.dim, what)
