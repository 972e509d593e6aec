"""Snapshots to read from: begun and ended without a trip through the connection pool.

A search takes a few hundred microseconds; fetching a connection from SQLAlchemy's pool and giving
it back would be a tenth of that. So the readers of an engine that requant opened are kept, each
with its connection, and lent to one caller at a time.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import sqlalchemy as sa

from requant.errors import StoreError
from requant.store.forks import Gate, parents
from requant.store.reader import Reader
from requant.store.schema import Tables
from requant.store.statements import HotSql


class Snapshots:
    """The readers of one store."""

    def __init__(self, engine: sa.Engine, sql: HotSql, tables: Tables, *, keep: bool) -> None:
        """Read from `engine`; `keep` readers between uses, or return connections to its pool."""
        self._engine = engine
        self._sql = sql
        self._tables = tables
        self._keep = keep
        self._idle: list[tuple[sa.Connection, Reader]] = []
        driver: Any = engine.dialect.loaded_dbapi
        self.failures: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, driver.Error)

    def begin(self) -> tuple[sa.Connection, Reader]:
        """Return a reader whose snapshot has begun, with its connection."""
        try:
            connection, reader = self._idle.pop()
        except IndexError:
            connection, reader = self._connect()
        if self._sql.name == "sqlite":
            self._begin(connection, reader)
        return connection, reader

    def end(self, connection: sa.Connection, reader: Reader, failed: bool) -> None:
        """End a snapshot; keep its reader unless the connection may be broken."""
        if failed or not self._keep:
            connection.close()
            if failed:  # a server that went away has left the others as useless
                self.close()
            return
        raw: Any = connection.connection.driver_connection
        if connection.in_transaction():
            connection.rollback()
        else:
            raw.rollback()
        self._idle.append((connection, reader))

    def close(self) -> None:
        """Close the connections of idle readers."""
        while self._idle:
            self._idle.pop()[0].close()

    def forget(self) -> None:
        """Drop the readers of a parent process, without closing what it still uses."""
        parents.extend(self._idle)
        self._idle = []

    def _begin(self, connection: sa.Connection, reader: Reader) -> None:
        try:
            if self._keep or not self._begun_by_listener(connection):
                reader.begin()
        except BaseException:
            connection.close()
            raise

    def _begun_by_listener(self, connection: sa.Connection) -> bool:
        """Let an application that listens to this event begin in its own way."""
        connection.begin()
        raw: Any = connection.connection.driver_connection
        return bool(raw.in_transaction)

    def _connect(self) -> tuple[sa.Connection, Reader]:
        connection = self._engine.connect()
        raw: Any = connection.connection.driver_connection
        if self._sql.name == "sqlite":
            cursor = raw.cursor()
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")
            cursor = raw.cursor(binary=True)
        return connection, Reader(connection, cursor, self._sql, self._tables)


class Reading:
    """A context manager that lends a reader; what the driver raises comes out as StoreError."""

    __slots__ = ("_connection", "_gate", "_pass", "_reader", "_snapshots")

    def __init__(self, snapshots: Snapshots, gate: Gate) -> None:
        """Read from one of these snapshots, once `gate` lets us in."""
        self._snapshots = snapshots
        self._gate = gate

    def __enter__(self) -> Reader:
        """Begin."""
        self._pass = self._gate.enter()
        try:
            self._connection, self._reader = self._snapshots.begin()
        except BaseException as error:
            self._gate.leave(self._pass)
            if isinstance(error, self._snapshots.failures):
                raise read_error(error) from error
            raise
        return self._reader

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        failed = isinstance(error, self._snapshots.failures)
        if not self._gate.knows(self._pass):  # begun before a fork: the reader is the parent's
            parents.append((self._connection, self._reader))
            if failed:
                raise self._gate.refused() from error
            return
        try:
            self._snapshots.end(self._connection, self._reader, failed)
        finally:
            self._gate.leave(self._pass)
        if failed and error is not None:
            raise read_error(error) from error


def read_error(error: BaseException) -> StoreError:
    """Return the StoreError that stands for what a driver raised while reading."""
    return StoreError(f"cannot read: {getattr(error, 'orig', None) or error}")
