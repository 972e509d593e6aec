"""Reranking: by a function or a cross-encoder, outside the snapshot, and what it must not give."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import InputError, NonFiniteError
from tests.databases import vectors

N = 60


class Overlap:
    """Rates a pair by the words that both have, as a cross-encoder would."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs, batch_size=32):
        self.asked.append(pairs)
        return np.array([len({*a.split()} & {*b.split()}) for a, b in pairs], np.float32)

    def __call__(self, *arguments):
        raise AssertionError("a model is asked by predict")


@pytest.fixture
def notes(any_db):
    collection = any_db.create_collection("notes", 8)
    documents = [f"word{n % 7} word{n % 5} item{n}" for n in range(N)]
    collection.upsert(range(N), vectors(N), documents, [{"doc": n // 4} for n in range(N)])
    return collection


def query_of(texts):
    return vectors(len(texts), seed=1)


def test_a_function_of_the_query_and_the_hits(notes):
    query = vectors(1, seed=1)[0]
    near = notes.search(query, 20)

    def rerank(asked, hits):
        assert asked.tolist() == query.tolist()
        assert hits == near
        return [hit.id for hit in hits]

    wanted = sorted((hit.id for hit in near), reverse=True)[:4]
    hits = notes.search(query, 4, rerank=rerank)
    assert [hit.id for hit in hits] == wanted
    assert [hit.score for hit in hits] == wanted
    assert [hit.document for hit in hits] == [f"word{n % 7} word{n % 5} item{n}" for n in wanted]
    batch = notes.search_many([query], 4, rerank=rerank)
    assert batch.ids == [wanted]
    assert batch.scores.tolist() == [wanted]
    assert list(batch) == [hits]


def test_how_many_it_is_given(notes):
    sizes = []

    def rerank(query, hits):
        sizes.append(len(hits))
        return np.zeros(len(hits))

    query = vectors(1, seed=1)[0]
    assert notes.search(query, 3, rerank=rerank) == [
        hit._replace(score=0.0) for hit in notes.search(query, 3)
    ]
    notes.search(query, 10, rerank=rerank)
    notes.search(query, 3, rerank=rerank, fetch_k=3)
    notes.search(query, 100, rerank=rerank)
    notes.search(query, 3, rerank=rerank, among=[1, 2])
    notes.search(query, 3, rerank=rerank, among=[])  # nothing to ask about
    assert sizes == [20, 40, 3, N, 2]


def test_a_cross_encoder_reads_the_text_and_the_documents(notes):
    model = Overlap()
    hits = notes.search_text("word3 word4", 5, model=query_of, rerank=model, fetch_k=N)
    assert [hit.score for hit in hits][:2] == [2, 2]
    assert hits[0].document.startswith("word3 word4 ")
    ((pairs,),) = [model.asked]
    assert len(pairs) == N
    assert {text for text, _ in pairs} == {"word3 word4"}
    with pytest.raises(InputError, match="use search_text"):
        notes.search(vectors(1)[0], rerank=model)
    with pytest.raises(InputError, match="use search_text"):
        notes.more_like(1, rerank=model)
    notes.upsert(["bare"], query_of(["one"]))
    with pytest.raises(InputError, match="item 'bare' has none"):
        notes.search_text("word3", model=query_of, rerank=model)
    where = {"$document": {"$ne": None}}
    assert notes.search_text("word3", model=query_of, rerank=model, where=where)


def test_a_function_for_a_text_is_given_the_text(notes):
    def rerank(query, hits):
        assert query == "word3"
        return [-hit.id for hit in hits]

    near = [hit.id for hit in notes.search(query_of(["word3"])[0], 20)]
    hits = notes.search_text("word3", 2, model=query_of, rerank=rerank)
    assert [hit.id for hit in hits] == sorted(near)[:2]


def test_groups_in_the_order_of_their_best(notes):
    query = vectors(1, seed=1)[0]

    def rerank(asked, hits):
        return [-hit.id for hit in hits]

    every = notes.search(query, 20, group_by="doc", group_size=2)
    best = sorted({hit.metadata["doc"] for hit in every})[:3]
    hits = notes.search(query, 3, group_by="doc", group_size=2, rerank=rerank, vectors=True)
    wanted = [
        hit.id
        for doc in best
        for hit in sorted((h for h in every if h.metadata["doc"] == doc), key=lambda h: h.id)
    ]
    assert sorted(wanted) == wanted  # ids grow with doc
    assert [hit.id for hit in hits] == wanted
    batch = notes.search_many([query], 3, group_by="doc", group_size=2, rerank=rerank, vectors=True)
    assert batch.ids == [wanted]
    assert batch.scores.shape == (1, 6)
    for hit, again in zip(hits, batch[0], strict=True):
        assert hit.vector.tobytes() == vectors(N)[hit.id].tobytes() == again.vector.tobytes()


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (lambda n: [1.0] * (n - 1), InputError, r"shape \(19,\) for 20 hits"),
        (lambda n: np.ones((n, 2)), InputError, r"shape \(20, 2\) for 20 hits"),
        (lambda n: 1.0, InputError, r"shape \(\) for 20 hits"),
        (lambda n: None, InputError, "rerank gave"),
        (lambda n: ["high"] * n, InputError, "rerank gave list, not a score a hit"),
        (lambda n: [[1], [1, 2]] * (n // 2), InputError, "rerank gave list"),
        (lambda n: [1.0] * (n - 1) + [np.nan], NonFiniteError, "rerank gave nan for the hit"),
        (lambda n: [np.inf] * n, NonFiniteError, "rerank gave inf for the hit"),
    ],
)
def test_what_is_no_score_for_each_hit_is_refused(notes, given, error, text):
    with pytest.raises(error, match=text):
        notes.search(vectors(1)[0], 3, rerank=lambda query, hits: given(len(hits)))


def test_an_error_of_the_function_is_the_callers(notes):
    def rerank(query, hits):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        notes.search(vectors(1)[0], rerank=rerank)
    assert notes.search(vectors(1)[0])


@pytest.mark.parametrize("rerank", ["model", 7, object()])
def test_what_cannot_rerank_is_refused(notes, rerank):
    with pytest.raises(InputError, match="rerank must be a function"):
        notes.search(vectors(1)[0], rerank=rerank)


def test_no_connection_is_held_while_the_model_runs(empty_postgres, tmp_path):
    # One connection and no more: whoever held it would let the writer wait in vain.
    engine = sa.create_engine(empty_postgres, pool_size=1, max_overflow=0, pool_timeout=5)
    with requant.open(engine, folder=tmp_path) as db:
        notes = db.create_collection("notes", 8)
        notes.upsert(range(5), vectors(5))

        def rerank(query, hits):
            done = []
            writer = threading.Thread(
                target=lambda: done.append(notes.upsert([f"new {len(hits)}"], query[None]))
            )
            writer.start()
            writer.join()
            assert done == [1], sys.exc_info()
            return range(len(hits))

        assert len(notes.search(vectors(1)[0], 3, rerank=rerank)) == 3
        assert len(notes) == 6
    engine.dispose()


def test_scores_that_no_float32_holds_are_refused_one_query_or_many(notes):
    def huge(query, hits):
        return [-4e300, *range(len(hits) - 1)]

    for ask in (lambda: notes.search(vectors(1)[0], rerank=huge),
                lambda: notes.search_many(vectors(2), rerank=huge)):  # fmt: skip
        with pytest.raises(InputError, match=r"rerank gave -4e\+300 for the hit .*: scores are"):
            ask()
