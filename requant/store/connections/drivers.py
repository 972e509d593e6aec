"""One face for the driver below a lent connection: asyncio's, within run_sync, is used as others.

SQLAlchemy adapts the drivers of asyncio so that sync code can use them where a greenlet waits for
the event loop: within `run_sync`, or in a thread of `requant.integration.sqlalchemy.aio`. Their
cursors do not chain, asyncpg numbers its parameters, and what a statement returns is read at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import sqlalchemy as sa

# Of SQLAlchemy's drivers for asyncio, by dialect and driver.
ASYNC_DRIVERS = {("sqlite", "aiosqlite"), ("postgresql", "asyncpg"), ("postgresql", "psycopg")}
# Rows that are made and sent at a time: the event loop is not held up by thousands.
_ROWS = 128
# Fewer rows are written one by one: a COPY costs as much as some inserts.
LEAST_COPIED = 8
_NUMBERED = "numeric_dollar"
# Called before each statement of ours: raises where the call is not to go on.
_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("requant_check", default=None)
# In the `info` of a driver's connection: what is being read, and who tells of calls at work.
_READINGS, BUSY = "requant_readings", "requant_busy"
_GREENLET = "_AsyncIoGreenlet"  # what releases of SQLAlchemy know it by that do not mark it yet


def raw_of(connection: sa.Connection) -> Any:
    """Return the driver's connection, or what stands for one of asyncio and is used alike."""
    if not connection.dialect.is_async:
        return connection.connection.driver_connection
    return AsyncRaw(connection)


@lru_cache(maxsize=512)
def numbered(statement: str) -> str:
    """Return a statement with `$1`, `$2`... in place of each `%s`."""
    parts = re.split("(%[s%])", statement)
    number = 0
    for at, part in enumerate(parts):
        if part == "%s":
            number += 1
            parts[at] = f"${number}"
        elif part == "%%":
            parts[at] = "%"
    return "".join(parts)


def is_pooled(driver: Any, raw: Any) -> bool:
    """Whether psycopg's connection leads to a pooler: that makes up the process it answers for.

    `driver` is psycopg's own, `raw` what SQLAlchemy calls it by, which may be of asyncio.
    """
    cursor = raw.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    (process,) = cursor.fetchone()
    cursor.close()
    return bool(process != driver.info.backend_pid)


def binary_cursor(raw: Any) -> Any:
    """Return a cursor of psycopg's own, whatever factories the application has chosen."""
    make, rows, binary = _psycopg()
    cursor = make(raw, row_factory=rows)
    cursor.format = binary
    return cursor


@cache
def _psycopg() -> tuple[Any, Any, Any]:
    """Import it once: a write makes two cursors."""
    from psycopg import Cursor
    from psycopg.pq import Format
    from psycopg.rows import tuple_row

    return Cursor, tuple_row, Format.BINARY


def unwritable(error: UnicodeEncodeError) -> str:
    """Return what to do about a text that the encoding of a connection has no bytes for."""
    if error.encoding == "utf-8":  # half a surrogate pair, which no encoding has
        return ""
    return (
        ". The connection speaks that encoding, not UTF-8: make the engine with "
        "connect_args={'client_encoding': 'utf8'}, in a database of UTF-8"
    )


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


@contextmanager
def checked(check: Callable[[], None]) -> Iterator[None]:
    """Have `check()` called before each statement of ours on a driver of asyncio."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


@contextmanager
def ended_in_time(connection: sa.Connection, result: sa.CursorResult[Any]) -> Iterator[None]:
    """Close what a driver of asyncio is reading, if nobody has, when the transaction ends.

    An iterator that is left, as by a task that is cancelled, closes nothing, and later nobody can.
    In SQLite its cursor would outlive the transaction, and its old snapshot make the next write by
    the pool's connection fail.
    """
    if not connection.dialect.is_async:
        yield
        return

    readings = connection.info.setdefault(_READINGS, set())
    readings.add(result)
    for name in ("commit", "rollback"):
        # Once, and for good: to remove one while another thread goes through them is an error.
        sa.event.listen(connection, name, _end_readings)
    try:
        yield
    finally:
        readings.discard(result)


def end_readings(info: dict[Any, Any]) -> None:
    """Close what is being read by a connection of the driver, whose `info` this is."""
    for result in list(info.get(_READINGS, ())):
        result.close()


def _end_readings(connection: sa.Connection) -> None:
    if connection.closed or connection.invalidated:
        return
    # Where a call is at work, whoever waits for its end comes back to this.
    is_busy = connection.info.get(BUSY)
    if is_busy is None or not is_busy():
        end_readings(connection.info)


@contextmanager
def unchecked() -> Iterator[None]:
    """Let all statements of the block be executed, whatever `checked` would say."""
    token = _CHECK.set(None)
    try:
        yield
    finally:
        _CHECK.reset(token)


def awaits() -> bool:
    """Whether sync code that is called here may use a driver of asyncio, as within run_sync."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return False
    current = greenlet.getcurrent()
    marked = getattr(current, "__sqlalchemy_greenlet_provider__", False)
    return bool(marked) or type(current).__name__ == _GREENLET


class AsyncRaw:
    """Stands for the connection of a driver of asyncio, where a greenlet waits for its loop."""

    def __init__(self, connection: sa.Connection) -> None:
        """Stand for what is below `connection`."""
        self._connection = connection
        self._adapted: Any = connection.connection.dbapi_connection
        self._driver: Any = connection.connection.driver_connection
        self._numbered = connection.dialect.paramstyle == _NUMBERED

    def cursor(self) -> AsyncCursor:
        """Return a cursor."""
        return AsyncCursor(self._connection, self._adapted, self._driver, self._numbered)

    def execute(self, statement: str) -> AsyncCursor:
        """Execute one statement and return its cursor."""
        return self.cursor().execute(statement)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, of SQLite."""
        return bool(self._driver.in_transaction)

    @property
    def isolation_level(self) -> str | None:
        """What sqlite3 calls so: how it begins a transaction, None if it does not."""
        level: str | None = self._driver.isolation_level
        return level

    @property
    def autocommit(self) -> Any:
        """Whether every statement commits by itself; of sqlite3 what it calls so."""
        if self._is_sqlite:
            return getattr(self._driver._conn, "autocommit", None)
        return self._adapted.autocommit

    @property
    def _is_sqlite(self) -> bool:
        return hasattr(self._driver, "execute_fetchall")


class AsyncCursor:
    """A cursor on a driver of asyncio whose calls chain, as those of sqlite3 and psycopg do."""

    def __init__(
        self, connection: sa.Connection, adapted: Any, driver: Any, numbered: bool
    ) -> None:
        """Execute on this connection: as SQLAlchemy has adapted it, and as the driver's own."""
        self._connection = connection
        self._adapted = adapted
        self._driver = driver
        self._numbered = numbered
        self._rows: Iterator[tuple[Any, ...]] = iter(())

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> AsyncCursor:
        """Execute a statement, and read all that it returns."""
        whole = getattr(self._driver, "execute_fetchall", None)
        with self._known_state(statement):
            if whole is not None:  # aiosqlite: one trip to its thread instead of four
                self._rows = iter(sa.util.await_only(whole(statement, parameters)))
                return self
            cursor = self._adapted.cursor()
            cursor.execute(self._marked(statement), tuple(parameters))
            found = cursor.fetchall() if cursor.description else ()
            self._rows = iter([tuple(row) for row in found])
            cursor.close()
        return self

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each of these, some at a time."""
        each, marked = iter(parameters), self._marked(statement)
        with self._known_state(statement):
            cursor = self._adapted.cursor()
            while some := list(islice(each, _ROWS)):
                _may_go_on()
                cursor.executemany(marked, some)
            cursor.close()

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None after the last."""
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return list(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that are left."""
        return self._rows

    def close(self) -> None:
        """Do nothing: each statement has ended."""

    @contextmanager
    def _known_state(self, statement: str) -> Iterator[None]:
        """Give the connection up where it is lost, or a task is cancelled within a statement.

        SQLAlchemy does so with its own statements, and raises errors of its own: nobody knows what
        the server has done of a statement, and the pool must not hand out what is dead.
        """
        _may_go_on()
        dialect = self._connection.dialect
        driver: Any = dialect.loaded_dbapi
        try:
            yield
        except driver.Error as error:
            lost = dialect.is_disconnect(error, self._adapted, None)
            if lost:
                self._connection.invalidate(error)
            # The parameters are what the application stores, and no business of a log.
            raise sa.exc.DBAPIError.instance(
                statement, None, error, driver.Error, True, lost, dialect
            ) from error
        except BaseException as error:
            if not isinstance(error, Exception):
                self._connection.invalidate()
            raise

    def _marked(self, statement: str) -> str:
        return numbered(statement) if self._numbered else statement


def _may_go_on() -> None:
    check = _CHECK.get()
    if check is not None:
        check()
