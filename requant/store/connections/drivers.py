"""The driver below a connection: where statements go that SQLAlchemy would slow down."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def raw_of(connection: sa.Connection) -> Any:
    """Return the driver's connection."""
    return connection.connection.driver_connection


def copies(connection: sa.Connection) -> bool:
    """Whether the driver can COPY as psycopg 3 does, and takes parameters marked `%b`."""
    dialect = connection.dialect
    return dialect.driver == "psycopg" and not dialect.is_async
