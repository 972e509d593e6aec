"""Least scores, vectors of hits, and what a batch of results gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import requant
from requant.errors import InputError
from requant.search import Hit
from tests import inside
from tests.databases import brute_force, metadata, vectors

N = 2000


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def notes(request):
    with requant.open(":memory:") as db:
        collection = db.create_collection("notes", 8, request.param)
        documents = [f"text {n}" for n in range(N)]
        collection.upsert(range(N), vectors(N), documents, metadata(N))
        collection.add_index("main", precision="int8")
        yield collection


@given(rank=st.integers(0, 40), k=st.integers(1, 30), above=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_what_scores_less_is_left_out(notes, rank, k, above, seed):
    query = vectors(1, seed=100 + seed)[0]
    hits = notes.search(query, 41)
    least = hits[rank].score
    # The score itself is enough; what is next above it is not.
    least = float(np.nextafter(np.float32(least), np.float32(np.inf))) if above else least
    wanted = [hit for hit in hits[:k] if hit.score >= least]
    assert notes.search(query, k, min_score=least, oversample=8) == wanted
    assert notes.search_many([query], k, min_score=least, oversample=8)[0] == wanted


@pytest.mark.parametrize("least", [math.nan, math.inf, "1", True, None])
def test_a_least_score_is_a_number(notes, least):
    if least is None:
        assert len(notes.search(np.ones(8), min_score=None)) == 10
        return
    with pytest.raises(InputError, match="min_score must be a"):
        notes.search(np.ones(8), min_score=least)


def test_few_above_the_least_score_are_no_reason_to_read_everything(notes, monkeypatch):
    query = vectors(1, seed=5)[0]
    best = notes.search(query, 1)[0]

    def scan(self, batches):
        raise AssertionError("everything is read")

    monkeypatch.setattr(inside.EXACT_SCAN, scan)
    assert notes.search(query, 10, min_score=best.score) == [best]


def test_no_query_has_to_have_results(notes):
    queries = vectors(4, seed=6)
    best = [notes.search(query, 1)[0].score for query in queries]
    batch = notes.search_many(queries, 5, min_score=sorted(best)[2])
    assert sorted(map(bool, batch.ids)) == [False, False, True, True]
    assert batch.scores.shape == batch.keys.shape == (4, 5)
    for ids, scores, keys in zip(batch.ids, batch.scores, batch.keys, strict=True):
        assert (scores[len(ids) :] == -np.inf).all()
        assert (keys[len(ids) :] == -1).all()


def test_hits_have_the_vectors_that_were_stored(any_db):
    notes, stored = any_db.create_collection("notes", 8), vectors(1500)
    notes.upsert(range(1500), stored)
    query = vectors(1, seed=1)[0]
    for index in (None, "int8", "int2"):
        if index:
            notes.add_index(index, precision=index)
            notes.use_index(index)
        hits = notes.search(query, 25, vectors=True)
        plain = notes.search(query, 25)
        assert [hit._replace(vector=None) for hit in hits] == plain
        assert all(hit.vector is None for hit in plain)
        for hit in hits:
            assert hit.vector.dtype == np.float32
            assert hit.vector.base is None
            assert hit.vector.tobytes() == stored[hit.id].tobytes()
        batch = notes.search_many(vectors(30, seed=2), 7, vectors=True)
        for ids, rows in zip(batch.ids, batch.vectors, strict=True):
            assert rows.tobytes() == stored[ids].tobytes()
        assert batch[3][2].vector.tobytes() == stored[batch.ids[3][2]].tobytes()
    assert notes.search_many([query]).vectors is None
    with pytest.raises(InputError, match="vectors must be True or False"):
        notes.search(query, vectors="all")


def test_floats_that_were_rescored_are_not_read_again(db, monkeypatch):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    notes.add_index("main", precision="int8")
    read = inside.vector_reads(monkeypatch)
    notes.search(vectors(1, seed=1)[0], vectors=True)
    assert len(read) == 1
    notes.search(vectors(1, seed=1)[0], mmr=0.5, vectors=True)
    assert len(read) == 2


def test_a_batch_can_be_looked_through(notes):
    queries = vectors(5, seed=3)
    batch = notes.search_many(queries, 4)
    singles = [notes.search(query, 4) for query in queries]
    assert list(batch) == singles
    assert len(batch) == 5
    assert batch[1] == batch[-4] == singles[1]
    assert batch[3:] == singles[3:]
    assert isinstance(batch[0][0], Hit)
    assert batch[0][0].document == f"text {batch.ids[0][0]}"
    assert repr(batch) == "<Batch: 5 queries, 20 results, at most 4 each>"
    with pytest.raises(IndexError):
        batch[5]
    rows, scores = brute_force(queries[0], vectors(N), notes.metric, 4)
    assert batch.ids[0] == rows
    np.testing.assert_allclose(batch.scores[0], scores, rtol=1e-5, atol=1e-6)


def test_a_batch_is_of_one_moment(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(50), vectors(50), [f"old {n}" for n in range(50)], metadata(50))
    batch = notes.search_many(vectors(3, seed=1), 100)
    notes.upsert(range(50), documents=["new"] * 50, metadata=[{}] * 50)
    notes.delete(range(10))
    for hits in batch:
        assert [hit.document for hit in hits] == [f"old {hit.id}" for hit in hits]
        assert [hit.metadata["n"] for hit in hits] == [hit.id for hit in hits]
        assert len(hits) == 50


def test_a_batch_without_documents_has_no_hits(notes):
    queries = vectors(5, seed=3)
    batch, whole = notes.search_many(queries, 4, documents=False), notes.search_many(queries, 4)
    assert batch.ids == whole.ids
    assert (batch.scores == whole.scores).all()
    with pytest.raises(InputError, match="has read no items"):
        batch[0]
    with pytest.raises(InputError, match="has read no items"):
        next(iter(batch))
    with pytest.raises(InputError, match="rerank= is given documents"):
        notes.search_many(queries, documents=False, rerank=lambda query, hits: [])


@pytest.mark.parametrize("n", [0, 1, 30])
def test_small_collections(db, n):
    notes = db.create_collection("notes", 8)
    if n:
        notes.upsert(range(n), vectors(n))
    for options in ({"min_score": -1.0}, {"vectors": True}, {"mmr": 0.5}, {"among": range(99)}):
        assert len(notes.search(np.ones(8), 1000, **options)) == n
        assert notes.search_many([np.ones(8)] * 2, 1000, **options).scores.shape == (2, 1000)


@pytest.mark.parametrize("name", ["like", "text", "nothing"])
def test_an_option_that_does_not_exist_is_refused(notes, name):
    with pytest.raises(TypeError, match=name):
        notes.search(np.ones(8), **{name: ["a"]})


@pytest.mark.parametrize("least", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_least_score_is_finite(db, least):
    notes = db.create_collection("finite", 2)
    with pytest.raises(InputError, match="min_score must be a finite number"):
        notes.search([1, 0], min_score=least)


@pytest.mark.parametrize("call", ["search", "search_many"])
def test_an_option_that_no_search_has_is_named(db, call):
    notes = db.create_collection("options", 2)
    with pytest.raises(TypeError, match=r"a search has no option 'limit'; it has among, .* where"):
        getattr(notes, call)([[1, 0]], limit=3)
