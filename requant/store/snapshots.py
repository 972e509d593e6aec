"""Snapshots to read from: begun and ended without a trip through the connection pool.

A search takes a few hundred microseconds; fetching a connection from SQLAlchemy's pool and giving
it back would be a tenth of that. So the readers of an engine that requant opened are kept, each
with its connection, and lent to one caller at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from requant.errors import StoreError
from requant.store.connections import (
    Gate,
    Held,
    Standing,
    binary_cursor,
    parents,
    unawaited,
    unwritable,
)
from requant.store.fields import Memory
from requant.store.interrupted import handled_now, interruption
from requant.store.mapping import Mapped
from requant.store.reader import Reader
from requant.store.schema import Tables
from requant.store.statements import HotSql

# Readers that are kept between uses, at most: a burst of threads must not leave its connections.
KEPT = 16
_NOT_WRITABLE = ("readonly database", "read-only transaction", "unable to open database file")


class BusyError(StoreError):
    """Somebody else was writing for longer than the caller wanted to wait."""


class Snapshots:
    """The readers of one store."""

    def __init__(
        self,
        engine: sa.Engine,
        beside: sa.Engine,
        held: Held,
        sql: HotSql,
        tables: Tables,
        memory: Memory,
        *,
        keep: bool,
    ) -> None:
        """Read from `engine`; `keep` readers between uses, or return connections to its pool.

        A thread that holds a connection already gets one from `beside`.
        """
        self._engine = engine
        self._beside = beside
        self.held = held
        self._sql = sql
        self._tables = tables
        self._memory = memory
        self.keeps = keep
        self._shut = False
        self._mapped: Standing | None = None
        self.may_be_cut: bool = sql.name != "sqlite"
        self._idle: list[tuple[sa.Connection, Reader]] = []
        driver: Any = engine.dialect.loaded_dbapi
        # What a text meets that has no place in the encoding of the connection is no driver's own.
        self.failures: tuple[type[Exception], ...] = (
            sa.exc.SQLAlchemyError, driver.Error, UnicodeEncodeError,
        )  # fmt: skip

    def map(self, standing: Standing) -> None:
        """Let readers map this file, which is SQLite's, when they fetch rows here and there."""
        self._mapped = standing

    def begin(self) -> tuple[sa.Connection, Reader]:
        """Return a reader whose snapshot has begun, with its connection."""
        try:
            connection, reader = self._idle.pop()
        except IndexError:
            connection, reader = self._connect()
        reader.noted = None  # in a snapshot before
        if self._sql.name == "sqlite":
            self._begin(connection, reader)
        else:
            unawaited.settle(connection.connection.driver_connection)
        return connection, reader

    def begin_again(self, connection: sa.Connection) -> tuple[sa.Connection, Reader]:
        """Return another reader where the server has cut `connection`, as it has all of its age."""
        with contextlib.suppress(*self.failures):
            connection.exec_driver_sql("SELECT 1")  # which lets SQLAlchemy know
        connection.close()
        self.close()
        return self._connect()

    def end(self, connection: sa.Connection, reader: Reader, failed: bool) -> None:
        """End a snapshot; keep its reader unless the connection may be broken."""
        if connection.invalidated:  # interrupted
            connection.close()
            return
        if failed or not self.keeps or len(self._idle) >= KEPT:
            if not failed:
                self._roll_back(connection)  # whatever the pool makes of what commits by itself
            self._close(connection, reader)
            if failed:  # a server that went away has left the others as useless
                self.close()
            return
        if self._sql.name != "sqlite":
            # Past SQLAlchemy, for which a transaction that commits by itself may go on.
            unawaited.roll_back(connection.connection.driver_connection)
        elif connection.in_transaction():
            connection.rollback()
        else:
            reader.end()
        self._idle.append((connection, reader))
        if self._shut:  # meanwhile
            self.close()

    def close(self) -> None:
        """Close the connections of idle readers."""
        while self._idle:
            self._close(*self._idle.pop())

    def shut(self) -> None:
        """Keep no reader any more, neither those in use."""
        self._shut = True
        self.close()

    def forget(self) -> None:
        """Drop the readers of a parent process, without closing what it still uses."""
        parents.extend(self._idle)
        self._idle = []

    def _roll_back(self, connection: sa.Connection) -> None:
        raw: Any = connection.connection.driver_connection
        if connection.in_transaction():
            connection.rollback()
        elif self._sql.name == "sqlite":
            raw.rollback()
        else:
            unawaited.roll_back(raw)

    def _close(self, connection: sa.Connection, reader: Reader) -> None:
        if reader.mapped is not None:  # whoever gets the connection next has not asked for it
            with contextlib.suppress(*self.failures):
                reader.mapped.leave()
        if self._sql.name != "sqlite":
            with contextlib.suppress(*self.failures):
                unawaited.end(connection.connection.driver_connection)
        connection.close()

    def _begin(self, connection: sa.Connection, reader: Reader) -> None:
        try:
            if self.keeps or not self._begun_by_listener(connection):
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
        beside = not self.keeps and self.held.here()
        connection = (self._beside if beside else self._engine).connect()
        raw: Any = connection.connection.driver_connection
        mapped = None
        if self._sql.name == "sqlite":
            cursor = raw.cursor()
            if self._mapped is not None:
                pages = (self._sql.state_page, self._sql.vectors_page)
                mapped = Mapped(cursor, self._mapped, pages)
        else:
            # Begun by hand, with the first statement, see `requant.store.connections.unawaited`.
            connection.execution_options(isolation_level="AUTOCOMMIT")
            cursor = binary_cursor(raw)
        tables, memory = self._tables, self._memory
        return connection, Reader(connection, cursor, self._sql, tables, memory, mapped=mapped)


class Reading:
    """A context manager that lends a reader; what the driver raises comes out as StoreError."""

    __slots__ = ("_connection", "_gate", "_handled", "_here", "_pass", "_reader", "_snapshots")

    def __init__(self, snapshots: Snapshots, gate: Gate) -> None:
        """Read from one of these snapshots, once `gate` lets us in."""
        self._snapshots = snapshots
        self._gate = gate

    def __enter__(self) -> Reader:
        """Begin."""
        self._handled = handled_now()
        self._pass = self._gate.enter()
        try:
            self._connection, self._reader = self._snapshots.begin()
        except BaseException as error:
            self._gate.leave(self._pass)
            if isinstance(error, self._snapshots.failures):
                raise translated("read", error, self._handled) from error
            raise
        if self._snapshots.may_be_cut:
            self._reader.retry_first(self._renew)
        self._reader.another = self._another if self._snapshots.keeps else None
        self._here = self._snapshots.held.here()
        self._here.append(self._reader)
        return self._reader

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._here.remove(self._reader)
        failed = False
        if error is not None:
            failed = isinstance(error, self._snapshots.failures)
            give_up_if_interrupted(self._connection, error)
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
            raise translated("read", error, self._handled) from error

    def _another(self) -> Reading:
        return Reading(self._snapshots, self._gate)

    def _renew(self, error: BaseException) -> Reader:
        """Return a reader for a first statement that failed, if the server had hung up."""
        raw: Any = self._connection.connection.driver_connection
        if not isinstance(error, self._snapshots.failures) or not raw.closed:
            raise error
        self._connection, fresh = self._snapshots.begin_again(self._connection)
        return fresh


def give_up_if_interrupted(connection: sa.Connection, error: BaseException | None) -> None:
    """Close what Ctrl-C has stopped in the middle of a statement: no server would roll it back."""
    if connection.dialect.name != "sqlite" and interruption(error) is not None:
        connection.invalidate()


@contextmanager
def giving_up(connection: sa.Connection) -> Iterator[None]:
    """Give the connection up where Ctrl-C stops the block."""
    try:
        yield
    except BaseException as error:
        give_up_if_interrupted(connection, error)
        raise


def translated(action: str, error: BaseException, handled: BaseException | None) -> BaseException:
    """Return what is to be raised for what SQLAlchemy or a driver raised: StoreError, or Ctrl-C.

    `handled` is what the caller was handling already.
    """
    return interruption(error, handled) or store_error(action, error)


def store_error(action: str, error: BaseException) -> StoreError:
    """Return the StoreError that stands for what SQLAlchemy or a driver raised."""
    text = f"cannot {action}: {getattr(error, 'orig', None) or error}"
    kind = StoreError
    if isinstance(error, sa.exc.TimeoutError):
        text += (
            ". Each search and each write takes one connection while it runs: give the engine as "
            "many (pool_size, max_overflow) as threads use it at once"
        )
    elif isinstance(error, UnicodeEncodeError):
        text += unwritable(error)
    elif "database is locked" in text:
        kind = BusyError
        text += (
            ". Another transaction has been writing all the time: if it is one of this thread's "
            "own, pass its connection as connection=, or commit it first"
        )
    elif "query_wait_timeout" in text:
        text += (
            ". pgbouncer had no connection to spare: a thread that searches takes one, two while "
            "it opens or builds an index, three while it writes to a live one: raise "
            "default_pool_size"
        )
    elif any(words in text for words in _NOT_WRITABLE):
        text += ". What cannot be written to is read by requant.open(..., read_only=True)"
    return kind(text)
