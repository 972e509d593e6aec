"""Collections by name: create, find, list, drop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from requant.embeddings import ModelInfo
from requant.errors import ExistsError, StoreError, UnknownCollectionError
from requant.scores import Metric
from requant.store import gate
from requant.store.connections import Lent
from requant.store.engine import Store, insert_into
from requant.store.fields import drop_fields, load, note_fields
from requant.store.history import drop_keys, make_keys
from requant.store.moving import drop_moves
from requant.store.moving import find as find_move
from requant.store.records import checked, models
from requant.store.schema import MAX_COLLECTIONS, CollectionRow, key_range
from requant.store.text import drop_text, note_text
from requant.store.text import look as look_at_text


@dataclass(frozen=True)
class Origin:
    """Where vectors came from, and how true they are to what was embedded.

    `fidelity`: "exact", "normalised" (lengths are lost), "lossy" (made from compressed codes) or
    "codes-only" (bits, as vectors of -1 and 1); or "unfinished": only a part of it may be there.
    """

    source: str
    kind: str
    fidelity: str


def create(
    store: Store,
    name: str,
    dim: int,
    metric: Metric,
    fields: Sequence[str] = (),
    lent: Lent | None = None,
    tokenizer: str | None = None,
    model: ModelInfo | None = None,
) -> CollectionRow:
    """Add a collection whose `fields` are indexed, and whose documents are if there is a tokenizer.

    `model` is what is remembered to embed its texts.

    Raises ExistsError if the name is taken.
    """
    table = store.tables.collections
    if lent is None:
        store.fit_pages(dim)
    values = {
        "name": name, "dim": dim, "metric": metric,
        "next_key": 0, "seq": 0, "log_floor": 0, "logging": False,
    }  # fmt: skip
    try:
        with store.writing(lent) as connection:
            number = _insert(connection, store, values, lent is not None)
            if number >= MAX_COLLECTIONS:
                raise StoreError(f"a database holds at most {MAX_COLLECTIONS} collections")
            first, _ = key_range(number)
            update = sa.update(table).where(table.c.id == number).values(next_key=first)
            connection.execute(update)
            make_keys(connection, store.tables, number, first)
            note_fields(connection, store.tables, number, fields)
            note_text(connection, store.tables, number, tokenizer)
            models.put(connection, store.tables, number, model)
    except (StoreError, sa.exc.IntegrityError) as error:
        if isinstance(error.__cause__ if lent is None else error, sa.exc.IntegrityError):
            raise ExistsError(f"collection {name!r} already exists") from error
        raise
    return CollectionRow(number, name, dim, metric)


def _insert(connection: sa.Connection, store: Store, values: dict[str, Any], lent: bool) -> int:
    """Insert a collection under an id that none has had which this process knows of.

    SQLite gives out an id again that was rolled back, and whoever kept that collection would write
    into another one.
    """
    table = store.tables.collections
    insert = sa.insert(table).returning(table.c.id)
    number: int = connection.execute(insert.values(values)).scalar_one()
    if number <= store.given_ids:
        connection.execute(sa.delete(table).where(table.c.id == number))
        values = {**values, "id": store.given_ids + 1}
        number = connection.execute(insert.values(values)).scalar_one()
    if lent and store.sql.name == "sqlite":
        store.given_ids = number
    return number


def ready_fields(connection: sa.Connection, store: Store, row: CollectionRow) -> list[str]:
    """Return the names of fields that a transaction finds indexed."""
    return [field.name for field in load(connection, store.tables, row.id) if field.ready]


def is_there(connection: sa.Connection, store: Store, row: CollectionRow) -> bool:
    """Whether a transaction sees a collection."""
    c = store.tables.collections.c
    known = sa.select(c.id).where(c.id == row.id, c.name == row.name)
    return connection.execute(known).first() is not None


def check_there(store: Store, row: CollectionRow) -> None:
    """Raise UnknownCollectionError if a collection is gone, or has given its name away."""
    with store.connected() as connection:
        if not is_there(connection, store, row):
            raise UnknownCollectionError.gone(row.name)


def find(store: Store, name: str, lent: Lent | None = None) -> CollectionRow:
    """Return a collection; raises UnknownCollectionError, which lists those that exist."""
    table = store.tables.collections
    columns = (table.c.id, table.c.name, table.c.dim, table.c.metric)
    own = store.connected() if lent is None else nullcontext(store.connection_of(lent))
    with own as connection:
        found = connection.execute(sa.select(*columns).where(table.c.name == name)).one_or_none()
    if found is not None:
        return CollectionRow(*checked.collection(*found))
    if lent is not None:
        raise UnknownCollectionError(
            f"no collection {name!r} that this transaction sees: it was made, or dropped, after "
            "its snapshot"
        )
    have = ", ".join(repr(row.name) for row in every(store)) or "none yet"
    raise UnknownCollectionError(f"no collection {name!r} here; there is: {have}")


def numbered(store: Store, number: int) -> CollectionRow:
    """Return a collection by its number; raises UnknownCollectionError."""
    found = next((row for row in every(store) if row.id == number), None)
    if found is None:
        raise UnknownCollectionError(f"collection {number} has been dropped")
    return found


def every(store: Store) -> list[CollectionRow]:
    """Return all collections by name."""
    table = store.tables.collections
    columns = (table.c.id, table.c.name, table.c.dim, table.c.metric)
    with store.connected() as connection:
        rows = connection.execute(sa.select(*columns).order_by(table.c.name))
        return [CollectionRow(*checked.collection(*row)) for row in rows]


def note_origin(
    store: Store, row: CollectionRow, origin: Origin, *, into_empty: bool = False
) -> bool:
    """Remember where vectors of a collection came from, each source once.

    With `into_empty` only where it has no item, and no source of the same fidelity.
    Returns whether it was noted.
    """
    meta = store.tables.meta
    at = meta.c.name == _origin(row)
    insert = insert_into(store.engine, meta).values(name=_origin(row), value="[]")
    # Writing first takes the row's turn: what another process notes at the same time stays.
    same = insert.on_conflict_do_update(index_elements=["name"], set_={"value": meta.c.value})
    with store.writing() as connection:
        connection.execute(same)
        if not is_there(connection, store, row):
            raise UnknownCollectionError.gone(row.name)
        known = _origins(connection.scalar(sa.select(meta.c.value).where(at)), row)
        alike = any(one.fidelity == origin.fidelity for one in known)
        if into_empty and (alike or _has_items(connection, store, row)):
            return False
        kept = [one for one in known if one.source != origin.source]
        text = json.dumps([asdict(one) for one in (*kept, origin)], ensure_ascii=False)
        connection.execute(sa.update(meta).where(at).values(value=text))
    return True


def _has_items(connection: sa.Connection, store: Store, row: CollectionRow) -> bool:
    items, (first, end) = store.tables.items, key_range(row.id)
    some = sa.select(items.c.key).where(items.c.key >= first, items.c.key < end).limit(1)
    return connection.scalar(some) is not None


def origins(store: Store, row: CollectionRow) -> list[Origin]:
    """Return where vectors of a collection came from, in the order of the imports."""
    meta = store.tables.meta
    check_there(store, row)
    with store.connected() as connection:
        return _origins(
            connection.scalar(sa.select(meta.c.value).where(meta.c.name == _origin(row))), row
        )


def forget_origins(connection: sa.Connection, store: Store, row: CollectionRow) -> None:
    """Forget where vectors of a collection came from, in the transaction that removes them."""
    meta = store.tables.meta
    connection.execute(sa.delete(meta).where(meta.c.name == _origin(row)))


def _origins(text: str | None, row: CollectionRow) -> list[Origin]:
    return [] if text is None else [Origin(**one) for one in checked.origins(text, row.name)]


def _origin(row: CollectionRow) -> str:
    return f"origins of {row.id}"


def drop(store: Store, row: CollectionRow) -> None:
    """Remove a collection with everything in it."""
    t = store.tables
    first, end = key_range(row.id)
    of_collection = t.indexes.c.collection_id == row.id
    indexes = sa.delete(t.indexes).where(of_collection).returning(t.indexes.c.id)
    # Before, as nobody may wait at the gate while triggers are removed; see `Reembedder`.
    with store.connected() as connection:
        moves = find_move(connection, t, row.id) is not None
        words = store.sql.name == "postgresql" and look_at_text(connection, t, row.id) is not None
    if moves or words:
        with store.writing(turn=row.id) as connection:
            models.take_turn(connection, store, row)
            drop_moves(connection, t, row.id)
            drop_text(connection, t, row.id)
    with store.writing(turn=row.id) as connection:
        if store.sql.name == "postgresql":
            gate.alone(connection, t, row.id)
        # The collection's row before those of its indexes, as everybody does.
        connection.execute(sa.delete(t.collections).where(t.collections.c.id == row.id))
        gone = list(connection.execute(indexes).scalars())
        for table in (t.generations, t.aliases):
            connection.execute(sa.delete(table).where(table.c.index_id.in_(gone)))
        for table in (t.changes, t.writes, t.runs, t.migrations):
            connection.execute(sa.delete(table).where(table.c.collection_id == row.id))
        forget_origins(connection, store, row)
        models.put(connection, t, row.id, None)
        drop_fields(connection, t, row.id)
        drop_text(connection, t, row.id)
        for table in (t.vectors, t.items):
            connection.execute(sa.delete(table).where(table.c.key >= first, table.c.key < end))
        drop_keys(connection, t, row.id)
