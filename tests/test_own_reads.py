"""Searches in a caller's transaction: its own rows are found, and nobody else learns of them."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

import faiss
import numpy as np
import pytest
import sqlalchemy as sa
from psycopg.rows import namedtuple_row

import requant
from requant.store.reader import Reader
from tests import inside
from tests.databases import brute_force, expected, held, vectors
from tests.test_concurrency import in_threads

DIM, BASE, K = 8, 200, 5
ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]
ONE = {"poolclass": sa.QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgres")
    return f"sqlite:///{tmp_path / 'application.db'}"


@pytest.fixture
def engine(url):
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def db(engine, tmp_path):
    with requant.open(engine, folder=tmp_path / "indexes") as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_shortcuts(monkeypatch):
    monkeypatch.setattr(inside.FEW, 0)  # else so few items are scored without an index


class Model:
    """What a transaction ought to see: rows by id, as (vector, number)."""

    def __init__(self, rows):
        self.rows = dict(rows)

    def nearest(self, query, k=K, rule=lambda n: True, metric="l2"):
        ids = [i for i, (_, n) in self.rows.items() if rule(n)]
        stored = np.array([self.rows[i][0] for i in ids], np.float32).reshape(-1, DIM)
        at, scores = brute_force(query, stored, metric, k)
        return {ids[row]: float(score) for row, score in zip(at, scores, strict=True)}


def filled(db, engine="faiss", **index):
    notes = db.create_collection("notes", DIM, "l2", index_fields=["n"])
    rows = vectors(BASE, DIM)
    notes.upsert(range(BASE), rows, metadata=[{"n": n} for n in range(BASE)])
    if engine is not None:
        notes.add_index("main", engine=engine, precision="float32", **index)
    return notes, Model({n: (rows[n], n) for n in range(BASE)})


def check(notes, model, queries, connection=None):
    """Every kind of search finds what the model says."""
    for query in queries:
        options = {"oversample": 6, "connection": connection}
        hits = notes.search(query, K, vectors=True, **options)
        found = {hit.id: hit.score for hit in hits}
        assert found == pytest.approx(model.nearest(query), rel=1e-5)
        for hit in hits:
            vector, n = model.rows[hit.id]
            assert hit.metadata == {"n": n}
            np.testing.assert_array_equal(hit.vector, vector)
        some = notes.search(query, K, where={"n": {"$lt": 40}}, **options)
        assert {hit.id for hit in some} == model.nearest(query, rule=lambda n: n < 40).keys()
    batch = notes.search_many(queries, K, oversample=6, connection=connection)
    assert [set(ids) for ids in batch.ids] == [model.nearest(q).keys() for q in queries]


def change(notes, model, rng, connection):
    """Do one thing at random, in the model as well."""
    ids = sorted(model.rows, key=str)
    some = rng.sample(ids, min(len(ids), 40))
    kind = rng.choice(["new", "move", "delete", "field", "near"])
    if kind == "new":
        fresh = [f"new-{rng.random()}" for _ in range(3)]
        rows = vectors(3, DIM, seed=rng.randrange(1 << 30))
        notes.upsert(fresh, rows, metadata=[{"n": 7}] * 3, connection=connection)
        model.rows |= {i: (row, 7) for i, row in zip(fresh, rows, strict=True)}
    elif kind == "move":
        rows = vectors(len(some), DIM, seed=rng.randrange(1 << 30))
        notes.upsert(some, rows, connection=connection)
        model.rows |= {i: (row, model.rows[i][1]) for i, row in zip(some, rows, strict=True)}
    elif kind == "delete":
        notes.delete(some[:10], connection=connection)
        for one in some[:10]:
            del model.rows[one]
    elif kind == "near":  # all that is nearest to a query goes
        gone = list(model.nearest(vectors(1, DIM, seed=99)[0], 35))
        notes.delete(gone, connection=connection)
        for one in gone:
            del model.rows[one]
    else:
        notes.update(some[:5], metadata={"n": 1000}, connection=connection)
        model.rows |= {i: (model.rows[i][0], 1000) for i in some[:5]}


@pytest.mark.parametrize("name", ENGINES)
def test_a_random_transaction_reads_what_it_wrote_and_nobody_else_does(db, engine, name):
    rng = random.Random(name)
    notes, committed = filled(db, name)
    queries = vectors(2, DIM, seed=99)
    check(notes, committed, queries)
    for turn in range(6):
        with engine.connect() as connection:
            mine = Model(committed.rows)
            if engine.dialect.name == "sqlite":  # else the driver does so only at a write
                connection.exec_driver_sql("BEGIN")
            for _ in range(rng.randrange(1, 4)):
                point, before = connection.begin_nested(), Model(mine.rows)
                change(notes, mine, rng, connection)
                check(notes, mine, queries, connection)
                if rng.random() < 0.3:
                    point.rollback()
                    mine = before
                    check(notes, mine, queries, connection)
                else:
                    point.commit()
                check(notes, committed, queries)  # by another connection, whatever is at hand
            if rng.random() < 0.5:
                connection.commit()
                committed = mine
            else:
                connection.rollback()
        check(notes, committed, queries)
        if turn % 2:  # under the numbers that a rollback has given back
            notes.upsert([f"other-{turn}"], queries[:1] + 0.01, metadata=[{"n": 3}])
            committed.rows[f"other-{turn}"] = (queries[0] + np.float32(0.01), 3)
            check(notes, committed, queries)
    assert held(notes) == expected(notes)
    assert notes.verify(deep=True).ok


@pytest.mark.parametrize("name", ENGINES)
def test_the_index_is_asked_within_a_transaction(db, engine, name, monkeypatch):
    notes, model = filled(db, name)
    queries = vectors(2, DIM, seed=99)
    check(notes, model, queries)
    asked, backend = [], inside.loaded_of(notes, "main").backend
    search = type(backend).search
    monkeypatch.setattr(
        type(backend), "search", lambda self, *a, **b: asked.append(1) or search(self, *a, **b)
    )
    with engine.begin() as connection:
        notes.search(queries[0], K, connection=connection)
        assert len(asked) == 1
        notes.delete([0], connection=connection)
        del model.rows[0]
        check(notes, model, queries, connection)
        assert len(asked) > 3


def everything(notes, query, connection):
    """What each kind of read returns, to be compared."""
    options = {"connection": connection, "oversample": 6}
    named = [*range(0, BASE, 2), "new"]
    rerank = {"rerank": lambda _query, hits: [-hit.score for hit in hits], "fetch_k": 20}
    searches = [
        {}, {"exact": True}, {"where": {"n": {"$gte": 100}}}, {"among": named},
        {"where": {"$id": {"$in": named}, "n": {"$lt": 150}}}, {"min_score": -9.0},
        {"group_by": "n", "group_size": 2}, {"mmr": 0.5, "fetch_k": 20}, rerank, {"index": "main"},
    ]  # fmt: skip
    told = []
    for each in searches:
        hits = notes.search(query, 4, vectors=True, **each, **options)
        told.append([(h.id, h.score, h.document, h.metadata, h.vector.tolist()) for h in hits])
    batch = notes.search_many([query, -query], 4, **options)
    told.append([batch.ids, batch.scores.tolist(), batch.keys.tolist()])
    told.append(notes.more_like(["new", 5], 4, **options))
    model = {"model": lambda texts: [query.tolist() for _ in texts]}
    told.append(notes.search_text("a query", 4, **model, **options))
    told.append(notes.vectors(["new", 5], connection=connection).tolist())
    for where in (None, {"n": {"$gte": 190}}):
        items = notes.iter(batch=30, where=where, connection=connection)
        told.append([(i.id, i.document, i.metadata, i.vector.tolist()) for i in items])
        bare = notes.iter(where=where, vectors=False, connection=connection)
        told.append([tuple(item) for item in bare])
    return told


def listen(db, engine):
    """Return the list of the connections that are taken from now on, of both engines."""
    taken = []
    for each in (inside.beside(db), engine):
        sa.event.listen(each, "checkout", lambda *_: taken.append(1))
    return taken


@pytest.mark.parametrize("opened", ["opened", "not yet opened"])
@pytest.mark.parametrize("name", ENGINES)
def test_one_connection_is_enough_and_all_is_as_after_a_commit(url, tmp_path, name, opened):
    theirs = sa.create_engine(url, **ONE)
    query = vectors(1, DIM, seed=99)[0]
    with requant.open(theirs, folder=tmp_path / "indexes") as db:
        notes, _ = filled(db, name)
        notes.flush()
    with requant.open(theirs, folder=tmp_path / "indexes") as db:
        notes = db.collection("notes")
        if opened == "opened":
            notes.search(query)
        with theirs.connect() as connection:
            taken = listen(db, theirs)
            assert len(notes.search(query, connection=connection)) == 10
            near = notes.search(query, 12, exact=True, connection=connection)
            notes.upsert(["new"], [query], ["text"], [{"n": 7}], connection=connection)
            notes.upsert([5, 6], [query + 0.5, query + 0.7], connection=connection)
            notes.delete([hit.id for hit in near[:6]], connection=connection)
            notes.update([h.id for h in near[6:]], metadata={"n": 190}, connection=connection)
            within = everything(notes, query, connection)
            assert taken == []
            connection.commit()
        assert within == everything(notes, query, None)
        assert taken
    theirs.dispose()


def test_a_snapshot_that_is_older_than_the_index(db, engine):
    for name in ("faiss", "lancedb", "qdrant"):
        notes, model = filled(db, name)
        queries = vectors(2, DIM, seed=99)
        check(notes, model, queries)
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            check(notes, model, queries, connection)
            notes.delete(list(model.nearest(queries[0], 30)))
            notes.upsert(["other"], queries[:1], metadata=[{"n": 1}])
            assert notes.search(queries[0], 1)[0].id == "other"
            notes.flush()
            check(notes, model, queries, connection)
            assert "other" not in {item.id for item in notes.iter(connection=connection)}
        assert notes.search(queries[0], 1)[0].id == "other"
        db.drop_collection("notes")


@pytest.mark.parametrize("name", ["lancedb", "faiss"])
def test_a_place_that_another_process_has_brought_further(db, engine, url, tmp_path, name):
    notes, model = filled(db, name)
    queries = vectors(2, DIM, seed=99)
    check(notes, model, queries)
    others = sa.create_engine(url)
    with (
        requant.open(others, folder=tmp_path / "indexes") as again,
        engine.connect() as connection,
    ):
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        else:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        check(notes, model, queries, connection)
        theirs = again.collection("notes")
        theirs.delete(list(model.nearest(queries[0], 30)))
        theirs.upsert(["other"], queries[:1], metadata=[{"n": 1}])
        theirs.flush()
        check(notes, model, queries, connection)
    others.dispose()


def test_a_transaction_that_clears_the_collection(db, engine):
    notes, model = filled(db)
    queries = vectors(2, DIM, seed=99)
    check(notes, model, queries)
    with engine.connect() as connection:
        notes.clear(connection=connection)
        assert notes.search(queries[0], connection=connection) == []
        notes.upsert(["only"], queries[:1], connection=connection)
        assert [hit.id for hit in notes.search(queries[0], connection=connection)] == ["only"]
        check(notes, model, queries)
        connection.rollback()
    check(notes, model, queries)
    assert held(notes) == expected(notes)


def test_nothing_is_left_of_a_rollback_under_the_same_numbers(db, engine):
    notes, model = filled(db)
    query = vectors(1, DIM, seed=99)
    check(notes, model, query)
    for _ in range(3):
        with engine.connect() as connection:
            notes.upsert(["mine"], query, metadata=[{"n": 1}], connection=connection)
            assert notes.search(query[0], 1, connection=connection)[0].id == "mine"
            connection.rollback()
        notes.upsert(["other"], -query, metadata=[{"n": 2}])  # the same key, the same number
        model.rows["other"] = (-query[0], 2)
        check(notes, model, query)
        notes.delete(["other"])
        del model.rows["other"]
        check(notes, model, query)
    assert held(notes) == expected(notes)


def test_what_is_asked_for_and_is_not_there(db, engine):
    notes, _ = filled(db)
    with engine.connect() as connection:
        with pytest.raises(requant.UnknownIndexError, match="'main'"):
            notes.search(np.ones(DIM), index="none", connection=connection)
        with pytest.raises(requant.UnknownIdError, match="gone"):
            notes.more_like("gone", connection=connection)
        with pytest.raises(requant.UnknownIdError, match="gone"):
            notes.vectors(["gone"], connection=connection)
        with pytest.raises(requant.InputError, match="connection"):
            notes.search(np.ones(DIM), connection=engine)
    with pytest.raises(requant.InputError, match="batch"):
        next(notes.iter(0))


def test_whatever_tuples_the_application_has_chosen(db, engine):
    """What is none, and SQLAlchemy would read wrong, is refused: tests/test_store_lent.py."""
    notes, model = filled(db)
    queries = vectors(1, DIM, seed=99)
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        before = raw.row_factory
        raw.row_factory = sqlite3.Row if engine.dialect.name == "sqlite" else namedtuple_row
        try:
            assert len(notes.search(queries[0], K, connection=connection)) == K
        finally:
            raw.row_factory = before
    check(notes, model, queries)


@pytest.mark.parametrize("opened", ["opened", "not yet opened"])
def test_one_state_is_seen_while_others_write_all_the_time(url, tmp_path, opened):
    """Pairs of items always move together: a search never finds them apart, and always two."""
    theirs, folder = sa.create_engine(url), tmp_path / "indexes"
    query = np.zeros(DIM, np.float32)
    with requant.open(theirs, folder=folder) as db:
        notes, _ = filled(db)
        notes.upsert(["a", "b"], [query + 0.1, query + 0.1], metadata=[{"n": 0}] * 2)
        notes.flush()
    done = threading.Event()

    def write():
        try:
            n = 0
            while not done.is_set():
                n += 1
                place = query + np.float32(0.001 * (n % 90))
                notes.upsert(["a", "b"], [place, place], metadata=[{"n": n}] * 2)
        finally:
            done.set()

    def read():
        try:
            for _ in range(60):
                with theirs.connect() as connection:
                    hits = notes.search(query, 2, oversample=20, connection=connection)
                    assert {hit.id for hit in hits} == {"a", "b"}
                    assert hits[0].score == hits[1].score
                    assert hits[0].metadata == hits[1].metadata
                    both = notes.get(["a", "b"], vectors=True, connection=connection)
                    assert both[0].vector.tolist() == both[1].vector.tolist()
                    items = [i for i in notes.iter(50, connection=connection) if i.id in ("a", "b")]
                    assert items[0].metadata == items[1].metadata
                    assert not done.is_set()
        finally:
            done.set()

    with requant.open(theirs, folder=folder) as db:
        notes = db.collection("notes")
        if opened == "opened":
            notes.search(query)
        in_threads(write, read)
        assert notes.verify(deep=True).ok
    theirs.dispose()


def test_a_read_that_is_overtaken_waits_for_nobody(empty_postgres, tmp_path, monkeypatch):
    """Those who have begun to write may commit between any two statements, or never."""
    monkeypatch.setattr(inside.SETTLED_PATIENCE, 0.0)
    theirs = sa.create_engine(empty_postgres, pool_size=20)
    with requant.open(theirs, folder=tmp_path / "indexes") as db:
        notes, _ = filled(db)
        matching, begun = Reader.matching, []

        def overtaken(self, *asked):
            keys = matching(self, *asked)
            if begun:
                with begun.pop() as other:
                    other.commit()
            return keys

        def begin(count):
            for n in range(count):
                begun.append(theirs.connect())
                notes.upsert([1000 + n], vectors(1, DIM), connection=begun[-1])

        monkeypatch.setattr(inside.MATCHING, overtaken)
        with theirs.connect() as connection, theirs.connect() as never:
            connection = connection.execution_options(postgresql_readonly=True)
            notes.upsert([2000], vectors(1, DIM), connection=never)
            begin(4)
            assert [item.id for item in notes.get([1], where={"n": 1}, connection=connection)] == [
                1
            ]
            assert not begun
            begin(12)
            with pytest.raises(requant.StoreError, match="REPEATABLE READ"):
                notes.get([1], where={"n": 1}, connection=connection)
            assert len(begun) == 6
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
            for other in begun:
                other.close()
    theirs.dispose()


def test_an_attached_index_is_asked_by_the_same_connection(url, tmp_path):
    index, rows = faiss.IndexFlatL2(DIM), vectors(BASE, DIM)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "theirs.index"))
    theirs = sa.create_engine(url, **ONE)
    with requant.open(theirs, folder=tmp_path / "own") as db:
        notes, model = filled(db, None)
        notes.attach_index("main", engine="faiss", location=tmp_path / "theirs.index")
        queries = vectors(2, DIM, seed=99)
        check(notes, model, queries)
        with theirs.connect() as connection:
            taken = listen(db, theirs)
            near = list(model.nearest(queries[0], 10))
            notes.delete(near, connection=connection)
            notes.upsert(["mine"], queries[1:], metadata=[{"n": 3}], connection=connection)
            for one in near:
                del model.rows[one]
            model.rows["mine"] = (queries[1], 3)
            check(notes, model, queries, connection)
            assert taken == []
    theirs.dispose()


def test_an_index_that_is_far_behind_is_told_of_once(db, engine, monkeypatch):
    notes, model = filled(db)
    monkeypatch.setattr(inside.MANY_ITEMS, 50)
    rows = vectors(60, DIM, seed=98)
    with engine.connect() as connection:
        check(notes, model, rows[:1], connection)  # nothing is said
    notes.upsert([f"late {n}" for n in range(60)], rows, metadata=[{"n": 3}] * 60)
    model.rows.update({f"late {n}": (row, 3) for n, row in enumerate(rows)})
    with engine.connect() as connection:
        with pytest.warns(requant.IndexWarning, match=r"some 60 items.*far behind.*keep_up"):
            notes.search(rows[0], connection=connection)
        check(notes, model, rows[:1], connection)


def test_an_index_that_nobody_has_opened_is_told_of_once(db, engine, tmp_path, monkeypatch):
    notes, model = filled(db)
    notes.flush()
    monkeypatch.setattr(inside.MANY_ITEMS, 100)
    queries = vectors(1, DIM, seed=99)
    with (
        requant.open(engine, folder=tmp_path / "indexes") as again,
        engine.connect() as connection,
    ):
        fresh = again.collection("notes")
        with pytest.warns(requant.IndexWarning, match="keep_up"):
            fresh.search(queries[0], connection=connection)
        check(fresh, model, queries, connection)
        again.keep_up(0.01)
        deadline = time.monotonic() + 30
        while inside.index_of(fresh, "main").mark is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        check(fresh, model, queries, connection)
