"""Triggers: rows that go without a session knowing take their items with them.

A cascade in the database, a statement of Core, SQL typed by hand, another program: the trigger
removes the items in the transaction that deletes the rows, and gives them the new id where a
primary key is changed. It makes no vectors: what is inserted or changed so is for `sync`.
"""

# ruff: noqa: S608 (names of tables and columns, quoted by SQLAlchemy, and no values)
from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError, UnsupportedError
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.store import (
    POSTGRESQL_VARIABLES,
    Deleting,
    postgresql_clear,
    postgresql_deletes,
    postgresql_renames,
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
    mapped.collection.ids(limit=1, connection=connection)  # which is refused for another database
    at = _at(connection, mapped)
    _run(connection, _dropped(at))
    _run(connection, (_sqlite if at.sqlite else _postgresql)(mapped, at))


def unfollow_deletes(connection: Any, field: Any) -> None:
    """Drop what `follow_deletes` has made; harmless where there is nothing."""
    connection = _connection(connection)
    _run(connection, _dropped(_at(connection, _mapped(field))))


@dataclass(frozen=True)
class _At:
    """Where the triggers of one table and one collection are, and what they are called, as SQL.

    Both may be there several times in one database: tenants in schemas, sets of requant's tables.
    """

    sqlite: bool
    deleting: Deleting
    on: str
    digest: str

    @property
    def deleted(self) -> str:
        """The trigger of deleted rows."""
        return f"requant_deleted_{self.digest}"

    @property
    def renamed(self) -> str:
        """The trigger of primary keys that are changed."""
        return f"requant_renamed_{self.digest}"

    def function(self, name: str) -> str:
        """Return the function of a trigger of PostgreSQL: it stands beside requant's tables."""
        schema = self.deleting.tables.schema
        return name if schema is None else f"{_quoted(schema)}.{name}"


def _at(connection: sa.Connection, mapped: Mapped) -> _At:
    deleting, table = mapped.collection.deleting(), _table(mapped)
    sqlite = connection.dialect.name == "sqlite"
    schema = connection.schema_for_object(table)
    if sqlite and schema not in (None, "main"):
        raise UnsupportedError(
            f"{mapped.title}: a trigger of SQLite reaches one file, and {table.name} is in one "
            f"that is attached as {schema!r}: use sync() after deletes that no session sees"
        )
    on = _quoted(table.name)
    if not sqlite:
        on = on if schema is None else f"{_quoted(schema)}.{on}"
        schema, deferrable = _found(connection, on) or (schema, False)
        if deferrable:
            raise UnsupportedError(
                f"{mapped.title}: the primary key of {table.name} is DEFERRABLE, so that one "
                "statement may exchange keys, which no trigger can tell apart: use sync() after "
                "deletes that no session sees"
            )
    tables = deleting.tables
    of = [schema or "", table.name, tables.schema or "", tables.prefix, deleting.name]
    digest = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
    return _At(sqlite, deleting, on, digest)


def _found(connection: sa.Connection, table: str) -> Any:
    """Return the schema of a table, where the search path finds it, and whether keys may clash."""
    statement = """
        SELECT c.relnamespace::regnamespace::text, EXISTS (SELECT 1 FROM pg_constraint AS p
            WHERE p.conrelid = c.oid AND p.contype = 'p' AND p.condeferrable)
        FROM pg_class AS c WHERE c.oid = to_regclass(:table)"""
    return connection.execute(sa.text(statement), {"table": table}).first()


def _sqlite(mapped: Mapped, at: _At) -> list[str]:
    deleting, column = at.deleting, _quoted(_key(mapped).name)
    old, new = (_text(mapped, f"{row}.{column}", sqlite=True) for row in ("OLD", "NEW"))
    turn = [deleting.turn("lower(hex(randomblob(8)))"), *deleting.note_run()]
    remove = [*turn, *sqlite_deletes(deleting, old)]
    rename = [*turn, *sqlite_deletes(deleting, new), deleting.rename(old, new)]
    return [
        f"CREATE TRIGGER {at.deleted} AFTER DELETE ON {at.on} FOR EACH ROW "
        f"WHEN {deleting.exists(old)} BEGIN {'; '.join(remove)}; END",
        f"CREATE TRIGGER {at.renamed} AFTER UPDATE OF {column} ON {at.on} FOR EACH ROW "
        f"WHEN {old} <> {new} AND {deleting.exists(old)} BEGIN {'; '.join(rename)}; END",
    ]


def _postgresql(mapped: Mapped, at: _At) -> list[str]:
    deleting, column, on = at.deleting, _quoted(_key(mapped).name), at.on
    old, new = (_text(mapped, f"{row}.{column}", sqlite=False) for row in ("OLD", "NEW"))
    gone = _text(mapped, f"gone.{column}", sqlite=False)
    delete = f"""
    ids := ARRAY(SELECT {gone} FROM gone);{postgresql_deletes(deleting)}"""
    emptied = f"{at.deleted}_all"
    deletes, renames, empties = map(at.function, (at.deleted, at.renamed, emptied))
    call = "EXECUTE FUNCTION"
    return [
        _function(deletes, delete),
        _function(renames, postgresql_renames(deleting, old, new)),
        _function(empties, postgresql_clear(deleting)),
        f"CREATE TRIGGER {at.deleted} AFTER DELETE ON {on} REFERENCING OLD TABLE AS gone "
        f"FOR EACH STATEMENT {call} {deletes}()",
        f"CREATE TRIGGER {at.renamed} AFTER UPDATE OF {column} ON {on} FOR EACH ROW "
        f"WHEN (OLD.{column} <> NEW.{column}) {call} {renames}()",
        f"CREATE TRIGGER {emptied} AFTER TRUNCATE ON {on} FOR EACH STATEMENT {call} {empties}()",
    ]


def _function(name: str, body: str) -> str:
    # The tables are found where they are found now, whatever the search path of who deletes.
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT "
        f"AS $requant$ DECLARE{POSTGRESQL_VARIABLES}\nBEGIN{body}\n    RETURN NULL;\n"
        "END $requant$"
    )


def _dropped(at: _At) -> list[str]:
    names = (at.deleted, at.renamed, f"{at.deleted}_all")
    if at.sqlite:
        return [f"DROP TRIGGER IF EXISTS {name}" for name in names]
    return [f"DROP FUNCTION IF EXISTS {at.function(name)}() CASCADE" for name in names]


def _table(mapped: Mapped) -> sa.Table:
    table = mapped.home.local_table
    if not isinstance(table, sa.Table):
        raise InputError(f"{mapped.title}: a trigger stands on a table, not on {table!r:.80}")
    return table


def _key(mapped: Mapped) -> Any:
    """Return the column of the primary key, of a joined subclass that of its own table."""
    return next(iter(_table(mapped).primary_key.columns))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
