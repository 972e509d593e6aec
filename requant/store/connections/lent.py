"""A connection that a caller lends: checked, and each call on it within a savepoint of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError
from requant.store.connections.opening import check_engine, refuse_async


def check_connection(connection: object, ours: sa.URL) -> None:
    """Refuse what is no synchronous connection to this database.

    Raises InputError; UnsupportedError for an asynchronous one, or a driver that is not known.
    """
    refuse_async(connection)
    if not isinstance(connection, sa.Connection):
        raise InputError(f"connection= takes a sqlalchemy.Connection, {_cure(connection)}")
    check_engine(connection)
    _check_same(ours, connection.engine.url)


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """Take back what was done in the block if it fails, and nothing else of the transaction.

    Raises InputError where every statement commits by itself.
    """
    _begin(connection)
    point = connection.begin_nested()
    try:
        yield
    except BaseException:
        # Where the database has ended the whole transaction, the point is gone with it.
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            point.rollback()
        raise
    point.commit()


def plain_cursor(connection: sa.Connection) -> Any:
    """Return a cursor of the driver whose rows are tuples, whatever the application has chosen."""
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        from psycopg.rows import tuple_row

        return raw.cursor(binary=True, row_factory=tuple_row)
    cursor = raw.cursor()
    cursor.row_factory = None
    return cursor


def check_transaction(connection: sa.Connection) -> None:
    """Refuse to go on where every statement commits by itself: a write could be torn."""
    raw: Any = connection.connection.driver_connection
    begun = raw.in_transaction if connection.dialect.name == "sqlite" else not raw.autocommit
    if not begun:
        raise InputError(
            "this connection commits every statement by itself (AUTOCOMMIT): requant writes "
            "in transactions, give it an engine or connection that has them"
        )


def _begin(connection: sa.Connection) -> None:
    if not connection.in_transaction():
        connection.begin()
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and not raw.in_transaction:
        by_itself = getattr(raw, "autocommit", None) is True  # a choice since Python 3.12
        if raw.isolation_level is not None and not by_itself:
            # The driver begins before the first write, which is after the savepoint; to release
            # that would commit then.
            raw.execute(f"BEGIN {raw.isolation_level}")
    check_transaction(connection)


def _cure(given: object) -> str:
    if isinstance(given, sa.Engine):
        return "not an engine: `with engine.begin() as connection:` gives one"
    if callable(getattr(given, "get_bind", None)):
        return f"not a {type(given).__name__}: pass session.connection(), whose transaction it is"
    return f"not {type(given).__name__}: engine.connect() or session.connection() gives one"


def _check_same(ours: sa.URL, theirs: sa.URL) -> None:
    """Refuse a connection to another database: the ids would be stored where nobody looks."""
    if ours == theirs or not (ours.database and theirs.database):
        return
    places = [
        Path(url.database or "").resolve()
        if url.get_backend_name() == "sqlite"
        else (url.database, url.host, url.port)
        for url in (ours, theirs)
    ]
    if places[0] != places[1]:
        raise InputError(f"connection= is one to {theirs!r}, this database is {ours!r}")
