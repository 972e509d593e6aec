"""Triggers where one database has several of all: schemas, tenants, sets of requant's tables."""

import uuid
from contextlib import ExitStack, contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

import requant
from requant.errors import UnsupportedError
from requant.integration.sqlalchemy import (
    Vector,
    add_tables,
    bind,
    follow_deletes,
    unfollow_deletes,
)
from tests.orm_app import DIM, Embedder, stored

SCHEMAS = ("one", 'an odd "one"', "vectors")
QUOTED = ('"one"', '"an odd ""one"""', '"vectors"')


@pytest.fixture
def postgres(empty_postgres):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        for name in QUOTED:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield engine
    with engine.begin() as connection:
        for name in QUOTED:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "postgresql":
        engine = sa.create_engine(request.getfixturevalue("empty_postgres"))
    else:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    yield engine
    engine.dispose()


def article(schema=None, kind=int):
    """A model, each time another one."""

    class Base(DeclarativeBase):
        metadata = sa.MetaData(schema=schema)

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[kind] = mapped_column(primary_key=True)
        body: Mapped[str]
        embedding = Vector(DIM, collection="articles", document="body", embed=Embedder())

    return Article


@contextmanager
def bound(engine, model, tables, folder):
    db = requant.open(engine, folder=folder, tables=tables)
    model.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    binding = bind(db, model, sessions)
    try:
        yield sessions
    finally:
        binding.unbind()
        db.close()


def run(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def named(engine, table):
    """How many of ours a catalogue has."""
    column = {"pg_trigger": "tgname", "pg_proc": "proname"}[table]
    with engine.connect() as connection:
        found = sa.text(f"SELECT count(*) FROM {table} WHERE {column} LIKE 'requant_%'")
        return connection.scalar(found)


def follow(engine, model):
    with engine.begin() as connection:
        follow_deletes(connection, model.embedding)


def ids(model):
    return sorted(stored(model.embedding.collection))


@contextmanager
def tenants(postgres, folder):
    models = []
    with ExitStack() as stack:
        for schema in SCHEMAS[:2]:
            engine = postgres.execution_options(schema_translate_map={"tenant": schema})
            model = article("tenant")
            tables = add_tables(model.metadata, schema="tenant")
            sessions = stack.enter_context(bound(engine, model, tables, folder / schema))
            with sessions.begin() as session:
                session.add_all(model(id=n, body=f"{schema}{n}") for n in range(5))
            follow(engine, model)
            models.append((model, engine))
        yield models


def test_tenants_have_triggers_of_their_own(postgres, tmp_path):
    with tenants(postgres, tmp_path) as models:
        for name in QUOTED[:2]:
            run(
                postgres,
                f"DELETE FROM {name}.articles WHERE id < 2",
                f"UPDATE {name}.articles SET id = id + 100 WHERE id = 2",
            )
        assert [ids(model) for model, _ in models] == [[3, 4, 102], [3, 4, 102]]
        first, engine = models[0]
        with engine.begin() as connection:
            unfollow_deletes(connection, first.embedding)
        assert (named(postgres, "pg_trigger"), named(postgres, "pg_proc")) == (3, 3)
        run(postgres, *(f"DELETE FROM {name}.articles" for name in QUOTED[:2]))
        assert [ids(model) for model, _ in models] == [[3, 4, 102], []]


def test_two_sets_of_tables_follow_one_table(engine, tmp_path):
    first, second = article(), article()
    one = add_tables(sa.MetaData(), prefix="mine_")
    two = add_tables(sa.MetaData(), prefix="Theirs_")
    with (
        bound(engine, first, one, tmp_path / "1") as sessions,
        bound(engine, second, two, tmp_path / "2"),
    ):
        with sessions.begin() as session:
            session.add_all(first(id=n, body=str(n)) for n in range(5))
        with sessions.begin() as session:
            assert second.embedding.sync(session) == (5, 0)
        for model in (first, second, first):
            follow(engine, model)
        run(engine, "DELETE FROM articles WHERE id < 3")
        for model in (first, second):
            assert ids(model) == [3, 4]
            assert model.embedding.collection.verify(deep=True).ok


def test_rows_and_items_in_schemas_that_nobody_searches(postgres, tmp_path):
    model = article(SCHEMAS[1], uuid.UUID)
    tables = add_tables(sa.MetaData(), prefix="x_", schema=SCHEMAS[2])
    keys = [uuid.uuid4() for _ in range(4)]
    with bound(postgres, model, tables, tmp_path / "indexes") as sessions:
        with sessions.begin() as session:
            session.add_all(model(id=key, body=str(key)) for key in keys)
        follow(postgres, model)
        gone = f"DELETE FROM {QUOTED[1]}.articles WHERE id = '%s'"
        run(postgres, "SET LOCAL search_path TO pg_catalog", gone % keys[0])
        assert len(stored(model.embedding.collection)) == 3
        for path in ("public", QUOTED[1]):  # the same triggers, whatever the path
            with postgres.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL search_path TO {path}")
                follow_deletes(connection, model.embedding)
            assert (named(postgres, "pg_trigger"), named(postgres, "pg_proc")) == (3, 3)
        run(postgres, gone % keys[1])
        assert set(stored(model.embedding.collection)) == set(keys[2:])
        with postgres.begin() as connection:
            unfollow_deletes(connection, model.embedding)
        assert (named(postgres, "pg_trigger"), named(postgres, "pg_proc")) == (0, 0)


def test_a_table_of_an_attached_file_is_refused(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    other = tmp_path / "other.db"
    sa.event.listen(
        engine, "connect", lambda raw, _: raw.execute(f"ATTACH '{other}' AS elsewhere").close()
    )
    model = article("elsewhere")
    with (
        bound(engine, model, add_tables(sa.MetaData()), tmp_path / "indexes"),
        engine.begin() as connection,
        pytest.raises(UnsupportedError, match="attached as 'elsewhere'"),
    ):
        follow_deletes(connection, model.embedding)
    engine.dispose()


def test_keys_that_may_be_exchanged_are_refused(postgres, tmp_path):
    model = article(SCHEMAS[0])
    with bound(postgres, model, add_tables(sa.MetaData()), tmp_path / "indexes"):
        run(
            postgres,
            "ALTER TABLE one.articles DROP CONSTRAINT articles_pkey",
            "ALTER TABLE one.articles ADD PRIMARY KEY (id) DEFERRABLE",
        )
        with (
            postgres.begin() as connection,
            pytest.raises(UnsupportedError, match="articles is DEFERRABLE"),
        ):
            follow_deletes(connection, model.embedding)
