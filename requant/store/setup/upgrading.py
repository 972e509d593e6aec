"""Tables made where they are missing, and brought up to date from an older schema."""

from __future__ import annotations

import shlex

import sqlalchemy as sa

from requant.errors import StoreError
from requant.store.connections import raw_of
from requant.store.history import make_missing_keys
from requant.store.schema import PREFIX, SCHEMA_VERSION, Tables, add_missing, missing
from requant.store.setup.others import hint_of_others

_LOCK = 0x7265_7175_616E_7401  # "requant", and 1
_OLDER = ("1", "2", "3", "4", "5")  # those that lack nothing but tables and columns


def prepare(engine: sa.Engine, tables: Tables, *, create: bool) -> None:
    """See that the tables are there and of this version.

    Without `create` nothing is made: what lacks nothing is only noted to be of this version, since
    an application's own migrations make tables and no rows.

    Raises StoreError that names the command.
    """
    with engine.connect() as connection:
        found = version_of(connection, tables)
        if found == str(SCHEMA_VERSION):
            return
        _check_known(connection, found)
        absent = missing(tables, connection) if not create else []
        others = hint_of_others(connection, tables) if absent and found is None else ""
    if absent:
        raise StoreError(_command(engine, tables, found, absent) + others)
    with engine.begin() as connection:
        upgrade(connection, tables, create=create)


def upgrade(connection: sa.Connection, tables: Tables, *, create: bool = True) -> str | None:
    """Make what is missing, all or nothing, within a transaction; return the version before.

    Several processes may try at the same time. Raises StoreError where a newer requant was here.
    """
    raw = raw_of(connection)
    if connection.dialect.name != "sqlite":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    elif not raw.in_transaction:
        raw.execute("BEGIN IMMEDIATE")
    found = version_of(connection, tables)
    _check_known(connection, found)
    if found in _OLDER:
        _refuse_old_triggers(connection, tables)
    if create:
        _shut_out_older(connection, tables)
        add_missing(tables, connection)
    make_missing_keys(connection, tables, create=create)
    put = tables.named(
        "INSERT INTO requant_meta (name, value) VALUES ('schema', '{}') "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
    connection.exec_driver_sql(put.format(SCHEMA_VERSION))
    return found


def version_of(connection: sa.Connection, tables: Tables) -> str | None:
    """Return the version of the tables that are there; None without tables, or such a row."""
    meta = tables.meta
    if not sa.inspect(connection).has_table(meta.name, schema=meta.schema):
        return None
    known: str | None = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "schema"))
    return known


def _shut_out_older(connection: sa.Connection, tables: Tables) -> None:
    """Rename what all reads and writes of schema 5 name: a process that still runs it fails.

    It would neither find what has no number yet, nor say so.
    """
    table = tables.collections
    inspector = sa.inspect(connection)
    if inspector.has_table(table.name, schema=table.schema):
        known = {one["name"] for one in inspector.get_columns(table.name, schema=table.schema)}
        if "fields_seq" in known and table.c.fields_at.name not in known:
            rename = f'RENAME COLUMN "fields_seq" TO "{table.c.fields_at.name}"'
            connection.exec_driver_sql(f"ALTER TABLE {tables.quoted('collections')} {rename}")


def _refuse_old_triggers(connection: sa.Connection, tables: Tables) -> None:
    """Raise StoreError where a trigger would write as PostgreSQL's writers did before schema 6."""
    if connection.dialect.name != "postgresql":
        return
    text = sa.text(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.proname ~ '^requant_(deleted|"
        "renamed)_[0-9a-f]{16}(_all)?$' AND strpos(p.prosrc, :taking) > 0 AND p.pronamespace IN ("
        "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:table)), "
        "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())) "
        "AND strpos(p.prosrc, :leaving) = 0 ORDER BY 1"
    )
    names = {
        "table": tables.quoted("collections"),
        "taking": f'"{tables.collections.name}"',
        "leaving": f'"{tables.writes.name}"',
    }
    old = list(connection.execute(text, names).scalars())
    if old:
        drop = " ".join(f"DROP FUNCTION {name} CASCADE;" for name in old)
        raise StoreError(
            f"{connection.engine.url!r} has triggers of follow_deletes that an older requant has "
            f"made, and that would write beside this one without a note: drop them ({drop}), "
            "upgrade, and call follow_deletes again, and sync() once"
        )


def _check_known(connection: sa.Connection, found: str | None) -> None:
    if found not in (None, str(SCHEMA_VERSION), *_OLDER):
        raise StoreError(
            f"{connection.engine.url!r} has schema {found}, this requant reads {SCHEMA_VERSION}: "
            "upgrade requant"
        )


def _command(engine: sa.Engine, tables: Tables, found: str | None, absent: list[str]) -> str:
    url = engine.url.render_as_string()
    words = [url]
    words += [] if tables.prefix == PREFIX else ["--prefix", tables.prefix]
    words += [] if tables.schema is None else ["--schema", tables.schema]
    has = "lacks tables of requant" if found is None else f"has schema {found}"
    some = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
    return (
        f"{engine.url!r} {has}, this requant reads {SCHEMA_VERSION} (missing: {some}), and "
        f"create=False makes nothing: run `requant upgrade {shlex.join(words)}`, or call "
        "requant.integration.sqlalchemy.upgrade(connection) in a migration."
    )
