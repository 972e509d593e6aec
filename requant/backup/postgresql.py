"""Filling the tables of a PostgreSQL database, in one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from requant.backup import tables as rows
from requant.errors import ExistsError, StoreError
from requant.store import Store, draw_keys, make_text_again, moving, remove_all_text

_OTHERS = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def fill(target: Store, source: Store, overwrite: bool) -> None:
    """Make the tables of `target` hold what `source` holds: wholly, or not at all.

    Raises:
        ExistsError: it has collections and `overwrite` is not set.
        StoreError: it has, and others are connected to it.
    """
    tables = target.tables
    names = ", ".join(map(tables.quoted, tables.kinds()))
    with target.writing() as into:
        into.execute(sa.text(f"LOCK TABLE {tables.quoted('collections')} IN ACCESS EXCLUSIVE MODE"))
        if into.scalar(sa.select(sa.func.count()).select_from(tables.collections)):
            _check_may_go(into, overwrite)
        remove_all_text(into, tables)  # or its triggers would see the new items
        moving.remove_all(into, tables)
        into.execute(sa.text(f"TRUNCATE {names}"))
        with source.reading() as reader:
            rows.copy_rows(source.tables, reader.pages, into, tables, lambda _done: None)
        with source.connected() as connection:
            numbers = rows.last_numbers(connection, source.tables)
        rows.go_on_from(into, tables, numbers)
        draw_keys(into, tables)
        make_text_again(into, tables)


def _check_may_go(into: sa.Connection, overwrite: bool) -> None:
    if not overwrite:
        raise ExistsError(
            "the database has collections already: give overwrite=True (--overwrite) to replace "
            "them"
        )
    others = into.scalar(_OTHERS)
    if others:
        raise StoreError(
            f"{others} other session(s) are connected to the database: stop what uses it, and "
            "restore again"
        )
