"""A pooler such as pgbouncer before the server: each transaction may have another connection of it.

psycopg prepares what it has executed five times, under a name of its own connection. Behind a
pooler that knows nothing of it (pgbouncer before 1.21) the next transaction finds no such
statement, or one that another client prepared under the same name: that one would be executed, with
our parameters. So nothing is prepared where a pooler is seen.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from requant.store.connections import is_pooled

# On a connection of the driver: whether it leads to a pooler.
_KEY = "requant_pooled"
_FAILED = 3  # what psycopg calls the status of a transaction


def keep_from_preparing(engine: sa.Engine) -> None:
    """Have psycopg prepare nothing on the connections of `engine` that lead to a pooler."""
    if engine.dialect.name == "postgresql" and not sa.event.contains(engine, "checkout", _out):
        sa.event.listen(engine, "checkout", _out)


def keep_lent_from_preparing(connection: sa.Connection) -> None:
    """Have psycopg prepare nothing on a connection that may come from another engine."""
    if connection.dialect.driver == "psycopg" and _KEY not in connection.info:
        raw: Any = connection.connection.driver_connection
        if raw.info.transaction_status != _FAILED:  # else nothing can be asked, nor done
            _look(raw, connection.connection.dbapi_connection, connection.info)


def is_known_pooled(connection: sa.Connection) -> bool:
    """Whether a connection that was looked at leads to a pooler."""
    return bool(connection.info.get(_KEY))


def _out(raw: Any, record: Any, _proxy: object) -> None:
    if _KEY not in record.info:
        _look(record.driver_connection, raw, record.info)
        raw.rollback()


def _look(driver: Any, raw: Any, info: dict[Any, Any]) -> None:
    info[_KEY] = is_pooled(driver, raw)
    if info[_KEY]:
        driver.prepare_threshold = None
