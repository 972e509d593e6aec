"""Requant's tables beside an application's own: in its MetaData, and in its migrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError
from requant.store import (
    Lent,
    Tables,
    as_connection,
    build_tables,
    is_of_move,
    is_of_text,
    place,
    savepoint,
)
from requant.store import upgrade as upgrade_tables

__all__ = ["Tables", "add_tables", "include_object", "upgrade"]

# What Alembic asks: the object, its name, its kind, whether it was found in the database, and what
# it is compared to.
Included = Callable[[Any, Any, Any, bool, Any], bool]


def add_tables(
    metadata: sa.MetaData, *, prefix: str = "requant_", schema: str | None = None
) -> Tables:
    """Add requant's tables to an application's MetaData, for its migrations and `create_all`.

    Args:
        metadata: as `Base.metadata`; its naming convention does not change their names.
        prefix: what the names of all tables begin with.
        schema: a schema of PostgreSQL; by default that of the MetaData, if it has one.

    Returns:
        What `requant.open(tables=...)` takes. Called again with the same names, the same tables.

    Raises:
        InputError: a name that cannot be used.

    >>> import sqlalchemy as sa
    >>> tables = add_tables(sa.MetaData(), prefix="app_")
    >>> tables.items.name
    'app_items'
    """
    given: Any = metadata
    if not isinstance(given, sa.MetaData):
        kind = type(given).__name__
        raise InputError(f"add_tables takes a MetaData, as Base.metadata, not {kind}")
    return build_tables(metadata, prefix=prefix, schema=schema)


def include_object(mine: Included | None = None, *tables: Tables) -> Included:
    """Return what Alembic's `context.configure(include_object=...)` takes.

    Requant's tables that the application's MetaData does not hold are left alone, which
    autogenerate would drop; about everything else `mine` decides, if there is one.

    Args:
        mine: the application's own `include_object`.
        tables: as `add_tables` returned them, where they have another prefix or schema.
    """
    sets = tables or (build_tables(),)

    def included(thing: Any, name: Any, kind: Any, reflected: bool, compare_to: Any) -> bool:
        if kind == "table" and reflected and compare_to is None and _is_ours(sets, thing):
            return False
        return mine is None or mine(thing, name, kind, reflected, compare_to)

    return included


def upgrade(connection: Lent, *, tables: Tables | None = None) -> None:
    """Make requant's tables, or bring those of an older version up to date, all or nothing.

    The transaction of `connection` decides whether it comes to stay, as in a migration of Alembic:
    `upgrade(op.get_bind())`. Where nothing is missing, nothing is done.

    Raises:
        InputError: no connection; StoreError: a newer requant was here.
    """
    if connection is None:
        raise InputError(
            "upgrade needs a connection to look at what is there: Alembic's offline mode (--sql) "
            "has none; autogenerate the tables instead, see add_tables"
        )
    given = as_connection(connection)
    with savepoint(given):
        upgrade_tables(given, place(given, tables if tables is not None else build_tables()))


def _is_ours(sets: tuple[Tables, ...], table: sa.Table) -> bool:
    """Whether a table is in one of these sets; what Alembic finds by default has no schema."""
    named = [one for each in sets for one in each.every() if one.name == table.name]
    # Of documents that are indexed by words, and of moves: tables that no MetaData knows.
    for each in sets:
        if is_of_text(table.name, each.prefix) or is_of_move(table.name, each.prefix):
            named.append(each.items)
    return any(None in (table.schema, one.schema) or table.schema == one.schema for one in named)
