"""Ctrl-C in the midst of a statement: it is what is raised, nothing is torn, and all goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from requant.adapters.guards import EngineGuard
from requant.errors import StoreError
from tests.databases import vectors

N = 300


@pytest.fixture
def notes(any_db):
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite's statements are not waited for: Ctrl-C comes after them")
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N), metadata=[{"n": i} for i in range(N)])
    return notes


@contextmanager
def locked(any_db, table):
    """Let whoever needs a table wait, and press Ctrl-C once somebody does."""
    asks = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    engine = sa.create_engine(any_db.engine.url, poolclass=sa.pool.NullPool)
    with engine.connect() as holder:
        holder.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))

        def press():
            with engine.connect() as looking:
                while not looking.scalar(asks):
                    looking.rollback()
                    time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        # Whoever starts the tests in the background may have had SIGINT ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        thread = threading.Thread(target=press)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            holder.rollback()
            signal.signal(signal.SIGINT, before)


TABLES = ["requant_collections", "requant_items", "requant_vectors"]


@pytest.mark.parametrize("table", TABLES)
def test_a_write_that_waits(notes, any_db, table):
    for _ in range(3):
        with locked(any_db, table), pytest.raises(KeyboardInterrupt):
            notes.upsert(range(2 * N), vectors(2 * N, seed=1))
        assert notes.count() == N
    notes.upsert(range(2 * N), vectors(2 * N, seed=1))
    assert notes.count() == 2 * N
    assert notes.verify(deep=True).ok


@pytest.mark.parametrize("table", TABLES[1:])
def test_a_write_of_the_caller_that_waits(notes, any_db, table):
    with (
        any_db.engine.connect() as connection,
        locked(any_db, table),
        pytest.raises(KeyboardInterrupt),
    ):
        notes.upsert(range(2 * N), vectors(2 * N, seed=1), connection=connection)
    assert notes.count() == N


@pytest.mark.parametrize("table", ["requant_collections", "requant_vectors"])
def test_a_search_that_waits(notes, any_db, table):
    for _ in range(3):
        notes.upsert([0], vectors(1))  # else the vectors would be in memory by now
        with locked(any_db, table), pytest.raises(KeyboardInterrupt):
            notes.search(vectors(1)[0])
        assert notes.search(vectors(1)[0], k=1)[0].id == 0


@contextmanager
def answering_by_an_error(engine):
    """Let the driver be stopped while a connection is fetched, and raise an error of its own.

    As psycopg does in a pool's look at a connection: "can't change 'autocommit' now".
    """
    failure = engine.dialect.loaded_dbapi.OperationalError

    def stopped(*_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise failure("connection in transaction status ACTIVE")  # noqa: B904

    sa.event.listen(engine, "checkout", stopped)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", stopped)


def test_a_driver_that_answers_ctrl_c_by_an_error(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    calls = [
        lambda: notes.upsert(range(2 * N), vectors(2 * N, seed=1)),
        lambda: notes.delete(range(N)),
        lambda: any_db.collections(),
    ]
    for call in calls:
        with answering_by_an_error(any_db.engine), pytest.raises(KeyboardInterrupt):
            call()
        assert notes.count() == N


def test_a_savepoint_of_the_caller_that_ctrl_c_meets(any_db):
    notes = any_db.create_collection("notes", 8)
    with any_db.engine.connect() as connection:
        notes.upsert([1], vectors(1), connection=connection)

        def stopped(_connection, _cursor, statement, *_):
            if "SAVEPOINT" not in statement:
                with answering_by_an_error(any_db.engine):
                    any_db.engine.connect()

        sa.event.listen(connection, "before_cursor_execute", stopped)
        with pytest.raises(KeyboardInterrupt):
            notes.clear(connection=connection)


def test_an_error_while_ctrl_c_is_handled_is_an_error(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.upsert([0], vectors(1))  # a search of nothing asks for no vectors
    with any_db.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE requant_vectors"))
    for call in (lambda: notes.upsert([1], vectors(1)), lambda: notes.search(vectors(1)[0])):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with pytest.raises(StoreError):
                call()


def test_a_caller_whose_driver_is_left_in_the_midst_of_a_statement(notes, any_db, monkeypatch):
    """As psycopg is where Ctrl-C comes between two of its steps: no rollback gets through then."""
    import psycopg

    def stopped(cursor, *arguments, **options):
        monkeypatch.undo()
        cursor.connection.pgconn.send_query(b"SELECT 1")
        raise KeyboardInterrupt

    def act(call):
        with any_db.engine.begin() as connection:
            notes.delete([1], connection=connection)
            monkeypatch.setattr(psycopg.Cursor, "execute", stopped)
            call(connection)

    for call in (
        lambda connection: notes.upsert([N], vectors(1), connection=connection),
        lambda connection: notes.search(vectors(1)[0], connection=connection),
    ):
        with pytest.raises(KeyboardInterrupt):
            act(call)
        assert notes.count() == N


def test_an_engine_that_answers_ctrl_c_by_an_error():
    """As usearch does, now by a SystemError and now by a MemoryError."""
    guard = EngineGuard("usearch")
    with pytest.raises(KeyboardInterrupt), guard.shared:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
    with pytest.raises(MemoryError), guard.shared:
        raise MemoryError
