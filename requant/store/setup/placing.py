"""Which schema a store's tables are in, settled when it is opened.

In PostgreSQL a name without a schema means another table wherever the search path is another one,
and SQLAlchemy's `schema_translate_map` renames the schemas of some statements and not of others:
either would mix tenants in silence. So the schema is found out once, and every statement says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError, StoreError
from requant.store.connections import check_rows
from requant.store.schema import Tables, build_tables

_HOME = (
    "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.oid = to_regclass(:name)"
)
_IS_THERE = "SELECT 1 FROM pg_namespace WHERE nspname = :name"


def place(given: sa.Engine | sa.Connection, wanted: Tables) -> Tables:
    """Return tables of our own, named as `wanted`, that say in which schema they are.

    Raises InputError, and StoreError where there is no such schema.
    """
    schema = translated(given, wanted.schema)
    if given.dialect.name == "sqlite":
        if schema is not None:
            raise InputError(
                f"schema {schema!r}: SQLite has none; give the tables a prefix, or translate it "
                f"away: engine.execution_options(schema_translate_map={{{schema!r}: None}})"
            )
        return build_tables(prefix=wanted.prefix)
    with given.connect() if isinstance(given, sa.Engine) else nullcontext(given) as connection:
        check_rows(connection)
        schema = _found(connection, schema, wanted.prefix)
    if translated(given, schema) != schema:
        raise InputError(
            f"schema_translate_map turns {wanted.schema!r} into {schema!r}, and that into "
            f"{translated(given, schema)!r}: name each schema once"
        )
    return build_tables(prefix=wanted.prefix, schema=schema)


def translated(given: sa.Engine | sa.Connection, schema: str | None) -> str | None:
    """Return what `schema_translate_map` makes of a schema's name."""
    names: Mapping[str | None, Any] | None = given.get_execution_options().get(
        "schema_translate_map"
    )
    found: str | None = names.get(schema, schema) if names else schema
    return found


def check_translated(connection: sa.Connection, wanted: str | None, ours: str | None) -> None:
    """Refuse a connection whose `schema_translate_map` leads elsewhere; raises InputError."""
    if not connection.get_execution_options().get("schema_translate_map"):
        return
    theirs = translated(connection, wanted)
    if theirs not in (wanted, ours) or translated(connection, ours) != ours:
        raise InputError(
            f"connection= has a schema_translate_map by which requant's tables are in "
            f"{theirs!r}; this database is in {ours!r}: open one for each schema, "
            "requant.open(engine.execution_options(schema_translate_map=...))"
        )


def _found(connection: sa.Connection, schema: str | None, prefix: str) -> str:
    if schema is not None:
        if connection.scalar(sa.text(_IS_THERE), {"name": schema}) is None:
            raise StoreError(
                f"{connection.engine.url!r} has no schema {schema!r}: CREATE SCHEMA makes one"
            )
        return schema
    name = f'"{prefix}meta"'
    found = connection.scalar(sa.text(_HOME), {"name": name})
    found = found or connection.scalar(sa.text("SELECT current_schema()"))
    if found is None:
        raise StoreError(
            f"{connection.engine.url!r} has no schema to make tables in: the search_path names "
            "none that is there"
        )
    return str(found)
