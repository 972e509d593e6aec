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
from requant.integration.sqlalchemy.orm.writing import Given, Item, put, remove
from requant.store import Item as StoredItem


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
    removed = sum(
        remove(mapped, connection, part) for part in list(_without_rows(mapped, connection, batch))
    )
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
    collection = mapped.collection
    found = {row[0]: mapped.item(row) for row in rows}
    items = collection.get(list(found), connection=connection)
    stored = {mapped.as_key(item.id): item for item in items}
    vectors: dict[Any, Given] = {}
    if mapped.vector.embed is not None:
        bare = collection.ids(
            {"$id": {"$in": [item.id for item in items]}, "$has_vector": False},
            connection=connection,
        )
        without = {mapped.as_key(one) for one in bare}
        vectors = _made(mapped, found, stored, without)
    return [
        Item(key, document, metadata, vectors.get(key))
        for key, (document, metadata) in found.items()
        if key in vectors or key not in stored or _differs(mapped, stored[key], document, metadata)
    ]


def _made(
    mapped: Mapped,
    found: Mapping[Any, tuple[str | None, dict[str, Any]]],
    stored: Mapping[Any, StoredItem],
    without: set[Any],
) -> dict[Any, Given]:
    """Return the vectors of documents that are new, changed, or have none."""
    lacking = {
        key: text
        for key, (text, _) in found.items()
        if key not in stored
        or stored[key].document != text
        or (key in without and text is not None)
    }
    texts = [(mapped.named(key), text) for key, text in lacking.items() if text is not None]
    made = embedded(mapped, texts) if texts else {}
    return {key: Given(None if text is None else made[text]) for key, text in lacking.items()}


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
        keys = {mapped.as_key(one): one for one in ids}
        known = [key for key in keys if key is not None]
        rows = connection.execute(sa.select(mapped.key).where(mapped.key.in_(known)))
        there = {row[0] for row in rows}
        gone = [one for one in ids if mapped.as_key(one) not in there]
        if gone:
            yield gone
        ids = collection.ids(limit=batch, after=ids[-1], connection=connection)
