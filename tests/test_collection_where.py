"""Filtered searches: never fewer than k when k matches exist, and nothing that does not match."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

import requant
from tests import inside
from tests.databases import brute_force, metadata, vectors
from tests.test_collection_search import INDEXES, add_index

N = 600
K = 10
# Shares of the items, from none to all.
SHARES = {0: 0.0, 1: 0.001, 9: 0.015, 11: 0.02, 60: 0.1, 300: 0.5, 597: 0.995, 600: 1.0}


@pytest.fixture
def notes(db):
    collection = db.create_collection("notes", 8)
    collection.upsert(range(N), vectors(N), metadata=metadata(N))
    return collection


def check(notes, query, where, matching, **options):
    """Search with a filter, and judge the answer by the rows that match."""
    hits = notes.search(query, k=K, where=where, **options)
    ids = [hit.id for hit in hits]
    assert set(ids) <= set(matching)
    assert len(ids) == len(set(ids)) == min(K, len(matching))
    rows, scores = brute_force(query, vectors(N)[matching], "cosine", len(matching))
    exact = {matching[row]: score for row, score in zip(rows, scores, strict=True)}
    np.testing.assert_allclose([hit.score for hit in hits], [exact[i] for i in ids], rtol=1e-5)
    assert sorted(exact[i] for i in ids)[::-1] == [exact[i] for i in ids]
    return len(set(ids) & {matching[row] for row in rows[:K]})


@pytest.mark.parametrize("index", INDEXES, ids="-".join)
@pytest.mark.parametrize("few", [0, 1000], ids=["engine", "scan"])
def test_k_results_at_every_share(notes, index, few, monkeypatch):
    # Below this many matches their floats are scored outright; 0 lets the engine find them all.
    monkeypatch.setattr(inside.FEW, few)
    add_index(notes, index)
    queries = vectors(3, seed=1)
    found = wanted = 0
    for count in SHARES:
        matching = list(range(N - count, N))
        where = {"n": {"$gte": N - count}}
        for query in queries:
            found += check(notes, query, where, matching, oversample=4)
            wanted += min(K, count)
        batch = notes.search_many(queries, k=K, where=where, oversample=4)
        assert [len(ids) for ids in batch.ids] == [min(K, count)] * 3
    # Bits and levels alone are a coarse measure in 8 dimensions, and graphs approximate.
    floor = 0.75 if index[1] == "binary" else 0.9
    assert found / wanted >= floor


FILTERS = {
    "a fifth": ({"word": "elk"}, lambda n: n % 5 == 4),
    "two at once": (
        {"word": {"$in": ["air", "bay"]}, "even": True},
        lambda n: n % 5 < 2 and n % 2 == 0,
    ),
    "one or the other": ({"$or": [{"n": 3}, {"n": {"$gt": 590}}]}, lambda n: n == 3 or n > 590),
    "a negation": ({"$not": {"word": "elk"}}, lambda n: n % 5 != 4),
    "all": ({"missing": {"$exists": False}}, lambda n: True),
    "none": ({"missing": {"$exists": True}}, lambda n: False),
    "empty": ({}, lambda n: True),
}


@pytest.mark.parametrize("index", [None, INDEXES[2], INDEXES[5], INDEXES[18]], ids=str)
@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_every_kind(notes, index, name):
    where, rule = FILTERS[name]
    if index is not None:
        add_index(notes, index)
    matching = [n for n in range(N) if rule(n)]
    check(notes, vectors(1, seed=2)[0], where, matching, oversample=4)
    check(notes, vectors(1, seed=2)[0], where, matching, exact=True)


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("index", [INDEXES[2], INDEXES[5], INDEXES[17]], ids="-".join)
def test_the_matches_farthest_from_the_query_are_found(db, index, few, monkeypatch):
    monkeypatch.setattr(inside.FEW, few)
    notes = db.create_collection("notes", 8)
    given = np.repeat([[1.0], [-1.0]], [4000, 12], axis=0) + vectors(4012) * 0.1
    notes.upsert(range(4012), given, metadata=[{"far": n >= 4000} for n in range(4012)])
    add_index(notes, index)
    for k in (1, 10, 12):
        hits = notes.search(np.ones(8), k=k, where={"far": True})
        assert len(hits) == k
        assert all(hit.id >= 4000 for hit in hits)
    assert len(notes.search(np.ones(8), k=13, where={"far": True})) == 12


def test_items_without_vectors_match_and_are_not_found(db, monkeypatch):
    for few in (0, 1000):
        monkeypatch.setattr(inside.FEW, few)
        notes = db.create_collection(f"notes{few}", 8)
        notes.upsert(range(50), vectors(50), metadata=[{"in": n < 5} for n in range(50)])
        notes.upsert(range(100, 200), metadata=[{"in": True}] * 100)
        notes.add_index("main", engine="faiss", precision="int8")
        assert {hit.id for hit in notes.search(np.ones(8), where={"in": True})} == set(range(5))


def test_filters_follow_updated_metadata(notes):
    notes.add_index("main", engine="faiss", precision="int2")
    query = vectors(1)[0]
    assert notes.search(query, k=1, where={"word": "air"})[0].id == 0
    notes.upsert([0], metadata=[{"word": "bay"}])
    assert notes.search(query, k=1, where={"word": "air"})[0].id != 0
    assert notes.search(query, k=1, where={"word": "bay"})[0].id == 0


def test_filters_on_postgresql_and_sqlite(any_db):
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N), metadata=metadata(N))
    query = vectors(1, seed=3)[0]
    for index in (None, INDEXES[2], INDEXES[6]):
        if index is not None:
            add_index(notes, index, "-".join(index))
            notes.use_index("-".join(index))
        for count in (0, 5, 60, 597):
            matching = list(range(N - count, N))
            check(notes, query, {"n": {"$gte": N - count}}, matching, oversample=8)


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_iter_yields_what_matches_with_its_vectors(any_db, batch):
    notes = any_db.create_collection("filtered", 8)
    notes.upsert(range(N), vectors(N), metadata=metadata(N), documents=[f"d{i}" for i in range(N)])
    notes.upsert([4], documents=["no vector here"], metadata=[{"word": "elk"}], vectors=None)
    notes.upsert(["bare"], documents=["none"], metadata=[{"word": "elk"}])
    notes.delete([9])
    every = list(notes.iter())
    found = list(notes.iter(batch, where={"word": "elk"}))
    wanted = [item for item in every if item.metadata["word"] == "elk"]
    assert len(found) == len(wanted) == N // 5
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[:4] == theirs[:4]
        np.testing.assert_array_equal(ours.vector, theirs.vector)
    assert found[-1].id == "bare"
    assert found[-1].vector is None
    assert list(notes.iter(where={"word": "no such"})) == []
    assert [item.id for item in notes.iter(where={})] == [item.id for item in every]


def test_iter_filters_in_the_snapshot_that_it_reads(notes):
    items = notes.iter(batch=10, where={"even": True})
    first = next(items)
    notes.delete(where={"even": True})
    notes.upsert(["late"], vectors(1), metadata=[{"even": True}])
    assert [first.id, *(item.id for item in items)] == list(range(0, N, 2))
    assert [item.id for item in notes.iter(where={"even": True})] == ["late"]


def test_iter_keeps_no_batch_alive_for_one_vector(notes):
    item = next(notes.iter(where={"even": True}))
    assert item.vector.base is None
    item.vector[0] = 5  # it is the caller's own


def test_iter_refuses_what_it_cannot_read_by(db, notes):
    with pytest.raises(requant.FilterError):
        next(notes.iter(where={"$nope": 1}))
    for where in (None, {"even": True}):
        for batch in (0, -1, True, 2.5):
            with pytest.raises(requant.InputError, match="batch must be a whole number from 1"):
                next(notes.iter(batch, where=where))
    db.drop_collection("notes")
    with pytest.raises(requant.UnknownCollectionError):
        next(notes.iter(where={"even": True}))


def test_ids_documents_and_vectors_can_be_asked_for(db):
    one = UUID(int=1)
    notes = db.create_collection("notes", 2)
    notes.upsert(
        ["a", 7, one],
        [[1, 0], [0, 1], [1, 1]],
        documents=["Alpha and OMEGA", "Äpfel", None],
        metadata=[{"v1.0": True, "tags": []}, {"tags": ["x", 1]}, None],
    )
    notes.upsert(["bare"], documents=["alpha"])
    for where, expected in [
        ({"$id": "a"}, ["a"]),
        ({"$id": 7}, [7]),
        ({"$id": {"$in": [one, "7", "nobody"]}}, [7, one]),
        ({"$id": {"$nin": ["a", 7]}}, [one]),
        ({"$document": {"$icontains": "omega"}}, ["a"]),
        ({"$document": {"$startswith": "Ä"}}, [7]),
        ({"$document": {"$startswith": "alpha"}}, []),
        ({"$document": None}, [one]),
        ({"v1\\.0": True}, ["a"]),
        ({"tags": []}, ["a"]),
        ({"tags": ["x", 1.0]}, [7]),
        ({"tags": ["x"]}, []),
    ]:
        found = [hit.id for hit in notes.search([1, 1], where=where)]
        assert sorted(map(str, found)) == sorted(map(str, expected)), where
        assert [item.id for item in notes.iter(where={"$and": [where, {"$has_vector": True}]})] == (
            expected
        )
    assert [item.id for item in notes.iter(where={"$has_vector": False})] == ["bare"]
    many = {"$id": {"$in": [f"nobody {n}" for n in range(20_000)] + ["bare"]}}
    assert notes.delete(where=many) == 1
    assert len(notes) == 3


@pytest.mark.parametrize("vectors", [True, False])
def test_who_has_a_vector_within_a_transaction(any_db, vectors):
    notes = any_db.create_collection("notes", dim=2)
    notes.upsert(["a", "b"], [[1, 0], None])
    with any_db.engine.begin() as connection:
        for wanted, has in (("a", True), ("b", False)):
            where = {"$has_vector": has}
            found = notes.iter(where=where, vectors=vectors, connection=connection)
            assert [item.id for item in found] == [wanted]
