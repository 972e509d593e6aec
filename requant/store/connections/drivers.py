"""The driver below a connection: where statements go that SQLAlchemy would slow down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

# Fewer rows are written one by one: a COPY costs as much as some inserts.
LEAST_COPIED = 8


def raw_of(connection: sa.Connection) -> Any:
    """Return the driver's connection."""
    return connection.connection.driver_connection


def copies(connection: sa.Connection) -> bool:
    """Whether the driver can COPY as psycopg 3 does, and takes parameters marked `%b`."""
    dialect = connection.dialect
    return dialect.driver == "psycopg" and not dialect.is_async


def copy_rows(
    cursor: Any, statement: str, types: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Add rows by a binary COPY, where `copies` says that the driver can."""
    with cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
