"""At every size up to 1,000 default settings find what is nearest, on every engine."""

from __future__ import annotations

import numpy as np
import pytest

import requant
from requant.adapters import registry
from requant.search import recall_of
from tests import inside
from tests.databases import vectors

DIM = 64
PRECISIONS = [
    "float32", "float16", "int8", "uint8", "int4", "int2", "int1", "binary", "native"
]  # fmt: skip
KINDS = [
    (engine, precision, kind)
    for engine in ("faiss", "usearch", "qdrant", "lancedb", "turbovec")
    for precision in PRECISIONS
    for kind in ("flat", "hnsw", "ivf")
    if registry.load(engine).capabilities.find(precision, kind)
    # Of so few items these two make no graph and no lists: every kind is scanned alike.
    and (engine not in ("qdrant", "lancedb") or kind == "flat" or precision == "int8")
]


def random_rows(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)


def recall(notes, queries):
    found, best = notes.search_many(queries), notes.search_many(queries, exact=True)

    def pairs(batch):
        return [
            (row[row >= 0], some[row >= 0])
            for row, some in zip(batch.keys, batch.scores, strict=True)
        ]

    return recall_of(pairs(found), pairs(best))


@pytest.mark.parametrize(("engine", "precision", "kind"), KINDS)
def test_default_settings_find_what_is_nearest(db, engine, precision, kind):
    notes = db.create_collection("notes", DIM)
    rows, queries = random_rows(1000), random_rows(50, seed=1)
    notes.upsert(range(20), rows[:20])
    notes.add_index("main", engine=engine, precision=precision, index_type=kind)
    have = 20
    for size in (20, 30, 100, 300, 1000):
        if size > have:
            notes.upsert(range(have, size), rows[have:size])
            have = size
        assert recall(notes, queries) >= 0.985
        notes.search(queries[0])
        assert recall(notes, queries[:5]) >= 0.985


@pytest.mark.parametrize(("engine", "precision", "kind"), KINDS)
def test_as_many_candidates_as_items_are_the_exact_answer(db, engine, precision, kind):
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(400), random_rows(400), metadata=[{"even": not i % 2} for i in range(400)])
    notes.add_index("main", engine=engine, precision=precision, index_type=kind)
    queries = random_rows(20, seed=1)
    for k, where in ((1, None), (10, None), (10, {"even": True})):
        found = notes.search_many(queries, k, oversample=400, where=where)
        best = notes.search_many(queries, k, exact=True, where=where)
        assert found.ids == best.ids
        assert (found.scores == best.scores).all()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_what_is_in_memory_follows_every_write(db, metric):
    """A search of a small collection keeps its vectors: they must never be out of date."""
    notes = db.create_collection("notes", 8, metric)
    notes.upsert(range(300), vectors(300), metadata=[{"third": i % 3} for i in range(300)])
    notes.add_index("main", engine="usearch", precision="binary")
    other = requant.open(db.engine.url.database)
    rng = np.random.default_rng(0)
    for turn in range(60):
        writer = notes if turn % 2 else other.collection("notes")
        some = rng.choice(400, 30, replace=False)
        if turn % 3:
            writer.upsert(some, vectors(30, seed=turn))
        else:
            writer.delete(some)
        query = vectors(1, seed=1000 + turn)[0]
        for where in (None, {"third": 1}):
            found = notes.search(query, where=where)
            assert found == notes.search(query, where=where, exact=True)
    other.close()


def test_an_older_snapshot_is_answered_from_its_own_time(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(50), vectors(50))
    notes.add_index("main", engine="faiss")
    before = vectors(50)[7]
    nearby = inside.loaded_of(notes, "main").nearby
    with inside.snapshot(notes) as (reader, state):
        notes.delete([7])
        assert notes.search(before, k=1)[0].id != 7
        seen = [batch.keys for batch in nearby.batches(reader, inside.row_of(notes), state, 0)]
        assert sum(map(len, seen)) == 50
    assert notes.search(before, k=1)[0].id != 7


def test_little_is_cut_by_the_look_at_codes(db, monkeypatch):
    monkeypatch.setattr(inside.FEW, 0)
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(1000), random_rows(1000))
    notes.add_index("main", engine="faiss", precision="binary")
    queries = random_rows(200, seed=1)
    found = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(inside.REFINED_SHARE, share)
        found.append(notes.search_many(queries, k=1).ids)
    assert found[0] == found[1], "of 30 candidates none is to be dropped"
