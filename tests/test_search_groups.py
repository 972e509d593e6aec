"""Results by group: k groups whenever k exist, the best items of each, in order."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import requant
from requant.errors import FilterError, InputError
from tests.databases import brute_force, vectors


def reference(query, stored, values, k, size, least=-np.inf):
    """Group by brute force: rows in the order of the answer."""
    rows, scores = brute_force(query, stored, "cosine", len(stored))
    groups = {}
    for row, score in zip(rows, scores, strict=True):
        if values[row] is not None and score >= least:
            name = type(values[row]) is bool, values[row]
            groups.setdefault(name, []).append(row)
    return [row for members in list(groups.values())[:k] for row in members[:size]]


def made(db, stored, values, metric="cosine", index="int8", name="notes"):
    notes = db.create_collection(name, stored.shape[1], metric)
    tags = [{"a": {"b.c": value}, "n": n} for n, value in enumerate(values)]
    notes.upsert(range(len(stored)), stored, metadata=tags)
    if index:
        notes.add_index("main", precision=index)
    return notes


FIELD = r"a.b\.c"
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 3), st.sampled_from([1.0, 2.5, "1", "x", "True", ""])
)


@given(
    values=st.lists(VALUES, min_size=1, max_size=40),
    k=st.integers(1, 8),
    size=st.integers(1, 5),
    seed=st.integers(0, 99),
    least=st.sampled_from([None, 0.0, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_small_collections_are_grouped_as_by_brute_force(values, k, size, seed, least):
    stored, query = vectors(len(values), seed=seed), vectors(1, seed=seed + 1)[0]
    with requant.open(":memory:") as db:
        notes = made(db, stored, values, index=None)
        options = {"group_by": FIELD, "group_size": size, "min_score": least}
        wanted = reference(query, stored, values, k, size, -np.inf if least is None else least)
        assert [hit.id for hit in notes.search(query, k, **options)] == wanted
        batch = notes.search_many([query, query], k, **options)
        assert batch.ids == [wanted, wanted]
        assert batch.scores.shape == (2, k * size)


N = 5000
rng = np.random.default_rng(0)
# How the items are shared out among groups.
SHARES = {
    "many small": [n // 7 for n in range(N)],
    "one has nearly all": ["big" if n % 500 else n for n in range(N)],
    "few": [f"group {n % 4}" for n in range(N)],
    "half have none": [n // 20 if n % 2 else None for n in range(N)],
    "one": ["all"] * N,
    "none": [None] * N,
    "each its own": list(range(N)),
}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("size", [1, 3])
def test_k_groups_whenever_they_exist(db, share, size):
    values = SHARES[share]
    stored = vectors(N)
    if share == "one has nearly all":  # and it is near, too
        stored[[n for n in range(N) if n % 500]] += 5
    notes = made(db, stored, values, index="float32")
    for query in [*vectors(2, seed=1), np.full(8, 1, np.float32)]:
        wanted = reference(query, stored, values, 10, size)
        for exact in (True, False):
            options = {"group_by": FIELD, "group_size": size, "exact": exact}
            assert [hit.id for hit in notes.search(query, 10, **options)] == wanted
        assert notes.search_many([query], 10, group_by=FIELD, group_size=size).ids == [wanted]


def test_a_group_is_filled_behind_another_large_one(db):
    # Of "b" and "c" one item each is near; then come all others of "b", and far away those of "c".
    angles = np.r_[np.linspace(0.01, 0.2, 1000), 0.005, np.linspace(0.5, 1, 900), 0.006, 1.5, 1.6]
    values = ["a"] * 1000 + ["b"] * 901 + ["c"] * 3
    stored = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    notes = made(db, stored, values, index="float32")
    query = np.array([1, 0], np.float32)
    wanted = reference(query, stored, values, 3, 3)
    assert len(wanted) == 9
    assert [hit.id for hit in notes.search(query, 3, group_by=FIELD, group_size=3)] == wanted


def test_a_first_pass_that_approximates_still_finds_k_groups(db):
    values, stored = SHARES["one has nearly all"], vectors(N)
    notes = made(db, stored, values, index="binary")
    for query in vectors(5, seed=1):
        hits = notes.search(query, 10, group_by=FIELD, group_size=4)
        names = [hit.metadata["a"]["b.c"] for hit in hits]
        assert len(set(names)) == 10
        assert len([*groupby(names)]) == 10  # one group after the other
        exact = notes.search(query, N, exact=True)
        scores = {hit.id: hit.score for hit in exact}
        np.testing.assert_allclose([hit.score for hit in hits], [scores[h.id] for h in hits])


@pytest.mark.parametrize("engine", ["faiss", "usearch", "qdrant", "lancedb"])
def test_groups_on_every_engine(db, engine):
    stored, values = vectors(2000), [n // 5 for n in range(2000)]
    notes = db.create_collection("notes", 8)
    notes.upsert(range(2000), stored, metadata=[{"doc": value} for value in values])
    notes.add_index("main", engine=engine, precision="float32")
    query = vectors(1, seed=1)[0]
    wanted = reference(query, stored, values, 10, 2)
    assert [hit.id for hit in notes.search(query, 10, group_by="doc", group_size=2)] == wanted


def test_groups_of_what_a_filter_lets_through(any_db):
    stored, values = vectors(2000), [n // 5 for n in range(2000)]
    notes = made(any_db, stored, values)
    query = vectors(1, seed=1)[0]
    kept = [value if n % 3 == 0 and n < 900 else None for n, value in enumerate(values)]
    wanted = reference(query, stored, kept, 10, 2)
    where = {"n": {"$in": [*range(0, 2000, 3)]}}
    found = notes.search(
        query, 10, where=where, among=range(900), group_by=FIELD, group_size=2, oversample=8
    )
    assert [hit.id for hit in found] == wanted


def test_what_is_written_and_deleted_meanwhile_counts(db):
    stored, values = vectors(2000), [n // 5 for n in range(2000)]
    notes = made(db, stored, values)
    query = vectors(1, seed=1)[0]
    notes.search(query, 5, group_by=FIELD)
    gone = notes.search(query, 5, group_by=FIELD)[0].id
    notes.delete([gone])
    notes.upsert([1999], metadata=[{"a": {"b.c": "mine"}}])
    notes.upsert([1999], [query])
    values[gone], values[1999], stored[1999] = None, "mine", query
    wanted = reference(query, stored, values, 5, 2)
    found = notes.search(query, 5, group_by=FIELD, group_size=2, oversample=8)
    assert [hit.id for hit in found] == wanted
    assert found[0].id == 1999


@pytest.mark.parametrize("value", [["a", "b"], [], {"x": 1}])
def test_an_array_is_no_group(db, value):
    notes = db.create_collection("notes", 2)
    notes.upsert(["a", "b"], vectors(2, 2), metadata=[{"tag": value}, {"tag": "one"}])
    with pytest.raises(InputError, match=r"group_by='tag': item 'a' has an (array|object) there"):
        notes.search([1, 0], group_by="tag")
    where = {"tag": {"$gte": ""}}
    assert [hit.id for hit in notes.search([1, 0], group_by="tag", where=where)] == ["b"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"group_by": "$id"}, FilterError, "is no field of the metadata"),
        ({"group_by": 7}, FilterError, "named by a string"),
        ({"group_by": 'a"'}, FilterError, "double quote"),
        ({"group_by": ""}, FilterError, "empty name"),
        ({"group_size": 2}, InputError, "goes with group_by="),
        ({"group_by": "a", "group_size": 0}, InputError, "group_size must be"),
        ({"group_by": "a", "group_size": 10**6}, InputError, "group_size must be"),
        ({"group_by": "a", "mmr": 0.5}, InputError, "pass one of them"),
        ({"group_by": "a", "k": 10_001}, InputError, "k with group_by must be"),
    ],
)
def test_what_makes_no_groups_is_refused(db, options, error, text):
    notes = db.create_collection("notes", 2)
    with pytest.raises(error, match=text):
        notes.search([1, 0], **options)
