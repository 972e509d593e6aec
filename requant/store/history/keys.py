"""Where PostgreSQL's writers draw keys: a sequence a collection, which nobody waits for.

What a sequence has given out it gives out never again, also if the write is rolled back. So a later
key may be committed before an earlier one. Where a role may make no sequence, keys are drawn from
the one that numbers the notes of all writes, which stands wherever that table does.
"""

# ruff: noqa: S608 -- the names are our own
from __future__ import annotations

import contextlib

import sqlalchemy as sa

from requant.store.schema import Tables, key_range

# So many numbers are drawn in half a second, and by nobody in a moment.
_DRAWN = 1_000_000


def source_of(tables: Tables, collection: int) -> str:
    """Return the sequence of a collection's own, as SQL."""
    return tables.quoted(f"keys_{collection}")


def common_source(connection: sa.Connection, tables: Tables) -> str:
    """Return the sequence that collections without one of their own draw from, as SQL."""
    named = sa.func.pg_get_serial_sequence(tables.quoted("writes"), "id")
    return str(connection.scalar(sa.select(named)))


def make(connection: sa.Connection, tables: Tables, collection: int, after: int) -> None:
    """Let a collection draw keys of its own, from the key `after` on.

    From the common sequence where this role may make none: its keys are then further apart.
    """
    if connection.dialect.name == "postgresql":
        own = _made(connection, tables, collection)
        name = source_of(tables, collection) if own else common_source(connection, tables)
        skip(connection, name, after - key_range(collection)[0])
        table = tables.collections
        update = sa.update(table).where(table.c.id == collection)
        connection.execute(update.values(own_keys=own))


def make_missing(connection: sa.Connection, tables: Tables, *, create: bool = True) -> None:
    """Let every collection draw keys: one that was made by an older requant, or restored.

    Without `create` from what is there.
    """
    if connection.dialect.name != "postgresql":
        return
    c = tables.collections.c
    for number, next_key in connection.execute(sa.select(c.id, c.next_key)).all():
        if create:
            make(connection, tables, number, next_key)
        else:
            count = next_key - key_range(number)[0]
            skip(connection, common_source(connection, tables), count)


def drop(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Remove the sequence of a collection that is dropped; that of another role's stays."""
    if connection.dialect.name == "postgresql":
        with contextlib.suppress(sa.exc.ProgrammingError), connection.begin_nested():
            name = source_of(tables, collection)
            connection.execute(sa.text(f"DROP SEQUENCE IF EXISTS {name}"))


def skip(connection: sa.Connection, name: str, count: int) -> None:
    """Let a sequence go on from `count`, unless it has come further.

    Others may draw from it meanwhile, and it must not be set back behind them: what is between is
    drawn, if it is no more than others might draw in the moment between a look and `setval`. So a
    role that may only draw from it can do as much.
    """
    if not count:
        return
    come = sa.text(f"SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {name}")
    between = count - int(connection.execute(come).scalar_one())
    if 0 < between <= _DRAWN:
        draw = sa.text("SELECT count(nextval(CAST(:name AS regclass))) FROM generate_series(1, :n)")
        connection.execute(draw, {"name": name, "n": between})
    elif between > 0:
        text = (
            "SELECT setval(CAST(:name AS regclass), :count, false) FROM "
            f"{name} WHERE last_value + CASE WHEN is_called THEN 1 ELSE 0 END < :count"
        )
        connection.execute(sa.text(text), {"name": name, "count": count})


def _made(connection: sa.Connection, tables: Tables, collection: int) -> bool:
    """Make a sequence that goes with the tables, for whoever may write to them; or say no."""
    name = source_of(tables, collection)
    owner = f"{tables.quoted('collections')}.{tables.collections.c.next_key.name}"
    text = f"CREATE SEQUENCE IF NOT EXISTS {name} MINVALUE 0 START 0 OWNED BY {owner}"
    try:
        with connection.begin_nested():
            connection.execute(sa.text(text))
            for role in _writers(connection, tables):
                connection.execute(sa.text(f"GRANT USAGE ON SEQUENCE {name} TO {role}"))
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False  # it may make nothing in this schema, or does not own the table
    return True


def _writers(connection: sa.Connection, tables: Tables) -> list[str]:
    """Return who may add items, besides the owner of the table, as SQL."""
    text = sa.text(
        "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' "
        "ELSE quote_ident(pg_get_userbyid(a.grantee)) END "
        "FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a "
        "WHERE c.oid = CAST(:name AS regclass) AND a.privilege_type = 'INSERT' "
        "AND a.grantee <> c.relowner"
    )
    return list(connection.execute(text, {"name": tables.quoted("items")}).scalars())
