"""Searches in a caller's transaction: its own rows are found, and nobody else learns of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from tests import inside
from tests.databases import brute_force, expected, held, vectors

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
