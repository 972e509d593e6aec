"""Inside an application's own engine and transaction, beside its own tables."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import DuplicateIdError, InputError, StoreError
from requant.store.schema import build_tables
from tests.databases import expected, held, vectors

APPLICATION = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    APPLICATION,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)


def listening_engine(url):
    """An engine that begins transactions itself, as SQLAlchemy's documentation shows."""
    engine = sa.create_engine(url)

    @sa.event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


@pytest.fixture(params=["sqlite", "sqlite begun by hand", "postgresql"])
def engine(request, tmp_path):
    """The engine of an application, with default settings and a table of its own."""
    if request.param == "postgresql":
        url = request.getfixturevalue("empty_postgres")
    else:
        url = f"sqlite:///{tmp_path / 'application.db'}"
    make = listening_engine if request.param == "sqlite begun by hand" else sa.create_engine
    engine = make(url)
    APPLICATION.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def db(engine, tmp_path):
    with requant.open(engine, folder=tmp_path / "indexes") as database:
        yield database


@pytest.fixture
def notes(db):
    collection = db.create_collection("notes", 8, "l2")
    collection.upsert(["old", "older"], vectors(2), ["text", None], [{"n": 1}, None])
    collection.add_index("main", engine="faiss", precision="int8")
    return collection


def orders(engine):
    with engine.connect() as connection:
        return list(connection.execute(sa.select(ORDERS.c.text)).scalars())


def everything(notes):
    return [(i.id, i.document, i.metadata, i.vector.tolist()) for i in notes.iter()]


def test_rollback_leaves_nothing(engine, notes):
    before = everything(notes)
    with engine.connect() as connection:
        connection.execute(ORDERS.insert().values(text="an order"))
        notes.upsert(["new", "old"], vectors(2, seed=1), ["x", "y"], connection=connection)
        notes.add(["newer"], vectors(1, seed=2), connection=connection)
        notes.delete(["older"], connection=connection)
        notes.delete(where={"n": 1}, connection=connection)
        connection.rollback()
    assert everything(notes) == before
    assert orders(engine) == []
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_commit_keeps_everything_at_once(engine, notes):
    new = vectors(2, seed=1)
    with engine.begin() as connection:
        connection.execute(ORDERS.insert().values(text="an order"))
        assert notes.upsert(["new", "old"], new, ["x", "y"], connection=connection) == 1
        assert notes.delete(["older"], connection=connection) == 1
    assert orders(engine) == ["an order"]
    assert sorted(item.id for item in notes.iter()) == ["new", "old"]
    np.testing.assert_array_equal(notes.vectors(["new", "old"]), new)
    assert notes.search(new[1], k=1)[0].document == "y"
    assert held(notes) == expected(notes)


def test_the_index_follows_when_the_commit_has_come(engine, notes):
    target = np.full(8, 50.0)
    with engine.connect() as connection:
        notes.upsert(["new"], [target], connection=connection)
        assert notes.search(target, k=1)[0].id != "new"
        assert len(notes) == 2
        connection.commit()
    assert notes.search(target, k=1)[0].id == "new"
    assert held(notes) == expected(notes)


def test_what_is_not_committed_is_read_within_only(engine, notes):
    with engine.connect() as connection:
        notes.upsert(["new"], vectors(1, seed=1), ["text"], connection=connection)
        notes.delete(["old"], connection=connection)
        within = notes.get(["new", "old"], connection=connection)
        assert [(item.id, item.document) for item in within] == [("new", "text")]
        assert [item.id for item in notes.get(["new", "old"])] == ["old"]
        connection.rollback()


def test_a_session_lends_its_connection(engine, notes):
    from sqlalchemy.orm import Session

    with Session(engine) as session:
        session.execute(ORDERS.insert().values(text="an order"))
        notes.upsert(["new"], vectors(1), connection=session.connection())
        session.rollback()
    assert notes.get(["new"]) == []
    with Session(engine) as session, session.begin():
        notes.upsert(["new"], vectors(1), connection=session.connection())
        session.execute(ORDERS.insert().values(text="an order"))
    assert notes.get(["new"])[0].id == "new"
    assert orders(engine) == ["an order"]


def test_a_savepoint_can_take_back_a_part(engine, notes):
    with engine.begin() as connection:
        connection.execute(ORDERS.insert().values(text="an order"))
        notes.upsert(["kept"], vectors(1, seed=1), connection=connection)
        part = connection.begin_nested()
        notes.upsert(["taken back"], vectors(1, seed=2), connection=connection)
        part.rollback()
        notes.upsert(["after"], vectors(1, seed=3), connection=connection)
    assert [item.id for item in notes.iter()] == ["old", "older", "kept", "after"]
    assert held(notes) == expected(notes)


def test_bad_input_leaves_the_transaction_of_the_caller_usable(engine, notes):
    with engine.begin() as connection:
        connection.execute(ORDERS.insert().values(text="an order"))
        with pytest.raises(DuplicateIdError):
            notes.add(["new", "old"], vectors(2), connection=connection)
        with pytest.raises(InputError):
            notes.upsert(["new"], vectors(1, 3), connection=connection)
        notes.upsert(["fine"], vectors(1), connection=connection)
    assert orders(engine) == ["an order"]
    assert [item.id for item in notes.iter()] == ["old", "older", "fine"]


def test_errors_of_the_driver_pass_through_the_callers_transaction(engine, notes):
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE requant_vectors"))
    driver = engine.dialect.loaded_dbapi
    with engine.connect() as connection, pytest.raises((sa.exc.DBAPIError, driver.Error)) as raised:
        notes.upsert(["new"], vectors(1), connection=connection)
    assert not isinstance(raised.value, StoreError)
    with pytest.raises(StoreError, match="requant_vectors") as raised:
        notes.upsert(["new"], vectors(1))
    assert isinstance(raised.value.__cause__, (sa.exc.DBAPIError, driver.Error))
    for read in (
        lambda: notes.vectors(["old"]),
        lambda: notes.search(np.ones(8), exact=True),
        lambda: list(notes.iter()),
    ):
        with pytest.raises(StoreError, match="requant_vectors"):
            read()


def test_the_engine_stays_the_applications(engine, db, notes):
    notes.search(np.ones(8))
    db.close()
    with engine.begin() as connection:
        connection.execute(ORDERS.insert().values(text="an order"))
    assert orders(engine) == ["an order"]
    pool = engine.pool
    assert pool.checkedout() == 0


def test_no_connection_is_kept_from_the_application(engine, notes):
    notes.search(np.ones(8))
    notes.search_many(np.ones((2, 8)))
    notes.upsert(["new"], vectors(1))
    notes.flush()
    list(notes.iter())
    assert engine.pool.checkedout() == 0


def test_the_tables_may_be_made_by_the_application(tmp_path):
    metadata = sa.MetaData()
    tables = build_tables(metadata)
    assert build_tables(metadata).items is tables.items
    assert all(name.startswith("requant_") for name in metadata.tables)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    metadata.create_all(engine)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(["a"], vectors(1))
        assert notes.search(vectors(1)[0])[0].id == "a"
    engine.dispose()


def test_an_application_gets_the_write_ahead_log_and_keeps_its_pragmas(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(50), vectors(50))
        notes.add_index("main", engine="usearch")
        notes.flush()
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    engine.dispose()


def test_engines_in_memory_are_refused():
    for url in ("sqlite://", "sqlite:///:memory:"):
        engine = sa.create_engine(url)
        with pytest.raises(InputError, match=r'use requant.open\(":memory:"\)'):
            requant.open(engine, folder="never")
        engine.dispose()


def test_a_rollback_undoes_what_a_first_savepoint_kept(any_db):
    """The driver of SQLite begins a transaction at a write; a savepoint before it would commit."""
    notes = any_db.create_collection("notes", 8)
    with any_db.engine.connect() as connection:
        transaction = connection.begin()
        with connection.begin_nested():
            notes.upsert(range(5), vectors(5), connection=connection)
        assert len(notes) == 0
        transaction.rollback()
    assert len(notes) == 0
    with any_db.engine.begin() as connection, connection.begin_nested():
        notes.upsert(range(5), vectors(5), connection=connection)
    assert len(notes) == 5
