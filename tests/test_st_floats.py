"""Float vectors beside the codes: in memory, in a .npy file, in a database; never copied whole."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import requant
from requant import DimensionError, InputError
from requant.integration.sentence_transformers import (
    quantize_embeddings,
    semantic_search_faiss,
    semantic_search_usearch,
)
from tests.st_reference import inputs

X = inputs()["sample"]
Q = inputs()["queries"]
EXPECTED = semantic_search_faiss(Q, X, corpus_precision="ubinary", rescore_multiplier=4)[0]


@pytest.mark.parametrize("name", ["floats.npy", "floats.requant"])
def test_a_path_is_filled_once_and_read_ever_after(tmp_path, name):
    path = tmp_path / name
    options = {"corpus_precision": "ubinary", "rescore_multiplier": 4, "floats": path}
    first, _, index = semantic_search_faiss(Q, X, output_index=True, **options)
    assert first == EXPECTED
    before = path.stat().st_mtime_ns
    assert semantic_search_faiss(Q, X, **options)[0] == EXPECTED
    codes = quantize_embeddings(X, "ubinary")
    assert semantic_search_faiss(Q, codes, **options)[0] == EXPECTED
    assert semantic_search_faiss(Q, corpus_index=index, **options)[0] == EXPECTED
    assert path.stat().st_mtime_ns == before


def test_a_database_can_be_used_as_one(tmp_path):
    path = tmp_path / "floats.requant"
    semantic_search_faiss(Q, X, corpus_precision="ubinary", floats=path)
    with requant.open(path) as db:
        stored = db.collection("embeddings")
        np.testing.assert_array_equal(stored.vectors([0, 119]), X[[0, 119]])
        assert stored.search(X[7], k=1, exact=True)[0].id in range(120)


@pytest.mark.parametrize("name", ["floats.npy", "floats.requant"])
def test_a_path_with_other_vectors(tmp_path, name):
    path = tmp_path / name
    codes = quantize_embeddings(X, "ubinary")
    with pytest.raises(InputError, match="does not exist"):
        semantic_search_faiss(Q, codes, corpus_precision="ubinary", floats=path)
    assert not path.exists()
    semantic_search_faiss(Q, X, corpus_precision="ubinary", floats=path)
    with pytest.raises(InputError, match="other vectors"):
        semantic_search_faiss(Q, X * 2, corpus_precision="ubinary", floats=path)
    with pytest.raises(DimensionError):
        semantic_search_faiss(Q, X[:9], corpus_precision="ubinary", floats=path)


@pytest.mark.parametrize("search", [semantic_search_faiss, semantic_search_usearch])
def test_an_array_in_memory(search):
    codes = quantize_embeddings(X, "ubinary")
    options = {"corpus_precision": "ubinary", "rescore_multiplier": 24}
    assert search(Q, codes, floats=X, **options)[0] == search(Q, X, **options)[0]
    with pytest.raises(InputError, match="float vectors"):
        search(Q, codes, floats=codes, **options)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_quantizing_takes_little_more_than_its_output(precision):
    x = np.random.default_rng(0).standard_normal((20_000, 256)).astype(np.float32)
    quantize_embeddings(x[:200], precision)
    tracemalloc.start()
    codes = quantize_embeddings(x, precision)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < codes.nbytes + 4e6  # the scratch of one chunk; the input has 20e6


@pytest.mark.parametrize("search", [semantic_search_faiss, semantic_search_usearch])
def test_rescoring_is_bounded(search):
    rng = np.random.default_rng(0)
    corpus = rng.standard_normal((2000, 256)).astype(np.float32)
    queries = rng.standard_normal((400, 256)).astype(np.float32)
    search(queries[:2], corpus, corpus_precision="ubinary")
    tracemalloc.start()
    search(queries, corpus, corpus_precision="ubinary", rescore_multiplier=32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Whole, the candidates would take 400 x 320 x 256 floats: 130e6 bytes, twice that in float64.
    assert peak < 30e6
