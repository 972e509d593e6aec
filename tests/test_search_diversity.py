"""Maximal marginal relevance, equal to the formula by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import requant
from requant.errors import InputError
from tests.databases import brute_force, vectors

METRICS = ["cosine", "ip", "l2"]


def reference(query, stored, metric, k, balance, fetch_k):
    """Choose by the formula, ties by rank: rows and their exact scores."""
    rows, scores = brute_force(query, stored, metric, fetch_k)
    alike = {}
    for a in rows:
        near, values = brute_force(stored[a], stored[rows], metric, len(rows))
        alike[a] = {rows[i]: float(value) for i, value in zip(near, values, strict=True)}
    score = dict(zip(rows, scores.tolist(), strict=True))
    chosen = rows[:1]
    while len(chosen) < min(k, len(rows)):
        left = [row for row in rows if row not in chosen]
        worth = [
            balance * score[i] - (1 - balance) * max(alike[j][i] for j in chosen) for i in left
        ]
        chosen.append(left[int(np.argmax(worth))])
    return chosen, [score[row] for row in chosen]


# Small whole numbers: sums are exact, and so are ties.
whole = st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=25)


@given(
    rows=whole,
    query=st.lists(st.integers(-3, 3), min_size=2, max_size=2),
    metric=st.sampled_from(["ip", "l2"]),
    k=st.integers(1, 8),
    more=st.integers(0, 20),
    balance=st.sampled_from([0, 0.25, 0.5, 0.75, 1]),
)
@settings(max_examples=30, deadline=None)
def test_it_is_the_formula_ties_and_all(rows, query, metric, k, more, balance):
    stored, asked = np.array(rows, np.float32), np.array(query, np.float32)
    with requant.open(":memory:") as db:
        notes = db.create_collection("notes", 2, metric)
        notes.upsert(range(len(stored)), stored)
        hits = notes.search(asked, k, mmr=balance, fetch_k=k + more)
        chosen, scores = reference(asked, stored, metric, k, balance, k + more)
        assert [hit.id for hit in hits] == chosen
        assert [hit.score for hit in hits] == scores
        batch = notes.search_many([asked], k, mmr=balance, fetch_k=k + more)
        assert batch.ids == [chosen]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_in_a_larger_collection(any_db, metric, precision):
    stored = vectors(2000)
    stored[::3] = stored[0] + vectors(667, seed=2) / 50  # near duplicates
    notes = any_db.create_collection("notes", 8, metric)
    notes.upsert(range(2000), stored)
    notes.add_index("main", precision=precision)
    for query in [stored[0], *vectors(3, seed=1)]:
        for balance in (0, 0.3, 0.5, 0.9):
            hits = notes.search(query, 10, mmr=balance, oversample=30)
            chosen, scores = reference(query, stored, metric, 10, balance, 40)
            assert [hit.id for hit in hits] == chosen
            np.testing.assert_allclose([h.score for h in hits], scores, rtol=1e-5, atol=1e-6)
        assert notes.search(query, 10, mmr=1) == notes.search(query, 40)[:10]
        assert len(notes.search(query, 5, mmr=0.5, fetch_k=5)) == 5


def test_it_goes_with_filters_least_scores_and_vectors(db):
    stored = vectors(1500)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(1500), stored, metadata=[{"n": n} for n in range(1500)])
    notes.add_index("main", precision="float32")
    query = vectors(1, seed=1)[0]
    options = {"where": {"n": {"$lt": 1200}}, "among": range(0, 1500, 2), "min_score": 0.3}
    hits = notes.search(query, 10, mmr=0.4, vectors=True, **options)
    near = [hit.id for hit in notes.search(query, 40, **options)]
    chosen, _ = reference(query, stored[near], "cosine", 10, 0.4, 40)
    assert [hit.id for hit in hits] == [near[row] for row in chosen]
    assert all((hit.vector == stored[hit.id]).all() for hit in hits)


@pytest.mark.parametrize("zeros", [1, 3])
def test_vectors_without_a_direction(db, zeros):
    stored = np.zeros((4, 2), np.float32)
    stored[zeros:] = [1, 0]
    notes = db.create_collection("notes", 2)
    notes.upsert(range(4), stored)
    assert notes.search([0, 0], 4, mmr=0)[0].id == 0
    assert len(notes.search([1, 0], 4, mmr=0.5)) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"mmr": -0.1},
        {"mmr": 1.1},
        {"mmr": float("nan")},
        {"mmr": "0.5"},
        {"mmr": True},
        {"mmr": 0.5, "fetch_k": 9},
        {"mmr": 0.5, "fetch_k": 10**6},
        {"mmr": 0.5, "fetch_k": 20.0},
        {"fetch_k": 20},
        {"mmr": 0.5, "rerank": len},
    ],
)
def test_what_makes_no_sense_is_refused(db, options):
    notes = db.create_collection("notes", 2)
    with pytest.raises(InputError, match=r"mmr|fetch_k"):
        notes.search([1, 0], **options)
