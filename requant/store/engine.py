"""The database connection: opened, set up, and handed out for reading and writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.errors import StoreError
from requant.store.dialects import hot_sql
from requant.store.reader import Reader
from requant.store.schema import SCHEMA_VERSION, Tables, build_tables
from requant.store.snapshots import Reading, Snapshots

# 16 KB pages hold ten 384-dimensional vectors with 7 % overhead; 4 KB pages waste a third.
_PRAGMAS = (
    "PRAGMA page_size = 16384",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
)
_BUSY_SECONDS = 60.0
_NO_LIMIT = -1  # kept readers must not use up the connections of writers


class Store:
    """One database with requant's tables; shared by threads, reopened after a fork."""

    def __init__(self, engine: sa.Engine, *, owned: bool) -> None:
        """Create the tables in `engine` where they are missing; `owned` engines are disposed of."""
        self.engine = engine
        self.sql = hot_sql(engine.dialect.name)
        self.tables: Tables = build_tables()
        self._owned = owned
        self._pid = os.getpid()
        self._snapshots = Snapshots(engine, self.sql, self.tables, keep=owned)
        with self.errors(f"open {engine.url!r}"):
            self._prepare()

    def reading(self, connection: sa.Connection | None = None) -> AbstractContextManager[Reader]:
        """Lend a reader of one snapshot: nothing that others commit meanwhile is seen.

        With the caller's own connection it reads within the caller's transaction instead.
        """
        self._check_process()
        return (
            Reading(self._snapshots)
            if connection is None
            else nullcontext(self.reader_of(connection))
        )

    def reader_of(self, connection: sa.Connection) -> Reader:
        """Return a reader within the transaction of `connection`."""
        raw: Any = connection.connection.driver_connection
        return Reader(connection, raw.cursor(), self.sql, self.tables)

    @contextmanager
    def writing(self, connection: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction: the caller's own, or one that commits at the end.

        The first statement must write, so that the transaction waits for its turn before it reads.
        """
        self._check_process()
        if connection is not None:
            yield connection
            return
        with self.errors("write"), self.engine.begin() as own:
            yield own

    @contextmanager
    def writing_durably(self) -> Iterator[sa.Connection]:
        """Yield a transaction that is on the disk when it has committed, whatever the pragmas."""
        self._check_process()
        with self.errors("write"), self.engine.connect() as connection:
            sqlite = self.sql.name == "sqlite"
            before = connection.exec_driver_sql("PRAGMA synchronous").scalar() if sqlite else None
            if sqlite:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA synchronous = FULL")
                connection.rollback()
            try:
                with connection.begin():
                    yield connection
            finally:
                if sqlite:
                    connection.exec_driver_sql(f"PRAGMA synchronous = {int(before or 1)}")

    @contextmanager
    def errors(self, action: str) -> Iterator[None]:
        """Turn what SQLAlchemy and the driver raise into StoreError that names the action."""
        try:
            yield
        except self._snapshots.failures as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"cannot {action}: {cause}") from error

    def close(self) -> None:
        """Close the pooled connections of an engine that requant opened."""
        self._snapshots.close()
        if self._owned:
            self.engine.dispose()

    def _check_process(self) -> None:
        # SQLite and PostgreSQL connections must not cross a fork; the child starts with new ones.
        if os.getpid() != self._pid:
            self._snapshots.forget()
            self.engine.dispose(close=False)
            self._pid = os.getpid()

    def _prepare(self) -> None:
        inspector = sa.inspect(self.engine)
        if not inspector.has_table("requant_meta"):
            self.tables.metadata.create_all(self.engine)
        meta = self.tables.meta
        with self.engine.begin() as connection:
            connection.execute(_keep_first(self.engine, meta, "schema", str(SCHEMA_VERSION)))
            found = connection.execute(sa.select(meta.c.value).filter_by(name="schema")).scalar()
        if int(found or 0) != SCHEMA_VERSION:
            raise StoreError(
                f"{self.engine.url!r} has schema {found}, this requant reads {SCHEMA_VERSION}: "
                "upgrade requant"
            )


def open_store(target: str | Path | sa.Engine) -> Store:
    """Open a SQLite file, a database URL, or an application's own engine.

    Raises:
        StoreError: the database cannot be opened; the driver's error is the cause.
        UnsupportedError: neither SQLite nor PostgreSQL.
    """
    if isinstance(target, sa.Engine):
        return Store(target, owned=False)
    if "://" in str(target):
        try:
            engine = sa.create_engine(str(target), max_overflow=_NO_LIMIT)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise StoreError(f"cannot open {target}: {error}") from error
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _set_up_sqlite)
        return Store(engine, owned=True)
    path = Path(target)
    if not path.parent.is_dir():
        raise StoreError(f"cannot open {path}: the folder {path.parent} does not exist")
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, max_overflow=_NO_LIMIT)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    return Store(engine, owned=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _keep_first(engine: sa.Engine, table: sa.Table, name: str, value: str) -> sa.Insert:
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table).values(name=name, value=value).on_conflict_do_nothing()
