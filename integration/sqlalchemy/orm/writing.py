"""Rows that have been written, into their collection, within the same transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import sqlalchemy as sa

from requant.errors import InputError, RequantError
from requant.inputs import check_ids, metadata_text
from requant.integration.sqlalchemy.orm.embedding import embedded
from requant.integration.sqlalchemy.orm.errors import about
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.quantizers.arrays import Float32s

# Rows that are read at a time: their keys are parameters of one statement.
_AT_ONCE = 1000


class Kept(Enum):
    """What a row says of its vector that says nothing of it."""

    AS_IT_IS = "as it is"


# The vector that a row is to have, None for none.
Given = Float32s | None


@dataclass
class Rows:
    """Rows of one class that have been written through one connection, by primary key."""

    given: dict[Any, Given] = field(default_factory=dict)  # vectors that were assigned
    new: set[Any] = field(default_factory=set)  # whatever the collection has of them is not theirs
    changed: set[Any] = field(default_factory=set)
    moved: dict[Any, Any] = field(default_factory=dict)  # from the key before to the one now
    removed: set[Any] = field(default_factory=set)

    @property
    def present(self) -> list[Any]:
        """The keys of all that has been put, each once."""
        return list(dict.fromkeys([*self.new, *self.changed, *self.given, *self.moved.values()]))


class Item(NamedTuple):
    """A row as its collection is to hold it."""

    key: Any
    document: str | None
    metadata: dict[str, Any]
    vector: Given | Kept


def write(
    mapped: Mapped,
    connection: sa.Connection,
    rows: Rows,
    known: Mapping[str, Float32s] | None = None,
) -> dict[Any, Float32s | None]:
    """Put what the database has of these rows, and remove those that are gone.

    Documents and metadata are read again: a session may know older ones. `known` are vectors of
    documents that have been made already.

    Returns:
        The vectors that were written, by primary key.

    Raises what is wrong with a row, with its name.
    """
    carried = _carried(mapped, connection, rows)
    present, written = rows.present, dict[Any, Float32s | None]()
    gone = (rows.removed | set(rows.moved)) - set(present)
    for start in range(0, len(present), _AT_ONCE):
        part = present[start : start + _AT_ONCE]
        items = _items(mapped, connection, part, rows, carried, known or {})
        gone.update(set(part) - {item.key for item in items})
        put(mapped, connection, items)
        written.update(
            (item.key, item.vector) for item in items if item.vector is not Kept.AS_IT_IS
        )
    if gone:
        remove(mapped, connection, list(gone))
    return written


def put(mapped: Mapped, connection: sa.Connection, items: Sequence[Item]) -> None:
    """Store items: those with a vector, or none, and those whose vector stays as it is."""
    said = [item for item in items if item.vector is not Kept.AS_IT_IS]
    unsaid = [item for item in items if item.vector is Kept.AS_IT_IS]
    given: list[Any] = [item.vector for item in said]
    for some, vectors in ((said, given), (unsaid, None)):
        if not some:
            continue
        try:
            mapped.collection.upsert(
                [item.key for item in some],
                vectors,
                [item.document for item in some] if mapped.vector.document is not None else None,
                [item.metadata for item in some] if mapped.vector.metadata else None,
                connection=connection,
            )
        except RequantError as error:
            raise _named(mapped, some, error) from error


def remove(mapped: Mapped, connection: sa.Connection, keys: Sequence[Any]) -> int:
    """Remove rows from the collection, and return how many it had."""
    try:
        return mapped.collection.delete(keys, connection=connection)
    except RequantError as error:
        raise about(mapped.title, error) from error


def _items(
    mapped: Mapped,
    connection: sa.Connection,
    keys: Sequence[Any],
    rows: Rows,
    carried: Mapping[Any, tuple[str | None, Given]],
    known: Mapping[str, Float32s],
) -> list[Item]:
    statement = mapped.select().where(mapped.key.in_(keys))
    found = {row[0]: mapped.item(row) for row in connection.execute(statement)}
    _check_keys(mapped, keys, found)
    stays = _unchanged(mapped, connection, [key for key in found if key not in rows.new], found)
    vectors = {key: rows.given[key] for key in found if key in rows.given}
    for key in found.keys() & carried.keys() - vectors.keys():
        document, vector = carried[key]
        if mapped.vector.embed is None or document == found[key][0]:
            vectors[key] = vector
    if mapped.vector.embed is not None:
        asked = {key: found[key][0] for key in found.keys() - vectors.keys() - stays}
        vectors.update(_made(mapped, asked, known))
    for key in (found.keys() & rows.new) - vectors.keys():
        vectors[key] = None
    return [Item(key, *known, vectors.get(key, Kept.AS_IT_IS)) for key, known in found.items()]


def _check_keys(mapped: Mapped, keys: Iterable[Any], found: Iterable[Any]) -> None:
    """Refuse a primary key that comes back as another value: it would be two ids."""
    known = set(keys)
    other = next((key for key in found if key not in known), None)
    if other is not None:
        raise InputError(
            f"{mapped.named(other)}: the database gives this primary key back for one that is "
            "written otherwise (padding, case): write it as it is stored"
        )


def _made(
    mapped: Mapped, documents: Mapping[Any, str | None], known: Mapping[str, Float32s]
) -> Iterator[tuple[Any, Given]]:
    """Yield the vectors that documents have now; a row without one has none."""
    fresh = [
        (mapped.named(key), text)
        for key, text in documents.items()
        if text is not None and text not in known
    ]
    vectors = embedded(mapped, fresh) if fresh else {}
    for key, text in documents.items():
        if text is None:
            yield key, None
        else:
            yield key, known[text] if text in known else vectors[text]


def _unchanged(
    mapped: Mapped,
    connection: sa.Connection,
    keys: Iterable[Any],
    found: Mapping[Any, tuple[str | None, dict[str, Any]]],
) -> set[Any]:
    """Return the rows whose document is the one that the collection holds."""
    keys = list(keys)
    if mapped.vector.embed is None or not keys:
        return set()
    items = mapped.collection.get(keys, connection=connection)
    stored = {mapped.as_key(item.id): item.document for item in items}
    return {key for key in keys if key in stored and stored[key] == found[key][0]}


def _carried(
    mapped: Mapped, connection: sa.Connection, rows: Rows
) -> dict[Any, tuple[str | None, Given]]:
    """Return documents and vectors of rows whose primary key has changed, by the one they have now.

    A trigger may have renamed them by now: then there is nothing to carry.
    """
    if not rows.moved:
        return {}
    items = mapped.collection.get(list(rows.moved), vectors=True, connection=connection)
    found = {mapped.as_key(item.id): item for item in items}
    return {
        now: (found[before].document, found[before].vector)
        for before, now in rows.moved.items()
        if before in found
    }


def _named(mapped: Mapped, items: Sequence[Item], error: RequantError) -> RequantError:
    """Return the error with the name of the row that was refused."""
    for item in items:
        try:
            check_ids([item.key])
            metadata_text(item.metadata)
        except RequantError as found:
            return about(mapped.named(item.key), found)
    for item in items:
        if item.document is not None and "\0" in item.document:
            return about(mapped.named(item.key), error)
    return about(mapped.title, error)
