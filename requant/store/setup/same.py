"""Which database a connection is to, told by the database itself.

A URL says it badly: a server is `localhost`, an address, a socket or a pooler in front of it, a
file is a relative path or a link; and one URL leads elsewhere after a failover.
"""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError
from requant.store.connections import plain_cursor

# On a connection of the driver: which database it is to.
_KEY = "requant_database"
# A server is known by when it was started, to the microsecond, whatever it is called.
_SERVER = (
    "SELECT oid::text, pg_postmaster_start_time()::text FROM pg_database "
    "WHERE datname = current_database()"
)

Which = tuple[Any, ...]


class Same:
    """Checks that lent connections are to the database of an engine."""

    def __init__(self, engine: sa.Engine, beside: sa.Engine) -> None:
        """Nothing is asked yet; `beside` connects outside of the pool of `engine`."""
        self._engine = engine
        self._beside = beside
        self._ours: Which | None = None

    def check(self, connection: sa.Connection) -> None:
        """Refuse a connection to another database; each is asked once. Raises InputError.

        What is written there would be stored where nobody looks.
        """
        if connection.engine.pool is self._engine.pool:
            return
        known: dict[Any, Any] = connection.info
        if known.get(_KEY) is not None and known[_KEY] == self._ours:
            return
        known[_KEY] = _which(connection)
        if self._ours is None or known[_KEY] != self._ours:
            # The first time, or the server was started again.
            with self._beside.connect() as own:
                self._ours = _which(own)
        if known[_KEY] is None or known[_KEY] != self._ours:
            raise InputError(
                f"connection= is one to {connection.engine.url!r}, this database is "
                f"{self._engine.url!r}: another one, as both say themselves"
            )


def _which(connection: sa.Connection) -> Which | None:
    if connection.dialect.name == "sqlite":
        rows = _rows(connection, "PRAGMA database_list")
        opened = next((row[2] for row in rows if row[1] == "main"), "")
        try:
            found = os.stat(opened)  # noqa: PTH116
        except OSError:
            return None  # in memory, or gone
        return "sqlite", found.st_dev, found.st_ino
    return "postgresql", *_rows(connection, _SERVER)[0]


def _rows(connection: sa.Connection, statement: str) -> list[Any]:
    # By the driver: the caller's transaction, as SQLAlchemy knows it, does not begin by our asking.
    return list(plain_cursor(connection).execute(statement).fetchall())
