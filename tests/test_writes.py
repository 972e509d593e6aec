"""How items come into the tables: by COPY or row by row, one by one, beside others, cut short."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import DuplicateIdError, InputError, StoreError
from requant.store.schema import build_tables
from requant.store.statements import hot_sql
from tests import inside
from tests.databases import expected, held, metadata, vectors

N = 40
DIM = 8
TABLES = build_tables()


def make(db, name="notes", **options):
    notes = db.create_collection(name, DIM, "l2", **options)
    notes.add_index("main", engine="usearch", precision="int8")
    return notes


def some_vectors(n, seed=0):
    """Return vectors of which every third is None."""
    return [None if i % 3 == 0 else row for i, row in enumerate(vectors(n, seed=seed))]


def texts(n):
    odd = ["", "ü\t\\\n'\"", "\U0001f600", "x" * 5000, None, "NULL", "\\N"]
    return [odd[i % len(odd)] for i in range(n)]


def everything(notes):
    """Return what is stored, by id, and how it is indexed by field."""
    items = {
        item.id: (
            item.document,
            item.metadata,
            None if item.vector is None else item.vector.tobytes(),
        )
        for item in notes.iter()
    }
    counts = {word: notes.count({"word": word}) for word in ("air", "bay", "cue", "dew", "elk")}
    return items, counts


def keys_left_out(db):
    """Return how far the next key is from the last one that was given; 1 if none was left out."""
    inside.number(db)
    with db.engine.connect() as connection:
        after = connection.execute(sa.select(TABLES.collections.c.next_key)).scalar_one()
        return after - connection.execute(sa.select(sa.func.max(TABLES.items.c.key))).scalar_one()


def write_all(notes, connection=None):
    """Write new items, then some of them anew with others, in all the ways there are."""
    both = {"connection": connection}
    notes.upsert(range(N), some_vectors(N), texts(N), metadata(N), **both)
    again = range(N // 2, N + N // 2)  # half of them are stored
    other = [None if i % 4 == 0 else {"word": "elk", "i": i} for i in again]
    notes.upsert(again, some_vectors(N, 1)[::-1], texts(N)[::-1], other, **both)
    notes.upsert(range(5, 20), documents=texts(15)[::-1], **both)
    notes.upsert(range(10, 30), metadata=metadata(20), **both)
    notes.upsert(range(20, 50), vectors(30, seed=2), **both)
    notes.upsert(range(55, 70), vectors(15, seed=3), on_conflict="skip", **both)
    with pytest.raises(DuplicateIdError):
        notes.add(range(69, 80), vectors(11), **both)
    notes.upsert([*range(80, 90), 85], vectors(11, seed=4), duplicates="last", **both)


@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
def test_all_ways_to_write_many_write_the_same(any_db, monkeypatch, lent):
    """By COPY and arrays, in small parts, row by row as other drivers do, and item by item."""
    monkeypatch.setattr(inside.COPY_BYTES, 7 * DIM * 4)
    monkeypatch.setattr(inside.COPY_ITEMS, 7)
    found = []
    for way in ("copy", "rows"):
        notes = make(any_db, way, index_fields=["word", "n"])
        with monkeypatch.context() as patched:
            if way == "rows":
                patched.setattr(inside.COPIES, lambda _connection: False)
                patched.setattr(inside.COPIES_VALUES, lambda _connection: False)
            if lent:
                with any_db.engine.begin() as connection:
                    write_all(notes, connection)
            else:
                write_all(notes)
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok
        found.append(everything(notes))
    assert found[0] == found[1]
    items, counts = found[0]
    assert len(items) == 80
    assert items[7][0] == texts(15)[::-1][2]
    assert items[45][2] == vectors(30, seed=2)[25].tobytes()
    assert counts == {
        word: sum((entry or {}).get("word") == word for _, entry, _ in items.values())
        for word in counts
    }


def test_one_by_one_is_as_all_at_once(any_db):
    one, many = make(any_db, "one"), make(any_db, "many")
    columns = list(zip(range(N), some_vectors(N), texts(N), metadata(N), strict=True))
    for text, vec, document, entry in columns:
        assert one.upsert([text], [vec], [document], [entry]) == 1
        assert one.upsert([text], [vec], on_conflict="skip") == 0
        with pytest.raises(DuplicateIdError):
            one.add([text], [vec])
    many.upsert(*map(list, zip(*columns, strict=True)))
    assert everything(one) == everything(many)
    assert one.upsert([3], [None], [None], [None]) == 0
    assert one.get([3], vectors=True)[0][2:] == (None, None, None)
    assert one.upsert(["none of these"]) == 1
    for notes in (one, many):
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


@pytest.mark.parametrize("fields", [(), ("word",)], ids=["no field", "a field"])
def test_to_replace_one_is_as_to_replace_many(any_db, fields):
    """Whatever columns are given: those that are not stay as they were."""
    one, many = make(any_db, "one", index_fields=fields), make(any_db, "many", index_fields=fields)
    given = {"documents": ["new"], "metadata": [{"word": "cue"}], "vectors": vectors(1, seed=9)}
    given_none = {"documents": [None], "metadata": [None], "vectors": [None]}
    ways = ({}, given, given_none)
    combinations = [
        {name: ways[how][name] for name, how in zip(given, hows, strict=True) if how}
        for hows in itertools.product(range(3), repeat=3)
    ]
    n = len(combinations)
    for notes in (one, many):
        notes.upsert(range(n), vectors(n), texts(n), metadata(n))
        notes.flush()
    for row, columns in enumerate(combinations):
        assert one.upsert([row], **columns) == 0
        many.upsert([row, "other"], **{name: 2 * list(some) for name, some in columns.items()})
    many.delete(["other"])
    assert everything(one) == everything(many)
    for notes in (one, many):
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


def test_keys_are_dense(any_db):
    """What was reserved for items that were stored already is given back."""
    notes = any_db.create_collection("notes", DIM)
    for ids in (["a"], ["a"], ["a", "b"], ["b", "a"], list("abcdefghijkl"), ["m"], ["m", "n"]):
        notes.upsert(ids, vectors(len(ids)))
        assert keys_left_out(any_db) == 1
    keys = [item.key for item in notes.iter()]
    assert keys == list(range(keys[0], keys[0] + 14))


@pytest.fixture
def engine(any_db):
    engine = sa.create_engine(any_db.engine.url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("first", ["upsert", "delete"])
def test_one_item_beside_another_writer(any_db, engine, first):
    """Who waits for its turn finds what the one before has left, not what was there before it."""
    notes = make(any_db)
    notes.upsert(["old"], vectors(1), ["old"])
    if first == "delete":
        notes.upsert(["x"], vectors(1), ["theirs"])
    new = []
    with engine.connect() as connection:
        if first == "delete":
            notes.delete(["x"], connection=connection)
        else:
            notes.upsert(["x"], vectors(1), ["theirs"], connection=connection)
        other = threading.Thread(
            target=lambda: new.append(notes.upsert(["x"], vectors(1, seed=1), ["ours"]))
        )
        other.start()
        other.join(0.3)
        assert other.is_alive()
        connection.commit()
        other.join()
    assert new == [1 if first == "delete" else 0]
    assert notes.get(["x"])[0].document == "ours"
    assert keys_left_out(any_db) == 1
    assert notes.upsert(["y"], vectors(1, seed=2)) == 1
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def refuse_vectors(engine, least):
    """Let the database refuse each vector once it has so many."""
    count = f"(SELECT count(*) FROM requant_vectors) >= {least}"
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER refused BEFORE INSERT ON requant_vectors WHEN {count} "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
            return
        connection.exec_driver_sql(
            f"CREATE FUNCTION refused() RETURNS trigger AS $$ BEGIN IF {count} THEN "
            "RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER refused BEFORE INSERT ON requant_vectors "
            "FOR EACH ROW EXECUTE FUNCTION refused()"
        )


@pytest.mark.parametrize("n", [1, 3, N])
def test_what_the_database_refuses_leaves_nothing(any_db, engine, n):
    notes = make(any_db, index_fields=["word"])
    notes.upsert(["a", "b"], vectors(2), metadata=metadata(2))
    before = everything(notes)
    refuse_vectors(engine, 2 + n // 2)
    columns = (range(n), vectors(n), texts(n), metadata(n))
    with pytest.raises(StoreError, match="refused"):
        notes.upsert(*columns)
    with engine.begin() as connection:
        driver = engine.dialect.loaded_dbapi.Error
        with pytest.raises((sa.exc.DBAPIError, driver), match="refused"):
            notes.upsert(*columns, connection=connection)
        notes.upsert(["a"], documents=["usable"], connection=connection)
    assert notes.get(["a"])[0].document == "usable"
    notes.upsert(["a"], documents=[None])
    assert everything(notes) == before
    on = "" if engine.dialect.name == "sqlite" else " ON requant_vectors"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER refused{on}")
    notes.upsert(*columns)
    assert len(notes) == 2 + n
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
def test_a_copy_that_is_interrupted_leaves_nothing(any_db, engine, monkeypatch, lent, kind):
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no COPY")
    notes = make(any_db)
    notes.upsert(["a"], vectors(1))
    with monkeypatch.context() as patched:
        parts = inside.interrupt_a_copy(patched, 10, DIM, 3, kind)
        if lent:
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE theirs (id int)"))
                with pytest.raises(kind):
                    notes.upsert(range(N), vectors(N), connection=connection)
                notes.upsert(["b"], vectors(1, seed=1), connection=connection)
        else:
            with pytest.raises(kind):
                notes.upsert(range(N), vectors(N))
            notes.upsert(["b"], vectors(1, seed=1))
    assert parts == [10, 10, 10]
    assert [item.id for item in notes.iter()] == ["a", "b"]
    assert sa.inspect(engine).has_table("theirs") is lent
    notes.upsert(range(N), vectors(N))
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


def test_one_item_where_every_statement_commits_is_refused(any_db):
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite takes its turn before it looks")
    notes = any_db.create_collection("notes", DIM)
    engine = sa.create_engine(any_db.engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(InputError, match="AUTOCOMMIT"):
        notes.upsert(["a"], vectors(1), connection=connection)
    engine.dispose()
    assert len(notes) == 0


def test_ids_are_looked_up_by_index_whatever_the_plan(any_db):
    """A plan that is kept from the time when there were few items reads no more than it has to."""
    if any_db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one way to go")
    any_db.create_collection("notes", DIM)
    existing = (
        hot_sql("postgresql", build_tables()).existing.replace("%s", "$1", 1).replace("%s", "$2", 1)
    )
    with any_db.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.exec_driver_sql(f"PREPARE ours (text, bigint) AS {existing}")
        plan = connection.exec_driver_sql("EXPLAIN EXECUTE ours ('[]', 1)").scalars().all()
    (condition,) = [line for line in plan if "Cond" in line]
    assert "collection_id =" in condition
    assert "ext_id =" in condition
    assert not [line for line in plan if "Filter" in line or "Seq Scan" in line]


def test_a_transaction_of_many_writes_is_one(any_db, engine):
    """One, some and many in one lent transaction, rolled back and committed."""
    notes = make(any_db)
    for end in ("rollback", "commit"):
        with engine.connect() as connection:
            notes.upsert(["one"], vectors(1), connection=connection)
            notes.upsert(range(N), vectors(N), connection=connection)
            notes.upsert(range(3), vectors(3, seed=1), connection=connection)
            notes.delete(["5"], connection=connection)
            notes.upsert(["one"], vectors(1, seed=2), connection=connection)
            getattr(connection, end)()
        assert len(notes) == (0 if end == "rollback" else N)
    np.testing.assert_array_equal(notes.vectors(["one"]), vectors(1, seed=2))
    np.testing.assert_array_equal(notes.vectors(range(3)), vectors(3, seed=1))
    assert held(notes) == expected(notes)
    with requant.open(engine, folder=inside.folder_of(any_db)) as again:
        assert again.collection("notes").verify(deep=True).ok
