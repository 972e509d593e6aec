"""Rows and collection compared, and the collection repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from requant.errors import InputError
from requant.inputs import encode_json
from requant.integration.sqlalchemy.orm.embedding import embedded
from requant.integration.sqlalchemy.orm.held import let_go
from requant.integration.sqlalchemy.orm.mapped import Mapped, connection_of
from requant.integration.sqlalchemy.orm.writing import Item, Kept, Rows, put, remove, write
from requant.store import Item as StoredItem

_Row = tuple[str | None, dict[str, Any]]


def sync(mapped: Mapped, session: Session, batch: int) -> tuple[int, int]:
    """Put what differs and remove what has no row; return how many of each."""
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 10_000:
        raise InputError(f"{mapped.title}: batch is a whole number from 1 to 10,000, not {batch!r}")
    connection = connection_of(session, mapped.home)
    session.flush()
    connection = connection_of(session, mapped.home)
    written = 0
    for rows in _pages(mapped, connection, batch):
        items = _differing(mapped, connection, rows)
        put(mapped, connection, items)
        written += len(items)
    removed = 0
    for gone in list(_without_rows(mapped, connection, batch)):
        removed += remove(mapped, connection, gone)
        # Nobody else writes to the collection by now: what came back meanwhile is there again.
        back = set(_there(mapped, connection, gone))
        if back:
            write(mapped, connection, Rows(changed=back))
    for known in session:
        if isinstance(known, mapped.cls):
            let_go(sa.inspect(known), mapped.name)
    return written, removed


def _pages(mapped: Mapped, connection: sa.Connection, batch: int) -> Iterator[Sequence[Any]]:
    """Yield all rows, in the order of the primary key."""
    statement = mapped.select().order_by(mapped.key).limit(batch)
    rows = connection.execute(statement).all()
    while rows:
        yield rows
        after = mapped.key > rows[-1][0]
        rows = connection.execute(statement.where(after)).all()


def _differing(mapped: Mapped, connection: sa.Connection, rows: Sequence[Any]) -> list[Item]:
    """Return what the collection lacks of these rows, or has otherwise."""
    found = {row[0]: mapped.item(row) for row in rows}
    bare, others = _compared(mapped, connection, found)
    if not bare and not others:
        return []
    # Once more, with nobody changing them: another transaction may have written both, a row and
    # its item, between one statement of ours and the next.
    keys = [*bare, *others]
    _hold_still(mapped, connection, keys)
    again = connection.execute(mapped.select().where(mapped.key.in_(keys)))
    found = {row[0]: mapped.item(row) for row in again}
    bare, others = _compared(mapped, connection, found)
    texts = {key: found[key][0] for key in bare}
    asked = [(mapped.named(key), text) for key, text in texts.items() if text is not None]
    made = embedded(mapped, asked) if asked else {}
    vectors = {key: None if text is None else made[text] for key, text in texts.items()}
    return [Item(key, *found[key], vectors.get(key, Kept.AS_IT_IS)) for key in [*bare, *others]]


def _compared(
    mapped: Mapped, connection: sa.Connection, found: Mapping[Any, _Row]
) -> tuple[set[Any], set[Any]]:
    """Return the rows whose vectors have to be made, and those that differ otherwise."""
    collection = mapped.collection
    items = collection.get(list(found), connection=connection)
    stored = {mapped.as_key(item.id): item for item in items}
    bare: set[Any] = set()
    if mapped.vector.embed is not None:
        where = {"$id": {"$in": [item.id for item in items]}, "$has_vector": False}
        without = {mapped.as_key(one) for one in collection.ids(where, connection=connection)}
        bare = {
            key
            for key, (text, _) in found.items()
            if key not in stored
            or stored[key].document != text
            or (key in without and text is not None)
        }
    others = {
        key
        for key, (text, metadata) in found.items()
        if key not in bare and (key not in stored or _differs(mapped, stored[key], text, metadata))
    }
    return bare, others


def _hold_still(mapped: Mapped, connection: sa.Connection, keys: Sequence[Any]) -> None:
    """Wait for whoever is changing these rows, and let nobody change them until the end."""
    if connection.dialect.name == "sqlite":  # which has one writer, and no lock of rows
        return
    for table in mapped.home.tables:
        if isinstance(table, sa.Table):
            key = next(iter(table.primary_key.columns))
            held = sa.select(key).where(key.in_(keys)).with_for_update(read=True)
            connection.execute(held)


def _differs(
    mapped: Mapped, item: StoredItem, document: str | None, metadata: dict[str, Any]
) -> bool:
    if mapped.vector.document is not None and item.document != document:
        return True
    # By their JSON: True, 1 and 1.0 are equal in Python.
    has, wants = item.metadata or {}, metadata
    return bool(mapped.vector.metadata) and encode_json(has) != encode_json(wants)


def _without_rows(mapped: Mapped, connection: sa.Connection, batch: int) -> Iterator[list[Any]]:
    """Yield ids of the collection for which there is no row."""
    collection = mapped.collection
    ids = collection.ids(limit=batch, connection=connection)
    while ids:
        keys = [mapped.as_key(one) for one in ids]
        there = set(_there(mapped, connection, keys))
        gone = [one for one in ids if mapped.as_key(one) not in there]
        if gone:
            yield gone
        ids = collection.ids(limit=batch, after=ids[-1], connection=connection)


def _there(mapped: Mapped, connection: sa.Connection, ids: Sequence[Any]) -> Iterator[Any]:
    """Yield the primary keys of rows that exist, of these ids."""
    keys = [key for one in ids if (key := mapped.as_key(one)) is not None]
    yield from connection.scalars(mapped.rows(mapped.key).where(mapped.key.in_(keys)))
