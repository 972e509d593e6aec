"""The database connection: opened, set up, and handed out for reading and writing.

This file is long because what opens, reads, writes and numbers shares one set of connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import sqlalchemy as sa

from requant.errors import StoreError
from requant.metrics import Meters
from requant.store.connections import (
    Gate,
    Held,
    Lent,
    Taken,
    as_connection,
    as_sqlalchemy,
    check_durable,
    check_rows,
    keep_log_short,
    parents,
    plain_cursor,
    savepoint,
    sibling,
    taken_of,
    unawaited,
)
from requant.store.fields import Memory
from requant.store.history import Numbering
from requant.store.interrupted import handled_now
from requant.store.mapping import may_be_mapped
from requant.store.reader import Reader
from requant.store.schema import Tables, build_tables
from requant.store.setup import (
    Same,
    check_translated,
    is_new,
    page_size,
    pages_of,
    place,
    pooled,
    prepare,
    rewrite,
)
from requant.store.snapshots import BusyError as BusyError
from requant.store.snapshots import (
    Reading,
    Snapshots,
    giving_up,
    store_error,
    translated,
)
from requant.store.statements import HotSql, hot_sql

# What waits for more than this server's disk stays as it is.
_DURABLY = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
_NUMBERING_SECONDS = 5.0
_NUMBERING_POLL = 0.002
_IN_PASSING = 0.05  # so long, about, by a search, and by who writes much


class Store:
    """One database with requant's tables; shared by threads, reopened after a fork."""

    read_only: ClassVar[bool] = False

    def __init__(
        self,
        engine: sa.Engine,
        *,
        owned: bool,
        durable: bool = False,
        tables: Tables | None = None,
        create: bool = True,
    ) -> None:
        """Use `tables` in `engine`, which are made where they are missing if `create`.

        Engines that are `owned` are disposed of.
        """
        self.engine = engine
        pooled.keep_from_preparing(engine)
        wanted = tables if tables is not None else build_tables()
        self._wanted, self._create = wanted.schema, create
        self.tables: Tables = _placed(engine, wanted)
        self.sql: HotSql = hot_sql(engine.dialect.name, self.tables)
        self.fields: Memory = Memory(self.tables)
        self.meters: Meters = Meters()
        self.numbering: Numbering = Numbering(self.sql, self.tables, self.fields)
        self.given_ids = 0  # the highest of a collection that was made on a lent connection
        self._owned = owned
        self._held = Held()
        self._local = threading.local()  # `patience`, where it is not the driver's own
        self._own = self._with_our_isolation(engine)
        beside = engine if owned else sibling(engine)
        pooled.keep_from_preparing(beside)
        self._beside = self._with_our_isolation(beside)
        self._same = Same(engine, beside)
        self._snapshots = Snapshots(
            engine, beside, self._held, self.sql, self.tables, self.fields, keep=owned
        )
        self.gate: Gate = Gate(engine, self._close_idle, self._forget)
        self._taken: Taken | None = None
        if self.sql.name == "sqlite":
            keep_log_short(engine)
            self._taken = taken_of(engine)
        with self.gate.entered(), self.errors(f"open {engine.url!r}"):
            if durable and not owned:
                check_durable(engine)
            self._prepare()
            if self.sql.name == "sqlite":
                with engine.connect() as connection:
                    self.gate.watch(connection)
                self._map()

    def fit_pages(self, dim: int) -> None:
        """Give a SQLite file that has no collection yet pages for vectors of `dim` numbers.

        Nothing is done where others have it open, or it is not requant's alone.
        """
        if self.sql.name != "sqlite" or not self._owned or self.read_only:
            return
        size = page_size(dim)
        with self.gate.entered(), self.errors("read"), self._own.connect() as connection:
            if pages_of(connection) == size or not is_new(connection, self.tables):
                return
        with self.gate.entered(), suppress(*self._snapshots.failures):
            self._snapshots.close()
            self.engine.dispose()
            with self._own.connect() as connection:
                raw: Any = connection.connection.driver_connection
                with _waiting(raw, 0):
                    rewrite(raw, size)
            self.engine.dispose()  # what a connection is set to depends on the size

    def _map(self) -> None:
        """Let readers of a file that requant opened map it, where that is safe."""
        standing = self.gate.standing
        if self._owned and standing and may_be_mapped(standing.path, read_only=self.read_only):
            self._snapshots.map(standing)

    def reading(self, connection: Lent | None = None) -> AbstractContextManager[Reader]:
        """Lend a reader of one snapshot: nothing that others commit meanwhile is seen.

        With the caller's own connection it reads within the caller's transaction instead.
        """
        if connection is None:
            return Reading(self._snapshots, self.gate)
        self.gate.check()
        return self._lent(connection)

    def reader_of(self, lent: Lent) -> Reader:
        """Return a reader within the transaction of a connection or session."""
        connection = self.connection_of(lent)
        cursor = plain_cursor(connection)
        return Reader(connection, cursor, self.sql, self.tables, self.fields, lent=True)

    def connection_of(self, lent: Lent) -> sa.Connection:
        """Return the connection that a caller lends; raises InputError unless it is to this one."""
        connection = as_connection(lent)
        self._same.check(connection)
        pooled.keep_lent_from_preparing(connection)
        check_translated(connection, self._wanted, self.tables.schema)
        return connection

    @contextmanager
    def _lent(self, lent: Lent) -> Iterator[Reader]:
        reader = self.reader_of(lent)
        connection, _ = reader.source()
        # What has to read further does so by it, too.
        with self._held.holding(reader), as_sqlalchemy(connection):
            yield reader

    def reading_further(self) -> AbstractContextManager[Reader]:
        """Lend the reader that this thread reads by already, or one of a new snapshot."""
        readers = (one for one in reversed(self._held.here()) if isinstance(one, Reader))
        found = next(readers, None)
        return self.reading() if found is None else nullcontext(found)

    def check_writable(self) -> None:
        """Raise ReadOnlyError if this store is only read."""

    @contextmanager
    def writing(
        self,
        lent: Lent | None = None,
        *,
        turn: int | None = None,
        first: Callable[[sa.Connection], None] | None = None,
    ) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction: the caller's own, or one that commits at the end.

        The first statement must write, so that the transaction waits for its turn before it reads;
        `turn` is the collection whose turn that is, and `first` takes it, if it is given: a turn
        that leads to nothing does no harm. What fails on the caller's connection is taken back, and
        nothing else of the caller's transaction.

        Raises StoreError where the transaction would wait for one that this thread has open.
        """
        self.gate.check_open()
        if lent is not None:
            self.gate.check_standing()
            connection = self.connection_of(lent)
            with as_sqlalchemy(connection), savepoint(connection, first):
                yield connection
            self._held.note_write(connection, turn)
            return
        if self._taken is not None:
            turn = None  # there is one for all collections
            if self._taken.this_thread_writes():
                raise self._held.itself()
        self._held.refuse_to_wait_for_itself(turn)
        with (
            self.gate.entered(),
            self.errors("write"),
            self._to_write() as own,
            self._as_patient(own),
            own.begin(),
            giving_up(own),
        ):
            if first is not None:
                first(own)
            yield own
        self.gate.check_standing()  # no acknowledgement of what went to a file that was replaced

    @contextmanager
    def patience(self, milliseconds: int | None) -> Iterator[None]:
        """Let this thread's own writes wait no longer than so for others; None: as ever.

        They raise BusyError then. PostgreSQL locks rows, for which nobody here waits long.
        """
        before = getattr(self._local, "patience", None)
        self._local.patience = milliseconds
        try:
            yield
        finally:
            self._local.patience = before

    @contextmanager
    def writing_durably(self) -> Iterator[sa.Connection]:
        """Yield a transaction that is on the disk when it has committed, whatever the pragmas."""
        with (
            self.gate.entered(),
            self.errors("write"),
            self._connection() as connection,
            self._as_patient(connection),
        ):
            if self.sql.name != "sqlite":
                with connection.begin(), giving_up(connection):
                    connection.execute(sa.text(_DURABLY))
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
        self.gate.check_standing()

    def number(self, collection: int, *, wait: bool = False, beside: bool = False) -> int | None:
        """Give a number to what PostgreSQL's writers have committed, and return the latest.

        `beside` a caller's transaction, by a connection that is none of its pool.

        None in SQLite, where it is the writers who count, and where not all has a number: somebody
        else has the row of the collection, without `wait` at once, else after some seconds, since
        it may be this thread itself; or, without `wait`, it would take long.
        """
        if self.sql.name == "sqlite":
            return None
        begun = time.monotonic()
        until = begun + _NUMBERING_SECONDS
        while True:
            try:
                found = self._number_some(collection, beside)
            except StoreError:
                if wait:
                    raise
                return None  # whoever may write does it
            in_passing = not wait and time.monotonic() > begun + _IN_PASSING
            if found is not None and (found[1] or in_passing):
                return found[0] if found[1] else None
            if found is None:
                if not wait or time.monotonic() >= until:
                    return None
                time.sleep(_NUMBERING_POLL)

    def _number_some(self, collection: int, beside: bool) -> tuple[int, bool] | None:
        with (
            self.gate.entered(),
            self.errors("write"),
            self._beside.connect() if beside else self._connection() as own,
            own.begin(),
            giving_up(own),
        ):
            if beside:  # that transaction may have locked whole tables, and would never end
                own.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            return self.numbering.some(own, collection)

    def is_free(self, collection: int) -> bool:
        """Whether nobody is writing to a collection just now, so that we need not wait."""
        with self.connected() as connection:
            try:
                if self.sql.name == "sqlite":
                    _try_to_lock(connection.connection.driver_connection)
                else:
                    table = self.tables.collections
                    row = sa.select(table.c.id).where(table.c.id == collection)
                    connection.execute(row.with_for_update(nowait=True, key_share=True))
            except self._snapshots.failures:
                return False
        return True

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """Yield a connection for a read that needs no snapshot."""
        with self.gate.entered(), self.errors("read"), self._connection() as connection:
            yield connection

    def errors(self, action: str) -> AbstractContextManager[None]:
        """Turn what SQLAlchemy and the driver raise into StoreError that names the action.

        Not where they were stopped by Ctrl-C, which is raised then.
        """
        return _Errors(self._snapshots.failures, action)

    @property
    def log_bytes(self) -> int | None:
        """The size of SQLite's write-ahead log; None for another database, or a closed one."""
        if not self.gate.file:
            return None
        log = Path(f"{self.gate.file}-wal")
        return log.stat().st_size if log.exists() else 0

    def close(self) -> None:
        """Let nobody in any more, and close the connections of an engine that requant opened."""
        self.gate.close()
        self._snapshots.shut()
        (self.engine if self._owned else self._beside).dispose()

    def _as_patient(self, connection: sa.Connection) -> AbstractContextManager[None]:
        milliseconds = getattr(self._local, "patience", None)
        if milliseconds is None or self.sql.name != "sqlite":
            return nullcontext()
        return _waiting(connection.connection.driver_connection, milliseconds)

    def _connection(self) -> AbstractContextManager[sa.Connection]:
        return self._own.connect() if self._owned else self._connection_here()

    def _to_write(self) -> AbstractContextManager[sa.Connection]:
        if self._owned and self.sql.name != "sqlite":
            return unawaited.begun(self.engine, self._own)
        return self._connection()

    @contextmanager
    def _connection_here(self) -> Iterator[sa.Connection]:
        engine = self._beside if self._held.here() else self._own
        with engine.connect() as connection, self._held.holding(connection):
            yield connection

    def _with_our_isolation(self, engine: sa.Engine) -> sa.Engine:
        """Our own transactions wait for their turn and then see what the one before has written."""
        if self.sql.name == "sqlite":
            return engine
        return engine.execution_options(isolation_level="READ COMMITTED")

    def _close_idle(self) -> None:
        """Close what nobody uses, as before a fork."""
        self._snapshots.close()
        if not self._owned:
            self._beside.dispose()

    def _forget(self) -> None:
        """Let go in a child of what is its parent's, unclosed."""
        self._snapshots.forget()
        self.meters.begin_anew()
        if not self._owned:
            parents.append(self._beside.pool)
            self._beside.dispose(close=False)

    def _prepare(self) -> None:
        if self.sql.name == "sqlite" and not self._owned:
            self._write_ahead()
        prepare(self._own, self.tables, create=self._create)

    def _write_ahead(self) -> None:
        """Turn an application's file to the write-ahead log: else a search could not publish."""
        with self.engine.connect() as connection:
            check_rows(connection)
            raw: Any = connection.connection.driver_connection
            (mode,) = raw.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{self.engine.url!r} has no write-ahead log: its journal is {mode}")


class _Errors:
    """A context that raises StoreError in place of what a database raises."""

    __slots__ = ("_action", "_failures", "_handled")

    def __init__(self, failures: tuple[type[Exception], ...], action: str) -> None:
        self._failures = failures
        self._action = action
        self._handled: BaseException | None = None

    def __enter__(self) -> None:
        self._handled = handled_now()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and isinstance(error, self._failures):
            raise translated(self._action, error, self._handled) from error


def open_store(
    engine: sa.Engine,
    *,
    owned: bool,
    durable: bool = False,
    tables: Tables | None = None,
    create: bool = True,
) -> Store:
    """Open the store in `engine`, which is disposed of if that fails and it is `owned`.

    Raises:
        StoreError: the database cannot be opened; the driver's error is the cause.
        UnsupportedError: neither SQLite nor PostgreSQL.
    """
    try:
        return Store(engine, owned=owned, durable=durable, tables=tables, create=create)
    except BaseException:
        if owned:
            engine.dispose()
        raise


def _placed(engine: sa.Engine, wanted: Tables) -> Tables:
    try:
        return place(engine, wanted)
    except sa.exc.SQLAlchemyError as error:
        raise store_error(f"open {engine.url!r}", error) from error


def _try_to_lock(raw: Any) -> None:
    with _waiting(raw, 0):
        try:
            raw.execute("BEGIN IMMEDIATE")
        finally:
            raw.rollback()


@contextmanager
def _waiting(raw: Any, milliseconds: int) -> Iterator[None]:
    """Let a connection to SQLite wait no longer than so."""
    (before,) = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute(f"PRAGMA busy_timeout = {milliseconds:d}")
    try:
        yield
    finally:
        raw.execute(f"PRAGMA busy_timeout = {before:d}")


def insert_into(database: sa.Engine | sa.Connection, table: sa.Table) -> Any:
    """Return the INSERT of a database's dialect, which knows ON CONFLICT."""
    if database.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table)
