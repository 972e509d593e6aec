"""Searches: exact scores, order, ties, k, and the forms in which vectors may arrive."""

from __future__ import annotations

import array

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import requant
from requant.errors import InputError, UnsupportedError
from requant.testing import WrapperBackend
from tests import inside
from tests.databases import brute_force, vectors
from tests.wrapped import wrapped

METRICS = ["cosine", "ip", "l2"]
# Every precision with an engine that has it, and whatever more it takes to find everything.
INDEXES = [
    ("faiss", "float32", "flat"),
    ("faiss", "float16", "flat"),
    ("faiss", "int8", "flat"),
    ("faiss", "uint8", "flat"),
    ("faiss", "int4", "flat"),
    ("faiss", "int2", "flat"),
    ("faiss", "int1", "flat"),
    ("faiss", "binary", "flat"),
    ("faiss", "float32", "hnsw"),
    ("faiss", "int8", "hnsw"),
    ("faiss", "binary", "hnsw"),
    ("faiss", "int8", "ivf"),
    ("faiss", "int4", "ivf"),
    ("usearch", "float32", "flat"),
    ("usearch", "float16", "flat"),
    ("usearch", "int8", "flat"),
    ("usearch", "uint8", "flat"),
    ("usearch", "binary", "flat"),
    ("usearch", "int8", "hnsw"),
    ("usearch", "binary", "hnsw"),
]
every_index = pytest.mark.parametrize("index", INDEXES, ids="-".join)
every_metric = pytest.mark.parametrize("metric", METRICS)


def add_index(collection, index, name="main"):
    """Add an index unless its codes cannot rank as the metric does; returns whether it is there."""
    engine, precision, index_type = index
    try:
        collection.add_index(name, engine=engine, precision=precision, index_type=index_type)
    except UnsupportedError as error:
        assert collection.metric == "ip"
        assert precision == "uint8"
        assert "cannot rank" in str(error)  # noqa: PT017
        return False
    return True


@every_metric
def test_an_exact_search_is_a_brute_force_one(any_db, metric):
    stored, queries = vectors(300), vectors(5, seed=1)
    notes = any_db.create_collection("notes", 8, metric)
    notes.upsert(range(300), stored)
    for query in queries:
        hits = notes.search(query, k=20)
        rows, scores = brute_force(query, stored, metric, 20)
        assert [hit.id for hit in hits] == rows
        np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-6)


@every_metric
@every_index
def test_an_index_that_is_asked_for_everything_misses_nothing(db, metric, index):
    stored, queries = vectors(400), vectors(4, seed=1)
    notes = db.create_collection("notes", 8, metric)
    notes.upsert(range(400), stored)
    if not add_index(notes, index):
        return
    for query in queries:
        hits = notes.search(query, k=15, oversample=400 / 15, effort=400)
        rows, _ = brute_force(query, stored, metric, 15)
        assert {hit.id for hit in hits} >= set(rows[:10])
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
        exact = dict(zip(*brute_force(query, stored, metric, 400), strict=True))
        np.testing.assert_allclose([h.score for h in hits], [exact[h.id] for h in hits], rtol=1e-5)


@every_metric
@pytest.mark.parametrize("index", [None, *INDEXES[2:8]], ids=str)
def test_search_many_is_search_many_times(db, metric, index):
    stored, queries = vectors(300), vectors(300, seed=1)
    notes = db.create_collection("notes", 8, metric)
    notes.upsert([f"id {i}" for i in range(300)], stored)
    if index is not None and not add_index(notes, index):
        return
    batch = notes.search_many(queries, k=7)
    assert (batch.scores.shape, batch.scores.dtype) == ((300, 7), np.float32)
    assert (batch.keys.shape, batch.keys.dtype) == ((300, 7), np.int64)
    for i in [0, 1, 255, 256, 299]:
        hits = notes.search(queries[i], k=7)
        assert batch.ids[i] == [hit.id for hit in hits]
        np.testing.assert_array_equal(batch.scores[i], [hit.score for hit in hits])


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_sums_that_cancel_out_are_the_same_in_every_company(db, metric):
    """What is left of them is rounding, which depends on what is computed together."""
    half, asked = vectors(3000, 32), vectors(10, 32, seed=1)
    order = np.random.default_rng(0).permutation(64)
    rows = np.concatenate([half, -half], axis=1)[:, order]
    rows[::3] *= 1000
    rows[5] = 0
    queries = np.concatenate([asked, asked], axis=1)[:, order]
    notes = db.create_collection("notes", 64, metric)
    notes.upsert(range(len(rows)), rows)
    notes.add_index("all", precision="float32")
    notes.upsert([len(rows)], rows[:1])  # not in the index yet
    ways = [
        {"exact": True},
        {"oversample": len(rows)},
        {"where": {"$id": {"$ne": -1}}, "exact": True},
    ]
    for options in ways:
        many = notes.search_many(queries, k=20, **options)
        for query, hits in zip(queries, many, strict=True):
            assert [hit.id for hit in hits] == list(range(20))
            assert {hit.score for hit in hits} == {0}
            assert notes.search(query, k=20, **options) == hits


def test_small_products_are_no_noise(db):
    """Nothing cancels out in them, however long the vectors are."""
    rows = np.array([[0, 1e9, 0], [1e-15, 1e9, 0], [2e-15, 1e9, 0], [1, 1, -2]], np.float32)
    notes = db.create_collection("notes", 3, "ip")
    notes.upsert(range(4), rows)
    query = np.array([1, 0, 0], np.float32)
    for hits in (notes.search(query, exact=True), notes.search_many([query], exact=True)[0]):
        assert [hit.id for hit in hits] == [3, 2, 1, 0]
        assert [hit.score for hit in hits] == [1, np.float32(2e-15), np.float32(1e-15), 0]


@every_metric
@pytest.mark.parametrize("index", [None, INDEXES[2], INDEXES[12]], ids=str)
def test_ties_come_in_order_of_insertion(db, metric, index):
    notes = db.create_collection("notes", 4, metric)
    notes.upsert([f"{99 - i}" for i in range(60)], np.tile(vectors(3, 4), (20, 1)))
    if index is not None:
        add_index(notes, index)
    hits = notes.search(vectors(3, 4)[1], k=20)
    assert [hit.id for hit in hits] == [f"{99 - i}" for i in range(1, 60, 3)]
    assert len({hit.score for hit in hits}) == 1
    batch = notes.search_many(vectors(3, 4), k=20)
    for query, ids in enumerate(batch.ids):
        assert ids == [f"{99 - i}" for i in range(query, 60, 3)]


@pytest.mark.parametrize("where", [None, {"n": {"$gte": 0}}], ids=["all", "filtered"])
def test_an_engine_that_comes_back_with_too_little_is_made_up_for(db, where, monkeypatch):
    class Poor(WrapperBackend):
        def search(self, *arguments, **options):
            answer = super().search(*arguments, **options)
            answer.keys[:, 2:] = -1
            return answer

    wrapped(monkeypatch, "usearch", Poor)
    monkeypatch.setattr(inside.FEW, 0)
    stored, queries = vectors(100), vectors(3, seed=1)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(100), stored, metadata=[{"n": n} for n in range(100)])
    notes.add_index("main", engine="usearch", precision="float32")
    batch = notes.search_many(queries, k=10, where=where)
    for query, ids in zip(queries, batch.ids, strict=True):
        assert ids == brute_force(query, stored, "cosine", 10)[0]
        assert [hit.id for hit in notes.search(query, k=10, where=where)] == ids


@every_index
@pytest.mark.parametrize("n", [1, 11])
def test_k_beyond_the_collection_returns_everything(db, index, n):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(n), vectors(n))
    add_index(notes, index)
    query = vectors(1, seed=1)[0]
    hits = notes.search(query, k=50)
    assert [hit.id for hit in hits] == brute_force(query, vectors(n), "cosine", 50)[0]
    batch = notes.search_many([query, query], k=50)
    assert [len(ids) for ids in batch.ids] == [n, n]
    assert (batch.keys[:, n:] == -1).all()
    assert (batch.scores[:, n:] == -np.inf).all()


def test_a_huge_k_is_no_huge_allocation(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(20), vectors(20))
    notes.add_index("main", engine="usearch", precision="binary")
    assert len(notes.search(vectors(1)[0], k=100_000, oversample=100_000)) == 20


@every_metric
def test_zero_vectors_and_zero_queries(db, metric):
    stored = vectors(30)
    stored[[3, 7]] = 0
    notes = db.create_collection("notes", 8, metric)
    notes.upsert(range(30), stored)
    notes.add_index("main", engine="faiss", precision="int8")
    for exact in (True, False):
        for query in (vectors(1, seed=2)[0], np.zeros(8)):
            hits = notes.search(query, k=30, exact=exact)
            rows, scores = brute_force(np.asarray(query, np.float32), stored, metric, 30)
            assert {hit.id for hit in hits} == set(rows)
            np.testing.assert_allclose([h.score for h in hits], scores, rtol=1e-5, atol=1e-7)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), metric=st.sampled_from(METRICS))
def test_any_numbers_are_scored_by_the_definition(data, metric):
    floats = st.floats(-(2.0**50), 2.0**50, width=32)
    stored = data.draw(arrays(np.float32, (6, 3), elements=floats))
    query = data.draw(arrays(np.float32, 3, elements=floats))
    with requant.open(":memory:") as db:
        notes = db.create_collection("notes", 3, metric)
        notes.upsert(range(6), stored)
        found = {hit.id: hit.score for hit in notes.search(query)}
        notes.add_index("main", engine="usearch", precision="int8")
        again = {hit.id: hit.score for hit in notes.search(query)}
    rows, scores = brute_force(query, stored, metric, 6)
    # What cancels out in a sum of products is lost, in whatever order they are summed.
    products = np.abs(stored.astype(np.float64)) @ np.abs(query.astype(np.float64))
    size = {"l2": 0.0, "cosine": 1.0, "ip": float(products.max())}[metric]
    for answer in (found, again):
        assert answer.keys() == set(rows)
        np.testing.assert_allclose([answer[i] for i in rows], scores, rtol=1e-5, atol=1e-12 * size)


def test_scores_have_one_meaning_in_every_index(db):
    stored, query = vectors(100), vectors(1, seed=1)[0]
    for metric in METRICS:
        notes = db.create_collection(metric, 8, metric)
        notes.upsert(range(100), stored)
        exact = [tuple(hit) for hit in notes.search(query, k=5)]
        for index in INDEXES:
            name = "-".join(index)
            if add_index(notes, index, name):
                hits = notes.search(query, k=5, oversample=20, effort=100, index=name)
                assert [tuple(hit) for hit in hits] == exact, name


class Tensor:
    """Something like a torch tensor: not an array, but willing to become one."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)

    def __len__(self):
        return len(self.values)


FORMS = {
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())),
    "float64": lambda x: x.astype(np.float64),
    "columns first": np.asfortranarray,
    "big endian": lambda x: x.astype(">f4"),
    "read only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "__array__": Tensor,
    "a list of arrays": list,
    "a list of array.array": lambda x: [array.array("f", row.tolist()) for row in x],
}


@pytest.mark.parametrize("form", FORMS)
def test_vectors_in_any_form(db, form):
    stored = vectors(20)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(20), FORMS[form](stored))
    np.testing.assert_array_equal(notes.vectors(range(20)), stored)
    queries = FORMS[form](stored[:3])
    assert [ids[0] for ids in notes.search_many(queries, k=1).ids] == [0, 1, 2]
    assert notes.search(FORMS[form](stored[4:5]), k=1)[0].id == 4


def test_arrow_vectors(db):
    import pyarrow as pa

    stored = vectors(20)
    notes = db.create_collection("notes", 8)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(stored)
    notes.upsert(range(20), tensor.to_numpy_ndarray())
    query = pa.array(stored[4])
    assert notes.search(query, k=1)[0].id == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@every_metric
def test_the_arrays_of_the_caller_are_never_changed(db, dtype, metric):
    stored = (vectors(50) * 100).astype(dtype)
    queries = (vectors(4, seed=1) * 100).astype(dtype)
    before = stored.copy(), queries.copy()
    notes = db.create_collection("notes", 8, metric)
    notes.upsert(range(50), stored)
    for precision in ("float32", "int8", "binary"):
        notes.add_index(precision, engine="usearch", precision=precision)
        notes.search(queries[0], index=precision)
        notes.search_many(queries, index=precision)
    notes.search_many(queries, exact=True)
    notes.vectors([1])[:] = 0
    assert notes.vectors([1]).any()
    np.testing.assert_array_equal(stored, before[0])
    np.testing.assert_array_equal(queries, before[1])


def test_hits_carry_documents_and_metadata(any_db):
    notes = any_db.create_collection("notes", 2)
    notes.upsert(["a", "b"], [[1, 0], [0, 1]], ["first", None], [None, {"n": 1}])
    first, second = notes.search([1, 0.1])
    assert (first.id, first.document, first.metadata) == ("a", "first", None)
    assert (second.id, second.document, second.metadata) == ("b", None, {"n": 1})


def test_an_exact_search_takes_one_connection(any_db, monkeypatch):
    """What looks for indexes that others have dropped takes a second one."""
    notes = any_db.create_collection("notes", 8)
    notes.upsert(range(20), vectors(20))
    monkeypatch.setattr(inside.LOOK_SECONDS, 1e9)
    notes.search(vectors(1)[0])  # which looks for a migration, once in a while
    executed = []
    sa.event.listen(any_db.engine, "before_cursor_execute", lambda *given: executed.append(given))
    assert notes.search(vectors(1)[0], k=1)[0].id == 0
    assert executed == []


def test_searches_of_nothing(any_db):
    notes = any_db.create_collection("notes", 2)
    assert notes.search([1, 0]) == []
    assert notes.search_many([[1, 0]]).ids == [[]]
    assert notes.search_many(np.empty((0, 2))).ids == []
    notes.upsert(["a"], [[1, 0]])
    assert notes.search_many(np.empty((0, 2)), k=3).scores.shape == (0, 3)


BAD_OPTIONS = {
    "k": [0, -1, 1.5, "3", True, None, 10**9],
    "oversample": [0.5, float("nan"), float("inf"), -1, "3"],
    "effort": [0, -5, 1.5, "high", 10**12],
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_options_that_cannot_be(db, name, indexed):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(5), vectors(5))
    if indexed:
        notes.add_index("main", engine="usearch", index_type="hnsw")
    for value in BAD_OPTIONS[name]:
        with pytest.raises(InputError, match=name):
            notes.search(vectors(1)[0], **{name: value})
        with pytest.raises(InputError, match=name):
            notes.search_many(vectors(2), **{name: value})
