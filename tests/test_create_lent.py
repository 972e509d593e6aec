"""Collections made in a caller's transaction, which decides whether they come to stay."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant
from requant.errors import ExistsError, InputError, RequantError, UnknownCollectionError
from tests.databases import vectors
from tests.inside import row_of


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'application.db'}"
    else:
        url = request.getfixturevalue("empty_postgres")
    engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5)
    with requant.open(engine, folder=tmp_path / "indexes") as database:
        yield database
    engine.dispose()


def test_it_is_there_once_the_transaction_has_committed(db):
    with Session(db.engine) as session:
        notes = db.create_collection("notes", 8, index_fields=["n"], connection=session)
        notes.upsert(["a"], vectors(1), metadata=[{"n": 1}], connection=session)
        assert notes.count({"n": 1}, connection=session) == 1
        session.commit()
    assert db.collection("notes") is notes
    assert db.create_collection("notes", 8, exist_ok=True) is notes
    assert notes.ids(where={"n": 1}) == ["a"]
    notes.add_index("main", engine="usearch")
    assert notes.search(vectors(1)[0], k=1)[0].id == "a"
    assert [field.name for field in notes.fields] == ["n"]
    db.drop_collection("notes")


def test_a_rollback_leaves_nothing(db):
    with Session(db.engine) as session:
        gone = db.create_collection("notes", 8, connection=session)
        gone.upsert(["a"], vectors(1), connection=session)
        session.rollback()
    assert db.collections() == []
    with pytest.raises(UnknownCollectionError):
        db.collection("notes")
    # SQLite would give its number to the next one, which is no reason to write into that.
    other = db.create_collection("other", 4)
    for call in (lambda: gone.upsert(["x"], vectors(1)), lambda: gone.get(["x"])):
        with pytest.raises(RequantError, match="dropped"):
            call()
    assert len(other) == 0
    notes = db.create_collection("notes", 4)
    assert notes is not gone
    assert notes.dim == 4
    assert notes.upsert(["a"], vectors(1, dim=4)) == 1


def test_a_savepoint_leaves_nothing(db):
    with Session(db.engine) as session, session.begin():
        kept = db.create_collection("kept", 8, connection=session)
        with session.begin_nested() as point:
            gone = db.create_collection("gone", 8, connection=session)
            gone.upsert(["a"], vectors(1), connection=session)
            point.rollback()
        again = db.create_collection("gone", 4, connection=session)
        again.upsert(["b"], vectors(1, dim=4), connection=session)
        with pytest.raises(UnknownCollectionError):
            gone.count(connection=session)
        kept.upsert(["c"], vectors(1), connection=session)
    assert db.collections() == ["gone", "kept"]
    assert db.collection("kept") is kept
    assert db.collection("gone") is again
    assert [item.id for item in again.iter()] == ["b"]


def test_one_that_is_there_is_found_or_refused(db):
    db.create_collection("notes", 8, index_fields=["n"])
    with Session(db.engine) as session:
        with pytest.raises(ExistsError, match="8 dimensions"):
            db.create_collection("notes", 4, connection=session)
        notes = db.create_collection(
            "notes", 8, exist_ok=True, index_fields=["n"], connection=session
        )
        with pytest.raises(InputError, match="call index_field without connection="):
            db.create_collection("notes", 8, exist_ok=True, index_fields=["m"], connection=session)
        assert notes.upsert(["a"], vectors(1), connection=session) == 1
        fresh = db.create_collection("fresh", 8, exist_ok=True, connection=session)
        again = db.create_collection("fresh", 8, exist_ok=True, connection=session)
        assert again is fresh
        session.commit()
    assert db.collection("notes") is notes
    assert len(notes) == 1
    assert db.collection("fresh") is fresh


def test_many_transactions_of_one_connection(db):
    with db.engine.connect() as connection:
        for number in range(4):
            db.create_collection(f"c{number}", 8, connection=connection)
            (connection.rollback if number % 2 else connection.commit)()
    assert db.collections() == ["c0", "c2"]
    assert len({row_of(db.collection(name)).id for name in db.collections()}) == 2


def test_a_connection_that_cannot_be_used_is_refused(db, tmp_path):
    other = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with other.connect() as connection, pytest.raises(InputError, match="is one to"):
        db.create_collection("notes", 8, connection=connection)
    with pytest.raises(InputError, match="not an engine"):
        db.create_collection("notes", 8, connection=db.engine)
    other.dispose()
    assert db.collections() == []


@pytest.mark.parametrize("exist_ok", [True, False])
def test_what_a_snapshot_does_not_see_is_told(exist_ok, empty_postgres, tmp_path):
    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
    engine = sa.create_engine(empty_postgres, **one)
    other = sa.create_engine(empty_postgres)
    with (
        requant.open(engine, folder=tmp_path / "indexes") as db,
        requant.open(other, folder=tmp_path / "indexes") as theirs,
    ):
        repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
        with repeatable.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM requant_items").scalar() == 0
            theirs.create_collection("notes", 8)
            with pytest.raises(UnknownCollectionError, match="this transaction sees"):
                db.create_collection("notes", 8, exist_ok=exist_ok, connection=connection)
            connection.rollback()
            found = db.create_collection("notes", 8, exist_ok=True, connection=connection)
            assert found.upsert(["a"], vectors(1), connection=connection) == 1
    engine.dispose()
    other.dispose()
