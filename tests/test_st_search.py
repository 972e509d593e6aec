"""Searches: the recorded answers on the old scale, the right ones on ours, on every path."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from requant import pairwise_similarity
from requant.integration.sentence_transformers import (
    quantize_embeddings,
    semantic_search_faiss,
    semantic_search_usearch,
)
from tests import inside
from tests.st_cases import SCALARS, SEARCHES, search_cases
from tests.st_reference import BOTH, found, inputs

SEARCH = {"faiss": semantic_search_faiss, "usearch": semantic_search_usearch}
PATHS = [(engine, precision) for engine, precision, _ in SEARCHES]
QUANTIZED = [path for path in PATHS if path[1] != "float32"]

X = inputs()["sample"]
Q = inputs()["queries"]
RANGES = inputs()["ranges"]


def unit(rows):
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids_of(results):
    """The ids of results, `(q, k)`."""
    return np.array([[hit["corpus_id"] for hit in row] for row in results])


def scores_of(results):
    """The scores of results, `(q, k)`."""
    return np.array([[hit["score"] for hit in row] for row in results])


def codes_of(rows, precision):
    """Rows as codes."""
    return quantize_embeddings(rows, precision, RANGES if precision in SCALARS else None)


@pytest.mark.parametrize("source", BOTH)
def test_old_scores(source):
    expected = found(source)
    for corpus_is_coded in (True, False):
        quantize = quantize_embeddings if corpus_is_coded else (lambda rows, *_a, **_k: rows)
        ours = search_cases(quantize, SEARCH, inputs(), score_compat=True)
        for name, values in expected.items():
            if name.endswith("scores"):
                np.testing.assert_allclose(ours[name], values, rtol=2e-5, atol=2e-5, err_msg=name)
                continue
            # Where scores tie, the order there is anybody's.
            scores = expected[name.replace("ids", "scores")]
            apart = np.abs(np.diff(scores, axis=1)) > 1e-4
            alone = np.pad(apart, ((0, 0), (1, 0)), constant_values=True)
            alone &= np.pad(apart, ((0, 0), (0, 1)))
            assert alone.mean() > 0.4, name
            np.testing.assert_array_equal(ours[name][alone], values[alone], err_msg=name)


@pytest.mark.parametrize(("engine", "precision"), PATHS)
@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_float_vectors_give_exact_scores(engine, precision, metric):
    results, seconds = SEARCH[engine](
        Q, X, corpus_precision=precision, rescore_multiplier=12, rescore=True, metric=metric
    )
    left, right = (unit(Q), unit(X)) if metric == "cosine" else (Q, X)
    exact = left.astype(np.float64) @ right.T.astype(np.float64)
    best = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(ids_of(results), best)
    np.testing.assert_allclose(
        scores_of(results), np.take_along_axis(exact, best, 1), rtol=1e-6, atol=1e-6
    )
    assert seconds >= 0
    assert {type(value) for hit in results[0] for value in hit.values()} == {int, float}


@pytest.mark.parametrize(("engine", "precision"), QUANTIZED)
def test_a_score_means_the_same_from_floats_and_from_codes(engine, precision):
    search = partial(SEARCH[engine], Q, corpus_precision=precision, metric="cosine", ranges=RANGES)
    exact = search(X, rescore_multiplier=12)[0]
    for rescore in (True, False):
        results = search(codes_of(X, precision), rescore=rescore, rescore_multiplier=12)[0]
        ids, scores = ids_of(results), scores_of(results)
        assert (np.diff(scores, axis=1) <= 0).all()
        true = [pairwise_similarity(np.repeat(Q[i : i + 1], 10, 0), X[ids[i]]) for i in range(6)]
        # Codes of a byte are close; of signs, about as close as signs can be.
        assert np.abs(scores - true).max() < (0.02 if precision in SCALARS else 0.5)
        assert np.abs(scores[:, 0] - scores_of(exact)[:, 0]).max() < 0.5


@pytest.mark.parametrize(("engine", "precision"), QUANTIZED)
def test_queries_may_be_codes(engine, precision, caplog):
    search = partial(SEARCH[engine], corpus_precision=precision, ranges=RANGES, metric="cosine")
    results = search(codes_of(Q, precision), codes_of(X, precision))[0]
    assert "the query embeddings are quantized" in caplog.text
    caplog.clear()
    again = search(codes_of(Q, precision), codes_of(X, precision), rescore=False)[0]
    assert not caplog.records
    assert results == again
    best = unit(Q) @ unit(X).T
    assert np.abs(scores_of(results)[:, 0] - best.max(axis=1)).max() < 0.5


def test_codes_of_unknown_ranges_are_warned_about(caplog):
    codes, queries = codes_of(X, "uint8"), codes_of(Q, "uint8")
    results = semantic_search_faiss(queries, codes, corpus_precision="uint8", rescore=False)[0]
    assert "nothing says what they stand for" in caplog.text
    assert sum(row[0]["corpus_id"] == i for i, row in enumerate(results)) >= 5


@pytest.mark.parametrize(("engine", "precision"), PATHS)
@pytest.mark.parametrize("exact", [True, False])
def test_an_index_comes_back_and_is_taken(engine, precision, exact):
    search = partial(SEARCH[engine], Q, corpus_precision=precision, ranges=RANGES, exact=exact)
    given = codes_of(X, precision)
    results, _, index = search(given, output_index=True, rescore_multiplier=12)
    assert type(index).__module__.split(".")[0] == engine
    again, _, same = search(corpus_index=index, output_index=True, rescore_multiplier=12, floats=X)
    assert same is index
    expected = search(X, rescore_multiplier=12)[0]
    overlap = [len(set(a) & set(b)) for a, b in zip(ids_of(again), ids_of(expected), strict=True)]
    assert np.mean(overlap) > (9.9 if exact else 9)
    if exact and precision in SCALARS:
        assert ids_of(search(corpus_index=index, rescore_multiplier=12)[0]).tolist() == (
            ids_of(results).tolist()
        )


def test_uint8_takes_a_byte_in_faiss():
    import faiss

    _, _, index = semantic_search_faiss(Q, X, corpus_precision="uint8", output_index=True)
    assert (index.code_size, index.ntotal) == (24, 120)
    assert len(faiss.serialize_index(index)) < 24 * 120 + 1000


def test_an_index_that_sentence_transformers_built_for_uint8():
    import faiss

    index = faiss.IndexFlatIP(24)
    index.add(codes_of(X, "uint8").astype(np.float32))
    search = partial(semantic_search_faiss, Q, corpus_precision="uint8", ranges=RANGES)
    results = search(corpus_index=index, rescore_multiplier=1)[0]
    expected = search(codes_of(X, "uint8"), rescore_multiplier=12)[0]
    np.testing.assert_array_equal(ids_of(results)[:, :5], ids_of(expected)[:, :5])


def test_an_index_with_ids_of_its_own():
    import faiss

    index = faiss.IndexIDMap2(faiss.IndexFlatIP(24))
    index.add_with_ids(X, np.arange(120) * 7 + 1000)
    results = semantic_search_faiss(Q, corpus_index=index, rescore=False)[0]
    expected = semantic_search_faiss(Q, X, rescore=False)[0]
    np.testing.assert_array_equal(ids_of(results), ids_of(expected) * 7 + 1000)


def test_a_graph_of_release_5_ranks_by_l2():
    import faiss

    index = faiss.IndexHNSWFlat(24, 16)
    index.add(unit(X))
    with pytest.raises(ValueError, match="L2"):
        semantic_search_faiss(unit(Q), corpus_index=index, rescore=False)
    results = semantic_search_faiss(unit(Q), corpus_index=index, rescore=False, dialect="5")[0]
    expected = semantic_search_faiss(unit(Q), unit(X), rescore=False)[0]
    np.testing.assert_array_equal(ids_of(results), ids_of(expected))


@pytest.mark.parametrize(("engine", "precision"), PATHS)
def test_a_corpus_smaller_than_k(engine, precision):
    results = SEARCH[engine](Q, X[:3], corpus_precision=precision, ranges=RANGES, top_k=10)[0]
    assert [sorted(row) for row in ids_of(results).tolist()] == [[0, 1, 2]] * 6


@pytest.mark.parametrize(("engine", "precision"), PATHS)
def test_nothing_to_find_and_nothing_asked(engine, precision):
    search = partial(SEARCH[engine], corpus_precision=precision, ranges=RANGES)
    assert search(Q, X[:0])[0] == [[]] * 6
    assert search(Q[:0], X)[0] == []


def test_small_whole_numbers_are_embeddings_too():
    corpus = np.eye(24, dtype=np.float32) * 3
    for precision in ("float32", "uint8", "ubinary"):
        results = semantic_search_faiss(corpus[:2], corpus, corpus_precision=precision)[0]
        assert [row[0] for row in results] == [{"corpus_id": i, "score": 9.0} for i in (0, 1)]


@pytest.mark.parametrize(("engine", "precision"), PATHS)
def test_one_query(engine, precision):
    search = partial(SEARCH[engine], corpus_precision=precision, ranges=RANGES)
    assert search(Q[0], X)[0] == search(Q[:1], X)[0] == search(Q, X)[0][:1]


@pytest.mark.parametrize(("engine", "precision"), QUANTIZED)
def test_blocks_do_not_show(engine, precision, monkeypatch):
    queries = np.concatenate([Q] * 5)
    for corpus in (X, codes_of(X, precision)):
        ask = partial(SEARCH[engine], queries, corpus, corpus_precision=precision, ranges=RANGES)
        whole = ask()[0]
        with monkeypatch.context() as patch:
            patch.setattr(inside.ST_RESCORE_FLOATS, 700)
            patch.setattr(inside.ST_ASK_BYTES, 3000)
            assert ask()[0] == whole


def test_recall_does_not_saturate():
    rng = np.random.default_rng(9)
    corpus = unit(rng.standard_normal((3000, 64)).astype(np.float32))
    queries = unit(corpus[:50] + rng.standard_normal((50, 64)).astype(np.float32) * 0.1)
    best = np.argsort(-(queries @ corpus.T), axis=1)[:, :10]
    codes = quantize_embeddings(corpus, "ubinary")
    recalls = {}
    for name, given in (("floats", corpus), ("codes", codes)):
        for multiplier in (2, 32):
            results = semantic_search_faiss(
                queries, given, corpus_precision="ubinary", rescore_multiplier=multiplier
            )[0]
            hits = [len(set(a) & set(b)) for a, b in zip(ids_of(results), best, strict=True)]
            recalls[name, multiplier] = np.mean(hits) / 10
    assert recalls["floats", 2] >= recalls["codes", 2]
    assert recalls["floats", 32] > recalls["codes", 32] + 0.2
    assert recalls["floats", 32] > 0.75
