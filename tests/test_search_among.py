"""Searches among ids: any number of them, known or not, beside filters and in them."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import requant
from requant.errors import FilterError, InputError
from tests import inside
from tests.databases import brute_force, metadata, vectors

N = 3000
EVERY_ENGINE = [
    ("faiss", "int8", "flat"),
    ("faiss", "int2", "flat"),
    ("faiss", "int8", "hnsw"),
    ("usearch", "int8", "flat"),
    ("qdrant", "float32", "flat"),
    ("lancedb", "float32", "flat"),
]


@pytest.fixture(scope="module")
def stored():
    """A collection of `N` items with ids from 0 on, with an index."""
    with requant.open(":memory:") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(N), vectors(N), metadata=metadata(N))
        notes.add_index("main", precision="int8")
        yield notes


def check(notes, query, ids, where=None, k=10, rule=lambda n: True):
    wanted = np.array(sorted(n for n in set(ids) if rule(n)), int)
    hits = notes.search(query, k, among=ids, where=where, oversample=8)
    assert len(hits) == min(k, len(wanted))
    rows, scores = brute_force(query, vectors(N)[wanted], "cosine", len(wanted))
    exact = dict(zip(wanted[rows].tolist(), scores.tolist(), strict=True))
    assert {hit.id for hit in hits} <= exact.keys()
    np.testing.assert_allclose([hit.score for hit in hits], [exact[h.id] for h in hits], rtol=1e-5)
    return len({hit.id for hit in hits} & {int(wanted[row]) for row in rows[:k]}), len(hits)


@pytest.mark.parametrize("index", EVERY_ENGINE, ids="-".join)
@pytest.mark.parametrize("few", [0, 1000], ids=["engine", "scan"])
def test_k_results_among_any_number_of_ids(db, index, few, monkeypatch):
    monkeypatch.setattr(inside.FEW, few)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N), metadata=metadata(N))
    engine, precision, index_type = index
    notes.add_index("main", engine=engine, precision=precision, index_type=index_type)
    rng, found, wanted = np.random.default_rng(0), 0, 0
    for count in (1, 5, 50, 190, 700, 2000, N):
        ids = rng.choice(N, count, replace=False).tolist()
        for query in vectors(2, seed=1):
            near, hits = check(notes, query, ids)
            found, wanted = found + near, wanted + hits
            near, hits = check(notes, query, ids, {"even": True}, rule=lambda n: n % 2 == 0)
            found, wanted = found + near, wanted + hits
        batch = notes.search_many(vectors(3, seed=2), 10, among=ids)
        assert [len(ids) for ids in batch.ids] == [min(10, count)] * 3
    assert found / wanted > 0.95


def test_ids_are_looked_up_in_either_database(any_db):
    notes = any_db.create_collection("notes", 2)
    uuid = UUID(int=7)
    notes.upsert(["a", 7, uuid, "b'; --"], vectors(4, 2))
    everything = notes.search([1, 0])
    found = notes.search([1, 0], among=iter(["b'; --", "7", uuid, "gone", 7]))
    assert found == [hit for hit in everything if hit.id != "a"]
    assert notes.search([1, 0], where={"$id": {"$in": ["b'; --", 7, str(uuid)]}}) == found
    assert notes.search([1, 0], among=[]) == []
    assert notes.search_many([[1, 0]], among=["gone"]).ids == [[]]


@pytest.mark.parametrize("ids", ["a", None, 7, b"a", ["a", 1.5], [""], [True], ["a\0"]])
def test_what_is_no_list_of_ids_is_refused(stored, ids):
    if ids is None:
        assert len(stored.search(np.ones(8), among=None)) == 10
        return
    with pytest.raises(InputError, match="ids"):
        stored.search(np.ones(8), among=ids)


def test_a_hundred_thousand_ids(stored):
    ids = [f"no-{n}" for n in range(100_000)] + list(range(100, 120))
    query = np.ones(8)
    found = stored.search(query, 30, among=ids)
    assert sorted(hit.id for hit in found) == list(range(100, 120))
    assert stored.search(query, 30, where={"$id": {"$in": ids}}) == found
    both = {"$and": [{"$id": {"$in": ids}}, {"word": "elk"}]}
    words = [hit for hit in found if hit.id % 5 == 4]
    assert stored.search(query, 30, where=both) == words
    assert stored.search(query, 30, where={"word": "elk"}, among=ids) == words
    assert stored.search(query, 30, where={"$id": {"$in": ids}}, among=[105, 7]) == [
        hit for hit in found if hit.id == 105
    ]


some_ids = st.lists(st.integers(0, 40), max_size=12)
id_filters = st.recursive(
    st.one_of(
        st.builds(lambda ids: {"$id": {"$in": ids}}, some_ids),
        st.builds(lambda n: {"$id": n}, st.integers(0, 40)),
        st.builds(lambda n: {"$id": {"$eq": str(n)}}, st.integers(0, 40)),
        st.builds(lambda n: {"$id": {"$ne": n}}, st.integers(0, 40)),
        st.builds(lambda ids: {"$id": {"$in": ids, "$nin": [3]}}, some_ids),
        st.just({"even": True}),
        st.just({}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"$and": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"$or": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(lambda a, b: {**a, **b}, inner, inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def forty():
    with requant.open(":memory:") as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(40), vectors(40), metadata=metadata(40))
        yield notes


@given(where=id_filters)
@settings(max_examples=75, deadline=None)
def test_ids_in_a_filter_mean_what_they_mean_to_the_database(forty, where):
    # `iter` asks the database about every item.
    matching = {item.id for item in forty.iter(where=where)}
    assert {hit.id for hit in forty.search(np.ones(8), 100, where=where)} == matching


@pytest.mark.parametrize(
    "where", [{"$id": "a\0"}, {"$id": {"$in": "a"}}, {"$and": []}, {"$id": {"$gt": "a"}}, ["a"]]
)
def test_a_filter_that_is_refused_stays_refused(stored, where):
    with pytest.raises(FilterError):
        stored.search(np.ones(8), where=where)


def test_what_changes_is_found_as_it_is_now(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(N), vectors(N))
    notes.add_index("main", precision="int8")
    query, ids = vectors(1, seed=3)[0], list(range(0, N, 2))
    notes.search(query, among=ids)
    first = notes.search(query, 3, among=ids)
    notes.delete([first[0].id])
    notes.upsert([first[1].id], [-query])
    notes.upsert(["new"], [query])
    found = notes.search(query, 3, among=[*ids, "new"])
    assert found[0].id == "new"
    assert found[1].id == first[2].id
    assert not {first[0].id, first[1].id} & {hit.id for hit in found}
