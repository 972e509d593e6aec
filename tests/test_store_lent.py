"""What callers lend: one savepoint a call, and what is no synchronous connection is refused."""

from __future__ import annotations

import asyncio
import sqlite3

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import sessionmaker

import requant
from requant.errors import InputError, StoreError, UnsupportedError
from requant.integration.sqlalchemy import add_tables
from tests import inside
from tests.databases import expected, held, vectors


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'application.db'}"
    else:
        url = request.getfixturevalue("empty_postgres")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def notes(engine, tmp_path):
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        yield db.create_collection("notes", 8, "l2")


def counts(engine):
    tables = ("requant_items", "requant_vectors")
    with engine.connect() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in tables]


def break_the_third_vector(engine):
    """Let the database refuse one vector, once the items of its batch have been written."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER third BEFORE INSERT ON requant_vectors "
                "WHEN (SELECT count(*) FROM requant_vectors) >= 3 "
                "BEGIN SELECT RAISE(ABORT, 'no more than three'); END"
            )
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION third() RETURNS trigger AS $$ BEGIN "
                "IF (SELECT count(*) FROM requant_vectors) >= 3 THEN "
                "RAISE EXCEPTION 'no more than three'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER third BEFORE INSERT ON requant_vectors "
                "FOR EACH ROW EXECUTE FUNCTION third()"
            )


def test_an_upsert_that_fails_half_way_leaves_nothing_of_itself(engine, notes):
    notes.upsert(["a"], vectors(1))
    break_the_third_vector(engine)
    with engine.begin() as connection:
        notes.upsert(["b"], vectors(1, seed=1), connection=connection)
        driver = engine.dialect.loaded_dbapi.Error
        with pytest.raises((sa.exc.DBAPIError, driver), match="no more than three"):
            notes.upsert(range(20), vectors(20, seed=2), connection=connection)
        notes.upsert(["a"], documents=["still usable"], connection=connection)
    assert sorted(item.id for item in notes.iter()) == ["a", "b"]
    assert counts(engine) == [2, 2]
    assert notes.get(["a"])[0].document == "still usable"
    assert notes.verify(deep=True).ok


def test_the_first_call_in_a_transaction_is_taken_back_with_it(engine, notes):
    with engine.connect() as connection:
        notes.upsert(["a"], vectors(1), connection=connection)
        connection.rollback()
    assert len(notes) == 0
    with engine.connect() as connection:
        notes.upsert(["b"], vectors(1), connection=connection)
        notes.delete(["b"], connection=connection)
        notes.upsert(["c"], vectors(1), connection=connection)
        connection.commit()
    assert [item.id for item in notes.iter()] == ["c"]
    notes.add_index("main", engine="usearch")
    assert held(notes) == expected(notes)


def test_drivers_that_begin_by_themselves_keep_the_callers_choice(tmp_path):
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'application.db'}", connect_args={"isolation_level": "IMMEDIATE"}
    )
    with requant.open(engine) as db:
        notes = db.create_collection("notes", 8)
        with engine.connect() as connection:
            notes.upsert(["a"], vectors(1), connection=connection)
            other = sqlite3.connect(tmp_path / "application.db", timeout=0)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()
            connection.rollback()
        assert len(notes) == 0
    engine.dispose()


def test_engines_and_raw_connections_are_no_connections(engine, notes):
    raw = engine.raw_connection()
    wrong = {
        r"engine\.begin\(\)": [engine],
        r"not a sessionmaker": [sessionmaker(engine)],
        "takes a sqlalchemy.Connection": [raw, raw.driver_connection, "a URL"],
    }
    for text, those in wrong.items():
        for one in those:
            with pytest.raises(InputError, match=text):
                notes.upsert(["a"], vectors(1), connection=one)
            with pytest.raises(InputError, match=text):
                notes.get(["a"], connection=one)
            with pytest.raises(InputError, match=text):
                notes.delete(["a"], connection=one)
    raw.close()
    assert len(notes) == 0


def async_urls(tmp_path, postgres):
    bare = postgres.replace("+psycopg", "")
    return {
        "aiosqlite": f"sqlite+aiosqlite:///{tmp_path / 'application.db'}",
        "asyncpg": bare.replace("postgresql://", "postgresql+asyncpg://"),
        "psycopg": postgres,
        "psycopg_async": bare.replace("postgresql://", "postgresql+psycopg_async://"),
    }


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg", "psycopg", "psycopg_async"])
def test_everything_asynchronous_is_refused_by_name(driver, tmp_path, empty_postgres):
    url = async_urls(tmp_path, empty_postgres)[driver]
    sync = f"sqlite:///{tmp_path / 'application.db'}" if driver == "aiosqlite" else empty_postgres
    refused = pytest.raises(UnsupportedError, match=r"asyncio\.to_thread")
    with requant.open(sync, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)

        def write(lent):
            with pytest.raises(UnsupportedError, match=r"asyncio\.to_thread"):
                notes.upsert(["a"], vectors(1), connection=lent)
            with pytest.raises(UnsupportedError, match=r"asyncio\.to_thread"):
                notes.get(["a"], connection=lent)

        async def try_all():
            engine = create_async_engine(url)
            for given in (engine, engine.sync_engine):
                with pytest.raises(UnsupportedError, match=r"asyncio\.to_thread"):
                    requant.open(given, folder=tmp_path / "never")
            async with engine.begin() as connection:
                write(connection)
                write(connection.sync_connection)  # outside run_sync
                # What the caller does with it still works.
                assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
            async with AsyncSession(engine) as session:
                write(session)
            await engine.dispose()

        asyncio.run(try_all())
        assert len(notes) == 0
        if driver != "psycopg":  # whose URL is that of the synchronous one
            with refused:
                requant.open(url, folder=tmp_path / "never")
        # What to use instead works.
        asyncio.run(asyncio.to_thread(notes.upsert, ["a"], vectors(1)))
        assert len(notes) == 1


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_other_drivers_of_postgresql_are_refused_by_name(driver, tmp_path):
    with pytest.raises(UnsupportedError, match=r"postgresql\+psycopg://"):
        requant.open(f"postgresql+{driver}://nobody@localhost/none", folder=tmp_path)


def test_a_url_without_a_driver_means_psycopg(empty_postgres, tmp_path):
    with requant.open(empty_postgres.replace("+psycopg", ""), folder=tmp_path) as db:
        assert db.engine.dialect.driver == "psycopg"


def test_a_thread_does_not_wait_for_itself(engine, notes):
    with engine.connect() as connection:
        notes.upsert(["a"], vectors(1), connection=connection)
        for write in (
            lambda: notes.upsert(["b"], vectors(1)),
            lambda: notes.delete(["a"]),
            lambda: notes.add_index("main", engine="faiss"),
        ):
            with pytest.raises(StoreError, match="connection= here as well, or commit"):
                write()
        connection.commit()
        notes.upsert(["b"], vectors(1))
        connection.rollback()
    notes.upsert(["c"], vectors(1))
    assert [item.id for item in notes.iter()] == ["a", "b", "c"]


def test_each_of_two_databases_knows_what_it_has_written(engine, notes, tmp_path):
    """One transaction writes to both: neither waits for it, nor takes the other's for its own."""
    theirs = add_tables(sa.MetaData(), prefix="theirs_")
    other = sa.create_engine(engine.url)
    if engine.dialect.name == "postgresql":
        sa.event.listen(
            other, "connect", lambda raw, _: raw.execute("SET lock_timeout = 2000") and raw.commit()
        )
    else:
        sa.event.listen(other, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 2000"))
    with requant.open(other, folder=tmp_path / "theirs", tables=theirs) as db:
        words = db.create_collection("words", 8)
        assert inside.row_of(words).id == inside.row_of(notes).id
        with engine.connect() as connection:
            for _ in range(2):
                notes.upsert(["a"], vectors(1), connection=connection)
                words.upsert(["a"], vectors(1), connection=connection)
                for each in (notes, words):
                    with pytest.raises(StoreError, match="would wait for itself"):
                        each.upsert(["b"], vectors(1))
                connection.commit()
            if engine.dialect.name == "postgresql":  # SQLite has one writer
                notes.upsert(["a"], vectors(1), connection=connection)
                assert words.upsert(["c"], vectors(1)) == 1
                connection.rollback()
        assert (len(notes), len(words)) == (1, 2 if engine.dialect.name == "postgresql" else 1)
    other.dispose()


@pytest.mark.parametrize("owned", [True, False])
def test_a_lock_that_the_caller_holds_is_named_at_once(tmp_path, owned):
    url = f"sqlite:///{tmp_path / 'application.db'}"
    engine = sa.create_engine(url)
    with requant.open(url if owned else engine) as db:
        notes = db.create_collection("notes", 8)
        for _ in range(2):
            with db.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS orders (id INTEGER)")
                connection.exec_driver_sql("INSERT INTO orders VALUES (1)")
                with pytest.raises(StoreError, match="connection= here as well, or commit"):
                    notes.upsert(["a"], vectors(1))
                notes.upsert(["b"], vectors(1), connection=connection)
                assert notes.search(np.ones(8)) == [] or notes.get(["b"])
            with db.engine.connect() as connection:  # who only reads, or has ended, is no obstacle
                connection.exec_driver_sql("INSERT INTO orders VALUES (2)")
                connection.commit()
                connection.exec_driver_sql("SELECT * FROM orders").all()
                notes.upsert(["c"], vectors(1))
        assert [item.id for item in notes.iter()] == ["b", "c"]
    engine.dispose()


def test_a_lock_that_somebody_holds_is_named(tmp_path):
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'application.db'}", connect_args={"timeout": 0.1}
    )
    with requant.open(engine) as db:
        notes = db.create_collection("notes", 8)
        other = sqlite3.connect(tmp_path / "application.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="pass its connection as connection="):
            notes.upsert(["a"], vectors(1))
        other.rollback()
        other.close()
        notes.upsert(["a"], vectors(1))
    engine.dispose()


def test_durable_databases_say_so(tmp_path, empty_postgres):
    def level(db):
        notes = db.create_collection("notes", 8, exist_ok=True)
        notes.upsert(["a"], vectors(1))
        with inside.connected(notes) as connection:
            return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    with requant.open(tmp_path / "one") as db:
        assert level(db) == 1
    for target in (tmp_path / "one", f"sqlite:///{tmp_path / 'two'}"):
        with requant.open(target, durable=True) as db:
            assert level(db) == 2
            notes = db.collection("notes")
            notes.add_index("main", engine="faiss")
            notes.flush()
            assert level(db) == 2
    with psycopg.connect(empty_postgres.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("ALTER DATABASE postgres SET synchronous_commit = off")
        try:
            with requant.open(empty_postgres, folder=tmp_path, durable=True) as db:
                notes = db.create_collection("notes", 8)
                with inside.connected(notes) as connection:
                    assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            engine = sa.create_engine(empty_postgres)
            with pytest.raises(InputError, match="synchronous_commit"):
                requant.open(engine, folder=tmp_path, durable=True)
            engine.dispose()
        finally:
            other.execute("ALTER DATABASE postgres RESET synchronous_commit")


def test_an_applications_engine_has_to_be_durable_itself(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    with requant.open(engine, durable=True) as db:  # FULL is what SQLite begins with
        db.create_collection("notes", 8).upsert(["a"], np.ones((1, 8)))

    @sa.event.listens_for(engine, "connect")
    def careless(connection, _record):
        connection.execute("PRAGMA synchronous = OFF")

    engine.dispose()
    with pytest.raises(InputError, match="PRAGMA synchronous = 0"):
        requant.open(engine, durable=True)
    engine.dispose()


def by_name(cursor, row):
    """Rows of sqlite3 as dictionaries."""
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def test_rows_that_sqlalchemy_reads_wrong_are_refused(engine, notes, tmp_path):
    """Fields would be read as if there were none, and no longer be told of what is written."""
    factories = [by_name, sqlite3.Row]
    if engine.dialect.name == "postgresql":
        factories = [dict_row, namedtuple_row]
    notes.index_field("n")
    with engine.begin() as connection:
        raw = connection.connection.driver_connection
        before, raw.row_factory = raw.row_factory, factories[0]
        for call in (notes.upsert, notes.add):
            with pytest.raises(InputError, match="row_factory"):
                call(["a"], vectors(1), metadata=[{"n": 1}], connection=connection)
        with pytest.raises(InputError, match="row_factory"):
            notes.search(vectors(1)[0], 1, connection=connection)
        raw.row_factory = factories[1]
        assert notes.upsert(["a"], vectors(1), metadata=[{"n": 1}], connection=connection) == 1
        assert notes.ids(where={"n": 1}, connection=connection) == ["a"]
        raw.row_factory = before
    other = sa.create_engine(engine.url)
    sa.event.listen(other, "connect", lambda raw, _: setattr(raw, "row_factory", factories[0]))
    with pytest.raises(InputError, match="row_factory"):
        requant.open(other, folder=tmp_path / "indexes")
    other.dispose()


def test_a_pipeline_is_refused_by_name(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        with engine.begin() as connection, connection.connection.driver_connection.pipeline():
            for write in (notes.upsert, notes.add):
                with pytest.raises(InputError, match="pipeline"):
                    write(["a"], vectors(1), connection=connection)
        with engine.begin() as connection:
            assert notes.upsert(["a"], vectors(1), connection=connection) == 1
        assert notes.ids() == ["a"]
    engine.dispose()


def test_what_a_driver_raises_is_an_error_of_sqlalchemy(any_db):
    """Applications that begin again after a deadlock look out for that, whoever executed it."""
    notes = any_db.create_collection("notes", 8)
    notes.upsert(["a"], vectors(1))
    break_the_third_vector(any_db.engine)
    with any_db.engine.connect() as connection:
        for n in (4, 40):
            with pytest.raises(sa.exc.DBAPIError, match="no more than three") as raised:
                notes.upsert([f"{i}" for i in range(n)], vectors(n), connection=connection)
            assert raised.value.orig is raised.value.__cause__
            assert raised.value.params is None
        notes.upsert(["b"], vectors(1), connection=connection)
        connection.commit()
    assert notes.ids() == ["a", "b"]


def test_a_transaction_that_has_to_be_begun_again_is_told_so(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres, isolation_level="REPEATABLE READ")
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        with engine.connect() as connection:
            assert notes.ids(connection=connection) == []
            notes.upsert(["a"], vectors(1))
            with pytest.raises(sa.exc.OperationalError, match="could not serialize") as raised:
                notes.upsert(["a"], vectors(1), connection=connection)
            assert isinstance(raised.value.orig, psycopg.errors.SerializationFailure)
            connection.rollback()
            notes.upsert(["b"], vectors(1), connection=connection)
            connection.commit()
        assert notes.ids() == ["a", "b"]
    engine.dispose()
