"""The engine of a path, a URL or an application: made, set up, or refused by name."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError, StoreError, UnsupportedError
from requant.store.connections import unawaited
from requant.store.connections.drivers import ASYNC_DRIVERS, awaits, is_pooled

_PRAGMAS = (
    "PRAGMA page_size = 8192",  # until the first collection comes, see `requant.store.setup.pages`
    "PRAGMA journal_mode = WAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",  # readers map what they need, see `requant.store.mapping`
    # What one large write has made of the log is given back when the log is begun anew.
    "PRAGMA journal_size_limit = 8388608",
)
_LOG_BYTES = 4 << 20  # until they go to the file: who commits is held up for some milliseconds
_BUSY_SECONDS = 60.0
_NO_LIMIT = -1  # kept readers must not use up the connections of writers
_FULL = 2  # what PRAGMA synchronous calls the level at which a commit survives a power failure
_ASYNC_MODULE = "sqlalchemy.ext.asyncio"
INSTEAD = (
    "requant is synchronous: open the database by its path, by a URL of a synchronous driver "
    "(sqlite:///..., postgresql+psycopg://...) or with a create_engine() of such a URL, and from a "
    "coroutine call `await asyncio.to_thread(notes.upsert, ...)`, or open it by "
    "requant.integration.sqlalchemy.aio, whose connection= takes an AsyncSession"
)


def engine_of(
    target: str | os.PathLike[str] | sa.Engine, *, durable: bool = False
) -> tuple[sa.Engine, bool]:
    """Return the engine of a SQLite file, a URL, or an application; and whether it is ours.

    Raises:
        InputError: not one of these, or SQLite in memory, which has one connection only.
        UnsupportedError: asynchronous, or a driver of PostgreSQL other than psycopg.
        StoreError: no such folder, or no driver for the URL.
    """
    if is_async(target):
        raise UnsupportedError(f"{type(target).__name__} cannot be used. {INSTEAD}")
    if isinstance(target, sa.Engine):
        check_engine(target)
        _refuse_memory(target.url)
        return target, False
    if not isinstance(target, str | os.PathLike) or not str(target):
        raise InputError(f"open takes a path, a URL or a SQLAlchemy engine, not {target!r}")
    if "://" in str(target):
        return _engine_of_url(str(target), durable), True
    path = Path(target)
    if not path.parent.is_dir():
        raise StoreError(f"cannot open {path}: the folder {path.parent} does not exist")
    return _sqlite_engine(sa.URL.create("sqlite", database=str(path)), durable), True


def is_async(target: object) -> bool:
    """Whether something is of SQLAlchemy's asynchronous kind, itself or by its driver."""
    if any(kind.__module__.startswith(_ASYNC_MODULE) for kind in type(target).__mro__):
        return True
    dialect = getattr(target, "dialect", None)
    return isinstance(dialect, sa.Dialect) and dialect.is_async


def check_engine(engine: sa.Engine | sa.Connection) -> None:
    """Refuse what would lose writes or fail at the first of them; raises UnsupportedError."""
    dialect = engine.dialect
    if not (isinstance(engine, sa.Connection) and dialect.is_async and awaits()):
        _check_dialect(dialect)
    elif (dialect.name, dialect.driver) not in ASYNC_DRIVERS:
        known = " and ".join(sorted({driver for _, driver in ASYNC_DRIVERS}))
        raise UnsupportedError(
            f"of the asynchronous drivers requant knows {known}, not {dialect.driver}"
        )


def refuse_async(target: object) -> None:
    """Refuse what is asynchronous, and no connection within run_sync.

    Raises UnsupportedError that says what to use.
    """
    if is_async(target) and not (isinstance(target, sa.Connection) and awaits()):
        dialect = getattr(target, "dialect", None)
        name = type(target).__name__
        driver = f"the driver {dialect.driver} below this {name}" if dialect is not None else name
        raise UnsupportedError(f"{driver} is asynchronous. {INSTEAD}")


def refuse_absent(engine: sa.Engine) -> None:
    """Refuse a SQLite file that is not there, which connecting would make; raises StoreError."""
    path = engine.url.database
    if engine.dialect.name == "sqlite" and not engine.url.query and not Path(path or "").exists():
        raise StoreError(f"cannot open {path}: there is no such file, and none is made here")


def check_durable(engine: sa.Engine) -> None:
    """Refuse to call an application's engine durable that is not; raises InputError."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            level = int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
            if level < _FULL:
                raise InputError(
                    f"durable=True: {engine.url!r} runs at PRAGMA synchronous = {level}; set FULL "
                    "in a 'connect' listener of your engine"
                )
        elif connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off":
            raise InputError(
                f"durable=True: {engine.url!r} runs with synchronous_commit = off; switch it on "
                "for the role, the database or in your engine's connect_args"
            )


def _check_dialect(dialect: sa.Dialect) -> None:
    if dialect.is_async:
        raise UnsupportedError(f"the driver {dialect.driver} is asynchronous. {INSTEAD}")
    if dialect.name == "postgresql" and dialect.driver != "psycopg":
        raise UnsupportedError(
            f"requant talks to PostgreSQL through psycopg, not {dialect.driver}: use a URL that "
            "begins with postgresql+psycopg:// (pip install requant[postgres])"
        )


def _engine_of_url(text: str, durable: bool) -> sa.Engine:
    # What is shown never holds the password.
    shown = text.partition("://")[0]
    try:
        url = sa.make_url(text)
        if url.drivername == "postgresql":  # which stands for psycopg2 before SQLAlchemy 2.1
            url = url.set(drivername="postgresql+psycopg")
        shown = repr(url)
        _check_dialect(url.get_dialect()())
        if url.get_backend_name() == "sqlite":
            _refuse_memory(url)
            return _sqlite_engine(url, durable)
        # Readers are kept outside the pool, and a write's own beginning tells as much as a ping. To
        # look at the socket is not enough: a connection being cut fails at its next statement.
        engine = sa.create_engine(url, max_overflow=_NO_LIMIT, pool_pre_ping=True)
        unawaited.spare_pings(engine)
        sa.event.listen(engine, "connect", _speak_utf8, insert=True)  # before SQLAlchemy asks
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise StoreError(f"cannot open {shown}: {error}") from error
    except InputError:
        raise
    except ValueError as error:  # a port that is no number
        raise StoreError(f"cannot open {shown}: not a database URL") from error
    if durable:
        sa.event.listen(engine, "connect", _commit_synchronously)
    return engine


def _speak_utf8(driver: Any, _record: object) -> None:
    """Give texts in UTF-8 to a database that asks for none; psycopg would give them as bytes."""
    if driver.info.parameter_status("client_encoding") == "SQL_ASCII":
        driver.execute("SET client_encoding TO 'UTF8'")
        driver.commit()


def _refuse_memory(url: sa.URL) -> None:
    if url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    ):
        raise InputError(
            "a SQLite database in memory cannot be shared by readers and writers: "
            'use requant.open(":memory:")'
        )


def _sqlite_engine(url: sa.URL, durable: bool) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, max_overflow=_NO_LIMIT)
    level = "FULL" if durable else "NORMAL"

    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, f"PRAGMA synchronous = {level}"):
            _execute_patiently(cursor, pragma)
        (size,) = cursor.execute("PRAGMA page_size").fetchone()
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // size:d}")
        cursor.close()

    sa.event.listen(engine, "connect", set_up)
    _begin_before_savepoints(engine.dialect)
    return engine


def _begin_before_savepoints(dialect: Any) -> None:
    """Begin the transaction that the driver begins at a write only, a savepoint or not.

    Without it, what was released from a first savepoint is committed, and a rollback comes late.
    """
    savepoint = dialect.do_savepoint

    def begun_savepoint(connection: sa.Connection, name: str) -> None:
        raw: Any = connection.connection.driver_connection
        if not raw.in_transaction:
            raw.execute("BEGIN")
        savepoint(connection, name)

    # No listener: a single one has SQLAlchemy look for others at each step of each transaction.
    dialect.do_savepoint = begun_savepoint


def _commit_synchronously(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        if is_pooled(connection, connection):  # what is set would be another transaction's
            (setting,) = cursor.execute("SHOW synchronous_commit").fetchone()
            if setting == "off":
                raise InputError(
                    "durable=True: behind a pooler (pgbouncer) synchronous_commit cannot be set "
                    "for a session, and it is off: switch it on for the role or the database"
                )
        else:
            cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _execute_patiently(cursor: Any, pragma: str) -> None:
    """Execute a pragma; SQLite's own patience ends where several turn to the write-ahead log."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
