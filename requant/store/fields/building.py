"""Fields indexed over items that are there already: a share at a time, while others go on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from requant.errors import (
    ExistsError,
    InputError,
    StoreError,
    UnknownCollectionError,
    UnknownFieldError,
    UnsupportedError,
)
from requant.filters import field_path
from requant.store import gate
from requant.store.fields.definitions import DATETIME, ITEMS, Field, find, load
from requant.store.fields.upkeep import Upkeep
from requant.store.schema import CollectionRow, Tables, key_range

if TYPE_CHECKING:
    from requant.store.engine import Store

MOST_FIELDS = 64
# Items that are listed in one transaction: others wait for it some tens of milliseconds.
_BATCH = 4096
# The share of the time that is left to others who write: SQLite has no queue.
_PAUSE = 0.2

Progress = Callable[[int, int], None]


def check_field(name: object, kind: object) -> str:
    """Return the name of a field that can be indexed; raises FilterError, InputError."""
    if kind not in (None, DATETIME):
        raise InputError(f"kind must be {DATETIME!r} or None, not {kind!r}")
    field_path(name)
    text = str(name)
    if len(text.encode()) > 1000:
        raise InputError(f"field {text[:80]!r}...: a name that is indexed has at most 1000 bytes")
    return text


def check_fields(names: Iterable[object]) -> list[str]:
    """Return names of fields, each once; raises FilterError, InputError."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f'index_fields is a list of fields such as ["lang"], not {names!r:.80}')
    found = list(dict.fromkeys(check_field(name, None) for name in names))
    if len(found) > MOST_FIELDS:
        raise InputError(_too_many())
    return found


def index_field(
    store: Store, owner: CollectionRow, name: str, kind: str | None, progress: Progress | None
) -> None:
    """Index a field and return when filters use it; goes on with what was interrupted.

    Raises ExistsError where the field is indexed as another kind, StoreError where an older requant
    writes meanwhile.
    """
    with store.writing(turn=owner.id) as connection:
        _take_turn(connection, store, owner, alone=True)
        _check_encoding(connection)
        _note(connection, store.tables, owner, name, kind)
    ready = False
    while not ready:
        ready, done, total = _build_some(store, owner, name)
        if progress is not None and total:
            progress(done, total)


def note_fields(
    connection: sa.Connection, tables: Tables, collection: int, names: Sequence[str]
) -> None:
    """Index fields of a collection that is being made: nothing has to be built."""
    for name in (ITEMS, *names) if names else ():
        _insert(connection, tables, collection, name, None, ready=True)
    if names:
        _check_encoding(connection)
        _renumber(connection, tables, collection, in_step=True)


def unindex_field(store: Store, owner: CollectionRow, name: str) -> None:
    """Forget a field; raises UnknownFieldError."""
    tables = store.tables
    with store.writing(turn=owner.id) as connection:
        _take_turn(connection, store, owner, alone=True)
        fields = load(connection, tables, owner.id)
        field = find(fields, name)
        if field is None or name == ITEMS:
            have = ", ".join(repr(one.name) for one in fields if one.name) or "none"
            raise UnknownFieldError(
                f"field {name[:80]!r} of collection {owner.name!r} is not indexed; there is: {have}"
            )
        gone = [one for one in fields if one is field or len(fields) == 2]
        _remove(connection, tables, [one.id for one in gone])
        _renumber(connection, tables, owner.id, some=len(gone) < len(fields))


def drop_fields(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Remove all fields of a collection that is dropped."""
    _remove(connection, tables, [field.id for field in load(connection, tables, collection)])


def _take_turn(
    connection: sa.Connection, store: Store, owner: CollectionRow, *, alone: bool = False
) -> None:
    """Wait for the collection's row; nothing that an index follows has changed.

    `alone`: in PostgreSQL nobody writes to the collection then, so that who writes later knows of
    the fields as they are to be. All that was committed is listed.
    """
    c = store.tables.collections.c
    if alone and store.sql.name == "postgresql":
        gate.alone(connection, store.tables, owner.id)
        # FOR UPDATE, though no key is to change: who writes takes the row FOR KEY SHARE, which
        # nothing less bars, or makes look at it anew. Whoever has waited at the gate, with an older
        # snapshot, would keep the fields as they were before.
        row = sa.select(c.id).where(c.id == owner.id, c.name == owner.name).with_for_update()
        found = connection.execute(row).one_or_none() is not None
    else:
        at = sa.and_(c.id == owner.id, c.name == owner.name)
        update = sa.update(store.tables.collections).where(at)
        found = bool(connection.execute(update.values(fields=c.fields)).rowcount)
    if not found:
        raise UnknownCollectionError.gone(owner.name)
    if store.sql.name == "postgresql":
        store.numbering.all(connection, owner.id)


def _note(
    connection: sa.Connection, tables: Tables, owner: CollectionRow, name: str, kind: str | None
) -> None:
    fields = load(connection, tables, owner.id)
    field = find(fields, name)
    if field is not None and field.kind != kind:
        raise ExistsError(
            f"field {name[:80]!r} is indexed already, with kind={field.kind!r}: unindex_field it "
            "first"
        )
    if not _in_step(connection, tables, owner):
        _start_again(connection, tables, owner, fields)
    elif field is not None:
        return
    if field is None:
        if len(fields) > MOST_FIELDS:
            raise InputError(_too_many())
        for one in (name,) if fields else (ITEMS, name):
            _insert(connection, tables, owner.id, one, kind if one else None, ready=False)
    _renumber(connection, tables, owner.id, in_step=True)


def _in_step(connection: sa.Connection, tables: Tables, owner: CollectionRow) -> bool:
    """Whether nobody has written to what is indexed who does not know of fields."""
    c = tables.collections.c
    state = sa.select(c.fields, c.seq, c.fields_at).where(c.id == owner.id)
    number, seq, kept = connection.execute(state).one()
    return number is None or seq == kept


def _check_encoding(connection: sa.Connection) -> None:
    """Refuse a database of SQLite in UTF-16: it takes bytes for other texts than those we keep."""
    if connection.dialect.name == "sqlite":
        encoding = connection.exec_driver_sql("PRAGMA encoding").scalar()
        if encoding != "UTF-8":
            raise UnsupportedError(
                f"fields cannot be indexed in a database of SQLite whose encoding is {encoding}: "
                "keep the collection in a database of its own, where it is UTF-8"
            )


def _too_many() -> str:
    return f"at most {MOST_FIELDS} fields of a collection can be indexed"


def _insert(
    connection: sa.Connection,
    tables: Tables,
    collection: int,
    name: str,
    kind: str | None,
    *,
    ready: bool,
) -> None:
    first, _ = key_range(collection)
    values = {"collection_id": collection, "name": name, "kind": kind}
    insert = sa.insert(tables.fields).values(**values, ready=ready, built=first)
    connection.execute(insert)


def _start_again(
    connection: sa.Connection, tables: Tables, owner: CollectionRow, fields: Sequence[Field]
) -> None:
    f, v = tables.fields.c, tables.values.c
    first, _ = key_range(owner.id)
    connection.execute(sa.delete(tables.values).where(v.field_id.in_([one.id for one in fields])))
    again = sa.update(tables.fields).where(f.collection_id == owner.id)
    connection.execute(again.values(ready=False, built=first))


def _remove(connection: sa.Connection, tables: Tables, numbers: list[int]) -> None:
    f, v = tables.fields.c, tables.values.c
    connection.execute(sa.delete(tables.values).where(v.field_id.in_(numbers)))
    connection.execute(sa.delete(tables.fields).where(f.id.in_(numbers)))


def _renumber(
    connection: sa.Connection,
    tables: Tables,
    collection: int,
    *,
    some: bool = True,
    in_step: bool = False,
) -> None:
    """Let everybody who writes or reads from now on look at the fields again.

    `in_step`: all that is listed is right as of now; else that is as true as it was before.
    """
    c = tables.collections.c
    number = secrets.randbelow(1 << 62) + 1 if some else None
    seq = c.seq if in_step else c.fields_at
    update = sa.update(tables.collections).where(c.id == collection)
    connection.execute(update.values(fields=number, fields_at=seq))


def _build_some(store: Store, owner: CollectionRow, name: str) -> tuple[bool, int, int]:
    """List some more items; return whether all is ready, and how far of how far it has come."""
    tables, (first, end) = store.tables, key_range(owner.id)
    begun = time.perf_counter()
    with store.writing(turn=owner.id) as connection:
        _take_turn(connection, store, owner)
        fields = load(connection, tables, owner.id)
        field = find(fields, name)
        if field is None:
            raise UnknownFieldError(f"field {name[:80]!r} was unindexed while it was built")
        if not _in_step(connection, tables, owner):
            raise StoreError(
                f"collection {owner.name!r} was written to by an older requant while field "
                f"{name[:80]!r} was built: it keeps no field in step; index_field it again when "
                "that process has ended"
            )
        if field.ready:
            return True, 0, 0
        building = [one for one in fields if not one.ready]
        rows = _items(connection, tables, min(one.built for one in building), end)
        Upkeep(connection, store.sql, first, building).list_those(rows)
        # Who adds an item meanwhile, or has not been numbered yet, notes what it is listed under.
        ready = len(rows) < _BATCH
        upto = end if ready else rows[-1][0] + 1
        f = tables.fields.c
        numbers = [one.id for one in building if one.built < upto]
        update = sa.update(tables.fields).where(f.id.in_(numbers))
        connection.execute(update.values(built=upto))
        c = tables.collections.c
        total = connection.scalar(sa.select(c.next_key).where(c.id == owner.id)) or first
    if ready:
        _finish(store, owner)
    else:
        time.sleep((time.perf_counter() - begun) * _PAUSE)
    return ready, min(upto, total) - first, total - first


def _finish(store: Store, owner: CollectionRow) -> None:
    """Let filters use the fields all of whose items are listed, unless they are out of step."""
    tables, (_, end) = store.tables, key_range(owner.id)
    f = tables.fields.c
    with store.writing(turn=owner.id) as connection:
        # Who writes says which fields it knows of, and is not to be taken for an older requant.
        _take_turn(connection, store, owner, alone=True)
        done = sa.and_(f.collection_id == owner.id, f.built == end, sa.not_(f.ready))
        made = connection.execute(sa.update(tables.fields).where(done).values(ready=True)).rowcount
        if made and _in_step(connection, tables, owner):
            _renumber(connection, tables, owner.id)


def _items(
    connection: sa.Connection, tables: Tables, first: int, end: int
) -> list[tuple[Any, Any]]:
    i = tables.items.c
    select = sa.select(i.key, i.metadata).where(i.key >= first, i.key < end)
    return [tuple(row) for row in connection.execute(select.order_by(i.key).limit(_BATCH))]
