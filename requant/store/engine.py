"""The database connection: opened, set up, and handed out for reading and writing."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.errors import InputError, StoreError
from requant.store.forks import Gate
from requant.store.reader import Reader
from requant.store.schema import SCHEMA_VERSION, Tables, build_tables
from requant.store.snapshots import Reading, Snapshots
from requant.store.statements import HotSql, hot_sql

# 16 KB pages hold ten 384-dimensional vectors with 7 % overhead; 4 KB pages waste a third.
_PRAGMAS = (
    "PRAGMA page_size = 16384",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
)
_BUSY_SECONDS = 60.0
_CREATION_LOCK = 0x7265_7175_616E_7401  # "requant", and 1
_OLDER_SCHEMAS = ("1",)  # those that lack nothing but a table
_NO_LIMIT = -1  # kept readers must not use up the connections of writers


class Store:
    """One database with requant's tables; shared by threads, reopened after a fork."""

    def __init__(self, engine: sa.Engine, *, owned: bool) -> None:
        """Create the tables in `engine` where they are missing; `owned` engines are disposed of."""
        self.engine = engine
        self.sql: HotSql = hot_sql(engine.dialect.name)
        self.tables: Tables = build_tables()
        self._owned = owned
        self._snapshots = Snapshots(engine, self.sql, self.tables, keep=owned)
        self.gate: Gate = Gate(engine, self._snapshots.close, self._snapshots.forget)
        with self.gate.entered(), self.errors(f"open {engine.url!r}"):
            self._prepare()

    def reading(self, connection: sa.Connection | None = None) -> AbstractContextManager[Reader]:
        """Lend a reader of one snapshot: nothing that others commit meanwhile is seen.

        With the caller's own connection it reads within the caller's transaction instead.
        """
        if connection is None:
            return Reading(self._snapshots, self.gate)
        self.gate.check()
        return nullcontext(self.reader_of(connection))

    def reader_of(self, connection: sa.Connection) -> Reader:
        """Return a reader within the transaction of `connection`."""
        self._check_same(connection)
        raw: Any = connection.connection.driver_connection
        return Reader(connection, raw.cursor(), self.sql, self.tables)

    @contextmanager
    def writing(self, connection: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction: the caller's own, or one that commits at the end.

        The first statement must write, so that the transaction waits for its turn before it reads.
        """
        if connection is not None:
            self.gate.check()
            self._check_same(connection)
            yield connection
            return
        with self.gate.entered(), self.errors("write"), self.engine.begin() as own:
            yield own

    @contextmanager
    def writing_durably(self) -> Iterator[sa.Connection]:
        """Yield a transaction that is on the disk when it has committed, whatever the pragmas."""
        with self.gate.entered(), self.errors("write"), self.engine.connect() as connection:
            if self.sql.name != "sqlite":
                with connection.begin():
                    yield connection
                return
            # Past SQLAlchemy, whose transaction would begin first and lock the pragma.
            raw: Any = connection.connection.driver_connection
            (before,) = raw.execute("PRAGMA synchronous").fetchone()
            raw.execute("PRAGMA synchronous = FULL")
            try:
                with connection.begin():
                    yield connection
            finally:
                raw.rollback()  # a commit that failed leaves its transaction open
                raw.execute(f"PRAGMA synchronous = {before:d}")

    def is_free(self, collection: int) -> bool:
        """Whether nobody is writing to a collection just now, so that we need not wait."""
        with self.connected() as connection:
            try:
                if self.sql.name == "sqlite":
                    _try_to_lock(connection.connection.driver_connection)
                else:
                    table = self.tables.collections
                    row = sa.select(table.c.id).where(table.c.id == collection)
                    connection.execute(row.with_for_update(nowait=True))
            except self._snapshots.failures:
                return False
        return True

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """Yield a connection for a read that needs no snapshot."""
        with self.gate.entered(), self.errors("read"), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn what SQLAlchemy and the driver raise into StoreError that names the action."""
        try:
            yield
        except self._snapshots.failures as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"cannot {action}: {cause}") from error

    def close(self) -> None:
        """Let nobody in any more, and close the connections of an engine that requant opened."""
        self.gate.close()
        self._snapshots.close()
        if self._owned:
            self.engine.dispose()

    def _check_same(self, connection: sa.Connection) -> None:
        """Refuse a connection to another database: the ids would be stored where nobody looks."""
        ours, theirs = self.engine.url, connection.engine.url
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

    def _prepare(self) -> None:
        if self.sql.name == "sqlite" and not self._owned:
            self._write_ahead()
        meta = self.tables.meta
        schema = sa.select(meta.c.value).where(meta.c.name == "schema")
        if not sa.inspect(self.engine).has_table(meta.name):
            self._create()
        with self.engine.connect() as connection:
            found = connection.execute(schema).scalar()
        if found in (None, *_OLDER_SCHEMAS):  # None: an application made the tables with its own
            self._create()
        elif found != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.engine.url!r} has schema {found}, this requant reads {SCHEMA_VERSION}: "
                "upgrade requant"
            )

    def _write_ahead(self) -> None:
        """Turn an application's file to the write-ahead log: else a search could not publish."""
        with self.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            (mode,) = raw.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{self.engine.url!r} has no write-ahead log: its journal is {mode}")

    def _create(self) -> None:
        """Create all missing tables or none, though several processes may try at the same time."""
        with self.engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            if self.sql.name != "sqlite":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
            elif not raw.in_transaction:
                raw.execute("BEGIN IMMEDIATE")
            self.tables.metadata.create_all(connection)
            insert = insert_into(self.engine, self.tables.meta)
            version = str(SCHEMA_VERSION)
            insert = insert.values(name="schema", value=version)
            known = insert.on_conflict_do_update(index_elements=["name"], set_={"value": version})
            connection.execute(known)


def open_store(engine: sa.Engine, *, owned: bool) -> Store:
    """Open the store in `engine`, which is disposed of if that fails and it is `owned`.

    Raises:
        StoreError: the database cannot be opened; the driver's error is the cause.
        UnsupportedError: neither SQLite nor PostgreSQL.
    """
    try:
        return Store(engine, owned=owned)
    except BaseException:
        if owned:
            engine.dispose()
        raise


def engine_of(target: str | os.PathLike[str] | sa.Engine) -> tuple[sa.Engine, bool]:
    """Return the engine of a SQLite file, a URL, or an application; and whether it is ours.

    Raises:
        InputError: not one of these, or SQLite in memory, which has one connection only.
        StoreError: no such folder, or no driver for the URL.
    """
    if isinstance(target, sa.Engine):
        _refuse_memory(target.url)
        return target, False
    if not isinstance(target, str | os.PathLike) or not str(target):
        raise InputError(f"open takes a path, a URL or a SQLAlchemy engine, not {target!r}")
    if "://" in str(target):
        return _engine_of_url(str(target)), True
    path = Path(target)
    if not path.parent.is_dir():
        raise StoreError(f"cannot open {path}: the folder {path.parent} does not exist")
    return _sqlite_engine(sa.URL.create("sqlite", database=str(path))), True


def _engine_of_url(text: str) -> sa.Engine:
    # What is shown never holds the password.
    shown = text.partition("://")[0]
    try:
        url = sa.make_url(text)
        shown = repr(url)
        if url.get_backend_name() == "sqlite":
            _refuse_memory(url)
            return _sqlite_engine(url)
        # Readers are kept outside the pool, so the ping costs writes alone.
        return sa.create_engine(url, max_overflow=_NO_LIMIT, pool_pre_ping=True)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise StoreError(f"cannot open {shown}: {error}") from error
    except InputError:
        raise
    except ValueError as error:  # a port that is no number
        raise StoreError(f"cannot open {shown}: not a database URL") from error


def _refuse_memory(url: sa.URL) -> None:
    if url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    ):
        raise InputError(
            "a SQLite database in memory cannot be shared by readers and writers: "
            'use requant.open(":memory:")'
        )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, max_overflow=_NO_LIMIT)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "savepoint", _begin_before_savepoint)
    return engine


def _begin_before_savepoint(connection: sa.Connection, _name: str) -> None:
    """Begin the transaction that the driver begins at a write only, a savepoint or not.

    Without it, what was released from a first savepoint is committed, and a rollback comes late.
    """
    raw: Any = connection.connection.driver_connection
    if not raw.in_transaction:
        raw.execute("BEGIN")


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        _execute_patiently(cursor, pragma)
    cursor.close()


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


def _try_to_lock(raw: Any) -> None:
    (before,) = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        raw.execute("BEGIN IMMEDIATE")
    finally:
        raw.rollback()
        raw.execute(f"PRAGMA busy_timeout = {before:d}")


def insert_into(engine: sa.Engine, table: sa.Table) -> Any:
    """Return the INSERT of the engine's dialect, which knows ON CONFLICT."""
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table)
