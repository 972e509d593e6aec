"""A Session lent as `connection=`: its transaction decides, and an unusable one is refused."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session
from sqlalchemy.orm import sessionmaker as makes_sessions

import requant
from requant.errors import InputError, UnsupportedError
from tests.databases import vectors


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'application.db'}"
    else:
        url = request.getfixturevalue("empty_postgres")
    engine = sa.create_engine(url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def notes(engine, tmp_path):
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        yield db.create_collection("notes", 8, "l2")


def every_verb(notes, session):
    """Call whatever takes `connection=`."""
    notes.upsert(["a", "b"], vectors(2), metadata=[{"n": 1}, {"n": 2}], connection=session)
    notes.add(["c"], vectors(1), connection=session)
    notes.upsert_many([{"id": "d", "vector": vectors(1)[0]}], connection=session)
    notes.update(["a"], documents=["first"], connection=session)
    notes.delete(["c"], connection=session)
    assert notes.get(["a"], connection=session)[0].document == "first"
    assert sorted(notes.ids(connection=session)) == ["a", "b", "d"]
    assert notes.count(connection=session) == 3
    assert [found.value for found in notes.distinct("n", connection=session)] == [1, 2]
    assert notes.extent("n", connection=session).greatest == 2


def test_the_transaction_of_a_session_decides(engine, notes):
    with Session(engine) as session:
        session.add(Article(id=1))
        every_verb(notes, session)
        session.rollback()
    assert len(notes) == 0
    with Session(engine) as session, session.begin():
        session.add(Article(id=1))
        every_verb(notes, session)
    assert len(notes) == 3
    with Session(engine) as session:
        assert session.get(Article, 1) is not None
        assert notes.clear(connection=session) == 3
        session.commit()
    assert len(notes) == 0


def test_a_savepoint_of_a_session_decides(engine, notes):
    with Session(engine) as session, session.begin():
        # pysqlite begins at the first write only: before that, a savepoint is no part of anything.
        notes.upsert(["kept"], vectors(1), connection=session)
        with session.begin_nested() as point:
            notes.upsert(["gone"], vectors(1), connection=session)
            point.rollback()
        with session.begin_nested():
            notes.upsert(["stays"], vectors(1), connection=session)
    assert sorted(item.id for item in notes.iter()) == ["kept", "stays"]


def test_scoped_sessions_and_subclasses_are_sessions(engine, notes):
    class OfMine(Session):
        pass

    sessions = scoped_session(makes_sessions(engine, class_=OfMine))
    every_verb(notes, sessions)
    sessions.commit()
    sessions.remove()
    with OfMine(engine) as session:
        assert notes.count(connection=session) == 3


def test_a_session_that_failed_is_refused_until_it_is_rolled_back(engine, notes):
    def refused(session):
        for call in (notes.count, lambda **lent: notes.upsert(["x"], vectors(1), **lent)):
            with pytest.raises(InputError, match=r"ended or failed.*roll"):
                call(connection=session)

    with Session(engine) as session:
        session.add(Article(id=1))
        session.commit()
        session.add(Article(id=1))
        with pytest.raises(sa.exc.IntegrityError):
            session.begin_nested()  # which flushes first
        refused(session)
        session.rollback()
        notes.upsert(["after"], vectors(1), connection=session)
        session.connection().invalidate()
        refused(session)
        session.rollback()
        assert notes.count(connection=session) == 0


def test_a_session_that_cannot_give_a_connection_is_refused_by_name(engine, notes):
    closed = Session(engine, close_resets_only=False)
    closed.close()
    waits = Session(engine, autobegin=False)
    by_class = Session(binds={Article: engine})
    ended = Session(engine)
    with ended.begin() as transaction:
        transaction.commit()
        with pytest.raises(InputError, match="ended or failed"):
            notes.get(["a"], connection=ended)
    words = {
        closed: "permanently closed",
        waits: "Autobegin is disabled",
        Session(): "bound to no engine",
        by_class: r"bind_arguments=\{'bind': engine\}",
    }
    for session, text in words.items():
        with pytest.raises(InputError, match=text):
            notes.upsert(["a"], vectors(1), connection=session)
        with pytest.raises(InputError, match=text):
            notes.get(["a"], connection=session)
    with by_class as session:
        lent = session.connection(bind_arguments={"bind": engine})
        assert notes.upsert(["a"], vectors(1), connection=lent) == 1
        session.commit()
    for session in words:
        session.close()
    assert len(notes) == 1


def test_a_connection_that_is_closed_or_failed_is_refused(engine, notes):
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            with pytest.raises(sa.exc.DBAPIError):
                connection.exec_driver_sql("SELECT 1 / 0")
            with pytest.raises(InputError, match="a statement failed before"):
                notes.get(["a"], connection=connection)
            connection.rollback()
        connection.begin()
        connection.invalidate()
        with pytest.raises(InputError, match="roll it back"):
            notes.upsert(["a"], vectors(1), connection=connection)
        connection.rollback()
        assert notes.upsert(["a"], vectors(1), connection=connection) == 1
    with pytest.raises(InputError, match="is closed"):
        notes.get(["a"], connection=connection)
    assert len(notes) == 0


def test_a_session_of_another_database_is_refused(engine, notes, tmp_path):
    elsewhere = sa.create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with Session(elsewhere) as session, pytest.raises(InputError, match="connection= is one to"):
        notes.upsert(["a"], vectors(1), connection=session)
    elsewhere.dispose()
    assert len(notes) == 0


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_other_drivers_of_postgresql_are_refused_by_name(driver, empty_postgres, tmp_path):
    url = sa.make_url(empty_postgres)
    folder = url.query["host"]
    query = {"unix_sock": f"{folder}/.s.PGSQL.5432"} if driver == "pg8000" else url.query
    url = url.set(drivername=f"postgresql+{driver}", query=query)
    theirs = sa.create_engine(url)
    text = rf"through psycopg, not {driver}: .*pip install"
    with pytest.raises(UnsupportedError, match=text):
        requant.open(theirs, folder=tmp_path / "indexes")
    with pytest.raises(UnsupportedError, match=text):
        requant.open(url.render_as_string(hide_password=False), folder=tmp_path / "indexes")
    with pytest.raises(UnsupportedError, match=text):
        requant.open(theirs, folder=tmp_path / "indexes", read_only=True)
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", 8)
        with theirs.connect() as connection, Session(theirs) as session:
            for lent in (connection, session):
                with pytest.raises(UnsupportedError, match=text):
                    notes.upsert(["a"], vectors(1), connection=lent)
                with pytest.raises(UnsupportedError, match=text):
                    notes.get(["a"], connection=lent)
        assert len(notes) == 0
    theirs.dispose()
