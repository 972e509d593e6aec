"""Triggers: rows that go without a session knowing take their items with them.

A cascade in the database, a statement of Core, SQL typed by hand, another program: the trigger
removes the items in the transaction that deletes the rows, and gives them the new id where a
primary key is changed. It makes no vectors: what is inserted or changed so is for `sync`.
"""

# ruff: noqa: S608 (names of tables and columns, quoted by SQLAlchemy, and no values)
from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError, UnsupportedError
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.store import (
    Deleting,
    postgresql_clear,
    postgresql_deletes,
    postgresql_variables,
    sqlite_deletes,
)


def follow_deletes(connection: Any, field: Any) -> None:
    """Let the database remove items with their rows, whoever deletes these, from the commit on.

    Makes triggers on the table of the class, or makes them anew; `unfollow_deletes` drops them.
    What REPLACE deletes in SQLite, no trigger is told of unless `PRAGMA recursive_triggers` is on.

    Args:
        connection: a Connection or Session to the database; its transaction decides.
        field: the Vector on its class: `Article.embedding`.

    Raises InputError, UnboundError; UnsupportedError for a primary key that is stored in a form of
    its own.
    """
    mapped, connection = _mapped(field), _connection(connection)
    _run(connection, _dropped(connection, mapped))
    make = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    _run(connection, make(connection, mapped, mapped.collection.deleting(connection)))


def unfollow_deletes(connection: Any, field: Any) -> None:
    """Drop what `follow_deletes` has made; harmless where there is nothing."""
    connection = _connection(connection)
    _run(connection, _dropped(connection, _mapped(field)))


def _sqlite(connection: sa.Connection, mapped: Mapped, deleting: Deleting) -> list[str]:
    table, column = _table(mapped), _column(connection, mapped)
    deleted, updated = _names(mapped)
    old, new = (_text(mapped, f"{row}.{column}", sqlite=True) for row in ("OLD", "NEW"))
    turn = [deleting.turn("lower(hex(randomblob(8)))"), *deleting.note_run()]
    on = _format(connection, table)
    remove = [*turn, *sqlite_deletes(deleting, old)]
    rename = [*turn, *sqlite_deletes(deleting, new), deleting.rename(old, new)]
    return [
        f"CREATE TRIGGER {deleted} AFTER DELETE ON {on} FOR EACH ROW "
        f"WHEN {deleting.exists(old)} BEGIN {'; '.join(remove)}; END",
        f"CREATE TRIGGER {updated} AFTER UPDATE OF {column} ON {on} FOR EACH ROW "
        f"WHEN {old} <> {new} AND {deleting.exists(old)} BEGIN {'; '.join(rename)}; END",
    ]


def _postgresql(connection: sa.Connection, mapped: Mapped, deleting: Deleting) -> list[str]:
    table, column = _table(mapped), _column(connection, mapped)
    deleted, updated = _names(mapped)
    on = _format(connection, table)
    old, new = (_text(mapped, f"{row}.{column}", sqlite=False) for row in ("OLD", "NEW"))
    gone = _text(mapped, f"gone.{column}", sqlite=False)
    delete = f"""
    ids := ARRAY(SELECT {gone} FROM gone);{postgresql_deletes(deleting)}"""
    rename = f"""
    IF {deleting.exists(old)} THEN
        ids := ARRAY[{new}];{postgresql_deletes(deleting)}
        {deleting.rename(old, new)};
    END IF;"""
    call = "EXECUTE FUNCTION"
    return [
        _function(deleted, deleting, delete),
        _function(updated, deleting, rename),
        _function(f"{deleted}_all", deleting, postgresql_clear(deleting)),
        f"CREATE TRIGGER {deleted} AFTER DELETE ON {on} REFERENCING OLD TABLE AS gone "
        f"FOR EACH STATEMENT {call} {deleted}()",
        f"CREATE TRIGGER {updated} AFTER UPDATE OF {column} ON {on} FOR EACH ROW "
        f"WHEN (OLD.{column} <> NEW.{column}) {call} {updated}()",
        f"CREATE TRIGGER {deleted}_all AFTER TRUNCATE ON {on} "
        f"FOR EACH STATEMENT {call} {deleted}_all()",
    ]


def _function(name: str, deleting: Deleting, body: str) -> str:
    # The tables are found where they are found now, whatever the search path of who deletes.
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT "
        f"AS $requant$ DECLARE{postgresql_variables(deleting)}\nBEGIN{body}\n    RETURN NULL;\n"
        "END $requant$"
    )


def _dropped(connection: sa.Connection, mapped: Mapped) -> list[str]:
    deleted, updated = _names(mapped)
    if connection.dialect.name == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in (deleted, updated)]
    names = (deleted, updated, f"{deleted}_all")
    return [f"DROP FUNCTION IF EXISTS {name}() CASCADE" for name in names]


def _names(mapped: Mapped) -> tuple[str, str]:
    """Return what the triggers are called: short, and of this table and collection alone."""
    of = f"{_table(mapped).fullname} {mapped.collection.name}"
    digest = hashlib.sha256(of.encode()).hexdigest()[:16]
    return f"requant_deleted_{digest}", f"requant_renamed_{digest}"


def _table(mapped: Mapped) -> sa.Table:
    table = mapped.home.local_table
    if not isinstance(table, sa.Table):
        raise InputError(f"{mapped.title}: a trigger stands on a table, not on {table!r:.80}")
    return table


def _key(mapped: Mapped) -> Any:
    """Return the column of the primary key, of a joined subclass that of its own table."""
    return next(iter(_table(mapped).primary_key.columns))


def _column(connection: sa.Connection, mapped: Mapped) -> str:
    return _undoubled(
        connection, connection.dialect.identifier_preparer.format_column(_key(mapped))
    )


def _format(connection: sa.Connection, table: sa.Table) -> str:
    return _undoubled(connection, connection.dialect.identifier_preparer.format_table(table))


def _undoubled(connection: sa.Connection, name: str) -> str:
    """Return a name as it is where a driver looks for no parameters."""
    doubles = "%%" in connection.dialect.identifier_preparer.quote_identifier("%")
    return name.replace("%%", "%") if doubles else name


def _text(mapped: Mapped, value: str, *, sqlite: bool) -> str:
    """Return the SQL of the id that stands for a primary key."""
    kind = _key(mapped).type
    converts = sa.types.TypeDecorator.process_bind_param
    if isinstance(kind, sa.types.TypeDecorator):
        if type(kind).process_bind_param is not converts:
            raise UnsupportedError(
                f"{mapped.title}: {type(kind).__name__} stores primary keys in a form that SQL "
                "alone does not know: use sync() after deletes that no session sees"
            )
        kind = kind.impl_instance
    if sqlite and isinstance(kind, sa.Uuid):
        return _dashed(f"lower({value})")
    return f"CAST({value} AS TEXT)"


def _dashed(digits: str) -> str:
    parts = [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]
    return "(" + " || '-' || ".join(f"substr({digits}, {at}, {n})" for at, n in parts) + ")"


def _mapped(field: Any) -> Mapped:
    mapped = getattr(field, "mapped", None)
    if not isinstance(mapped, Mapped):
        raise InputError(f"give the Vector on its class, such as Article.embedding, not {field!r}")
    return mapped


def _connection(given: Any) -> sa.Connection:
    connection = given if isinstance(given, sa.Connection) else None
    if connection is None and hasattr(given, "get_bind"):
        connection = given.connection()
    if not isinstance(connection, sa.Connection):
        raise InputError(
            f"a Connection or Session is needed, not {type(given).__name__}: of asynchronous ones, "
            "await session.run_sync(...)"
        )
    return connection


def _run(connection: sa.Connection, statements: list[str]) -> None:
    for statement in statements:
        # A percent sign is one.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
