"""Requant's tables by prefix and schema: each set by itself, in every statement."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import requant
from requant.errors import InputError, StoreError
from requant.integration.sqlalchemy import add_tables
from tests.databases import vectors

QUERY = np.ones(8, np.float32)


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
def postgres(empty_postgres):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        for name in ("tenant_a", "Tenant B"):
            connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
            connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')
    yield engine
    with engine.begin() as connection:
        for name in ("tenant_a", "Tenant B"):
            connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
    engine.dispose()


def use_all(db, seed):
    """Have every statement executed, and return what is found."""
    notes = db.create_collection("notes", 8, "l2", index_fields=["n"])
    rows = vectors(40, seed=seed)
    metadata = [{"n": i % 7, "t": f"word {i}"} for i in range(40)]
    notes.upsert(range(40), rows, metadata=metadata, documents=[f"{seed}"] * 40)
    notes.index_field("t")
    notes.add_index("main", engine="usearch")
    notes.update([1], vectors=rows[:1], metadata=[{"n": 100}])
    notes.update(where={"n": 3}, metadata={"seen": True})
    notes.delete([2])
    notes.delete(where={"n": 4})
    notes.flush()
    with db.engine.begin() as connection:
        notes.upsert(["lent"], rows[:1], metadata=[{"n": 5}], connection=connection)
        assert notes.get(["lent"], connection=connection)[0].metadata == {"n": 5}
    with Session(db.engine) as session:
        assert notes.count({"n": 5}, connection=session) == 6
        notes.upsert(["own"], rows[:1], metadata=[{"n": 6}], connection=session)
        hits = notes.search(rows[0], k=4, where={"n": {"$in": [0, 6, 100]}}, connection=session)
        assert "own" in {hit.id for hit in hits}
        session.rollback()
    between = {"t": {"$gte": "word 1", "$lt": "word 2"}}
    assert notes.count({"t": {"$contains": "word 1"}}) == len(notes.ids(where=between))
    assert notes.extent("n").greatest == 100
    assert [found.count for found in notes.distinct("n", where={"n": {"$lte": 1}})] == [6, 5]
    within = {"n": {"$in": [0, 100]}}
    assert {0, 1} < {hit.id for hit in notes.search(rows[0], k=3, where=within)}
    assert notes.verify(deep=True).ok
    return [(hit.id, hit.score) for hit in notes.search_many([QUERY], k=10)[0]]


def alone(tmp_path, seed):
    """Return what `use_all` finds in a database of its own."""
    with requant.open(tmp_path / f"alone{seed}.db") as db:
        return use_all(db, seed)


def names(engine, schema=None):
    return set(sa.inspect(engine).get_table_names(schema=schema))


def test_two_sets_in_one_database_do_not_see_one_another(engine, tmp_path):
    ours, theirs = (add_tables(sa.MetaData(), prefix=p) for p in ("app_", "App_Items_"))
    postgres = engine.dialect.name == "postgresql"
    folder = [tmp_path / name if postgres else None for name in "abc"]
    expected = [alone(tmp_path, seed) for seed in range(3)]
    with (
        requant.open(engine, folder=folder[0], tables=ours) as a,
        requant.open(engine, folder=folder[1], tables=theirs) as b,
        requant.open(engine, folder=folder[2]) as c,
    ):
        found = [use_all(db, seed) for seed, db in enumerate((a, b, c))]
        assert found == expected
        b.drop_collection("notes")
        assert (a.collections(), b.collections(), c.collections()) == (["notes"], [], ["notes"])
        for db, answers in ((a, expected[0]), (c, expected[2])):
            hits = db.collection("notes").search(QUERY, k=10)
            assert [(hit.id, hit.score) for hit in hits] == answers
    prefixes = {name.removesuffix("aliases") for name in names(engine) if name.endswith("aliases")}
    assert prefixes == {"app_", "App_Items_", "requant_"}
    with requant.open(engine, folder=folder[0], tables=ours, read_only=True) as db:
        assert [(h.id, h.score) for h in db.collection("notes").search(QUERY, k=10)] == expected[0]


def test_a_set_is_backed_up_and_restored_under_any_names(engine, tmp_path):
    tables, other = (add_tables(sa.MetaData(), prefix=p) for p in ("app_", "new_"))
    with requant.open(engine, folder=tmp_path / "indexes", tables=tables) as db:
        found = use_all(db, 1)
        db.backup(tmp_path / "backup", indexes=True)
    for number, wanted in enumerate((None, other)):
        target = tmp_path / f"restored{number}.db"
        requant.restore(tmp_path / "backup", target, tables=wanted)
        requant.restore(tmp_path / "backup", target, tables=wanted, overwrite=True)
        with requant.open(target, tables=wanted) as db:
            notes = db.collection("notes")
            assert [(hit.id, hit.score) for hit in notes.search(QUERY, k=10)] == found
            notes.upsert(["more"], vectors(1))
            assert db.create_collection("other", 8) is not None
            assert notes.verify(deep=True).ok
    if engine.dialect.name == "postgresql":
        folder = tmp_path / "others"
        requant.restore(tmp_path / "backup", engine, tables=other, folder=folder)
        with requant.open(engine, folder=folder, tables=other) as db:
            hits = db.collection("notes").search(QUERY, k=10)
            assert [(hit.id, hit.score) for hit in hits] == found
            assert db.create_collection("other", 8) is not None


def test_a_schema_for_each_tenant(postgres, tmp_path):
    metadata = sa.MetaData()
    a = add_tables(metadata, schema="tenant_a")
    b = add_tables(sa.MetaData(schema="Tenant B"))
    assert add_tables(metadata, schema="tenant_a").items is a.items
    with (
        requant.open(postgres, folder=tmp_path / "a", tables=a) as one,
        requant.open(postgres, folder=tmp_path / "b", tables=b) as two,
    ):
        assert use_all(one, 0) == alone(tmp_path, 0)
        assert use_all(two, 1) == alone(tmp_path, 1)
        one.backup(tmp_path / "backup")
    requant.restore(tmp_path / "backup", postgres, tables=b, folder=tmp_path / "c", overwrite=True)
    assert not names(postgres)
    assert names(postgres, "tenant_a") == names(postgres, "Tenant B")


def test_what_a_search_path_says_decides_once(postgres, tmp_path):
    with requant.open(postgres, folder=tmp_path / "public") as db:
        db.create_collection("notes", 8).upsert(["public"], vectors(1))
        url = postgres.url.update_query_dict({"options": "-csearch_path=tenant_a"})
        with requant.open(url.render_as_string(False), folder=tmp_path / "a") as tenant:
            tenant.create_collection("notes", 8).upsert(["a"], vectors(1))
            notes = tenant.collection("notes")
            with postgres.begin() as connection:  # whose search path is the other one
                assert notes.ids(connection=connection) == ["a"]
                notes.upsert(["b"], vectors(1), connection=connection)
                connection.exec_driver_sql('SET LOCAL search_path = "Tenant B"')
                assert db.collection("notes").ids(connection=connection) == ["public"]
            assert len(notes) == 2
        assert db.collection("notes").ids() == ["public"]
    assert "requant_items" in names(postgres, "tenant_a")


@pytest.mark.parametrize("declared", [None, "tenant"])
def test_schemas_that_are_translated_are_honoured_or_refused(declared, postgres, tmp_path):
    tables = add_tables(sa.MetaData(), schema=declared)
    a = postgres.execution_options(schema_translate_map={declared: "tenant_a"})
    b = postgres.execution_options(schema_translate_map={declared: "Tenant B"})
    with (
        requant.open(a, folder=tmp_path / "a", tables=tables) as one,
        requant.open(b, folder=tmp_path / "b", tables=tables) as two,
    ):
        assert use_all(one, 0) == alone(tmp_path, 0)
        assert use_all(two, 1) == alone(tmp_path, 1)
        notes = one.collection("notes")
        with Session(a) as session:
            assert notes.get(["lent"], connection=session)[0].document is None
        with Session(b) as session, pytest.raises(InputError, match=r"'Tenant B'.*'tenant_a'"):
            notes.upsert(["x"], vectors(1), connection=session)
        with postgres.connect() as connection:
            lent = connection.execution_options(schema_translate_map={"tenant_a": "public"})
            with pytest.raises(InputError, match="schema_translate_map"):
                notes.get(["x"], connection=lent)
    assert not names(postgres)
    twice = postgres.execution_options(schema_translate_map={declared: "tenant_a", "tenant_a": "x"})
    with pytest.raises(InputError, match="name each schema once"):
        requant.open(twice, folder=tmp_path / "c", tables=tables)


def test_sqlite_has_no_schemas(tmp_path):
    tables = add_tables(sa.MetaData(schema="tenant"), prefix="x_")
    with pytest.raises(InputError, match="SQLite has none"):
        requant.open(tmp_path / "x.db", tables=tables)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'y.db'}")
    with requant.open(
        engine.execution_options(schema_translate_map={"tenant": None}), tables=tables
    ) as db:
        assert use_all(db, 0) == alone(tmp_path, 0)
    assert "x_items" in names(engine)
    engine.dispose()


def test_names_that_cannot_be_used_are_refused(postgres, tmp_path):
    for prefix in ("", "1_", "a b", "sqlite_x", "pg_", "x" * 31, 7):
        with pytest.raises(InputError, match="prefix"):
            add_tables(sa.MetaData(), prefix=prefix)
    for schema in ("", "a.b", "a%", "{", 7):
        with pytest.raises(InputError, match="schema"):
            add_tables(sa.MetaData(), schema=schema)
    with pytest.raises(InputError, match=r"Base\.metadata, not str"):
        add_tables("metadata")
    with pytest.raises(InputError, match="add_tables returns, not MetaData"):
        requant.open(tmp_path / "x.db", tables=sa.MetaData())
    absent = add_tables(sa.MetaData(), schema="nowhere")
    with pytest.raises(StoreError, match="no schema 'nowhere': CREATE SCHEMA"):
        requant.open(postgres, folder=tmp_path / "a", tables=absent)


def test_the_longest_names_fit(engine, tmp_path):
    tables = add_tables(sa.MetaData(), prefix="x" * 30)
    with requant.open(engine, folder=tmp_path / "indexes", tables=tables) as db:
        assert use_all(db, 0) == alone(tmp_path, 0)
    found = sa.inspect(engine).get_unique_constraints(tables.items.name)
    assert [each["column_names"] for each in found] == [["collection_id", "ext_id"]]
    if engine.dialect.name == "postgresql":  # it cuts at 63 bytes
        assert [each["name"] for each in found] == [f"{'x' * 30}items_collection_id_ext_id_key"]
