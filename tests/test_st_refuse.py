"""Mistakes that can be told are told, before an engine makes garbage of them."""

from __future__ import annotations

import inspect
from functools import partial

import faiss
import numpy as np
import pytest
from usearch.index import Index

from requant import DimensionError, InputError, NonFiniteError
from requant.integration import sentence_transformers as ours
from requant.integration.sentence_transformers import (
    quantize_embeddings,
    semantic_search_faiss,
    semantic_search_usearch,
)
from tests.st_reference import BOTH, inputs, theirs

X = inputs()["sample"]
Q = inputs()["queries"]
RANGES = inputs()["ranges"]
SEARCHES = [semantic_search_faiss, semantic_search_usearch]
SEARCH = (
    "(query_embeddings, corpus_embeddings=None, corpus_index=None, corpus_precision='float32', "
    "top_k=10, ranges=None, calibration_embeddings=None, rescore=True, rescore_multiplier=2, "
    "exact=True, output_index=False"
)
SIGNATURES = {
    "quantize_embeddings": "(embeddings, precision, ranges=None, calibration_embeddings=None",
    "semantic_search_faiss": SEARCH,
    "semantic_search_usearch": SEARCH,
}


def plain(function):
    """A signature without annotations."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(source, name):
    expected = SIGNATURES[name]
    if source == "installed":
        assert plain(getattr(theirs(), name)) == expected + ")"
    # What is new comes behind, by keyword only.
    assert plain(getattr(ours, name)).startswith(expected + ", *, ")


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_both_and_neither(source, engine):
    modules = [ours] + ([theirs()] if source == "installed" else [])
    for module in modules:
        search = getattr(module, f"semantic_search_{engine}")
        with pytest.raises(ValueError, match="Only corpus_embeddings or corpus_index"):
            search(Q, X, faiss.IndexFlatIP(24))
        with pytest.raises(ValueError, match="Either corpus_embeddings or corpus_index"):
            search(Q)
        with pytest.raises(ValueError, match=f'or "u?binary" for {engine}'):
            search(Q, X, corpus_precision="float64")


@pytest.mark.parametrize("search", SEARCHES)
def test_swapped_signs(search):
    packed = quantize_embeddings(X, "binary")
    with pytest.raises(InputError, match="look like binary codes"):
        search(Q, packed, corpus_precision="ubinary")
    if search is semantic_search_usearch:
        with pytest.raises(InputError, match="look like ubinary codes"):
            search(Q, packed.view(np.uint8), corpus_precision="binary")
    with pytest.raises(InputError, match="look like binary codes"):
        search(quantize_embeddings(Q, "binary"), packed.view(np.uint8), corpus_precision="ubinary")


@pytest.mark.parametrize("search", SEARCHES)
def test_swapped_numbers(search):
    mine, other = ("uint8", "int8") if search is semantic_search_faiss else ("int8", "uint8")
    codes = quantize_embeddings(X, other)
    with pytest.raises(InputError, match=f"look like {other} codes"):
        search(Q, codes, corpus_precision=mine, ranges=RANGES)
    with pytest.raises(InputError, match="whole numbers"):
        search(Q, quantize_embeddings(X, mine).astype(np.float32), corpus_precision=mine)
    with pytest.raises(InputError, match="corpus_precision is 'float32'"):
        search(Q, codes)


@pytest.mark.parametrize("search", SEARCHES)
def test_widths(search):
    ask = partial(search, rescore=False)
    with pytest.raises(DimensionError, match="packed bytes"):
        ask(Q, quantize_embeddings(np.tile(X, 2), "ubinary"), corpus_precision="ubinary")
    with pytest.raises(DimensionError, match="20 dimensions"):
        ask(Q, X[:, :20])
    with pytest.raises(DimensionError, match="packed bytes"):
        ask(
            quantize_embeddings(Q[:, :8], "ubinary"),
            quantize_embeddings(X, "ubinary"),
            corpus_precision="ubinary",
        )
    scalar = "uint8" if search is semantic_search_faiss else "int8"
    with pytest.raises(DimensionError, match="ranges"):
        ask(Q, X, corpus_precision=scalar, ranges=RANGES[:, :20])
    with pytest.raises(DimensionError, match="float vectors"):
        ask(Q, quantize_embeddings(X, scalar), corpus_precision=scalar, floats=X[:50])


@pytest.mark.parametrize("search", SEARCHES)
def test_values(search):
    bad = X.copy()
    bad[37, 2] = np.nan
    scalar = "uint8" if search is semantic_search_faiss else "int8"
    for precision in ("float32", scalar, "ubinary"):
        with pytest.raises(NonFiniteError):
            search(Q, bad, corpus_precision=precision)
    for options in ({"top_k": 0}, {"top_k": 1.5}, {"rescore_multiplier": 0}, {"metric": "l1"}):
        with pytest.raises(InputError):
            search(Q, X, **options)
    with pytest.raises(InputError, match="single embedding"):
        search(Q[:1], quantize_embeddings(X, scalar), corpus_precision=scalar)


@pytest.mark.parametrize(
    ("index", "precision"),
    [
        (faiss.IndexFlatL2(24), "float32"),
        (faiss.IndexFlatIP(20), "float32"),
        (faiss.IndexFlatIP(24), "ubinary"),
        (faiss.IndexBinaryFlat(24), "uint8"),
        (faiss.IndexBinaryFlat(32), "ubinary"),
        (faiss.IndexScalarQuantizer(24, faiss.ScalarQuantizer.QT_4bit), "uint8"),
        (faiss.IndexFlat(24, faiss.METRIC_L1), "float32"),
        ("notes.faiss", "float32"),
    ],
)
def test_faiss_indexes(index, precision):
    with pytest.raises(InputError):
        semantic_search_faiss(Q, corpus_index=index, corpus_precision=precision, ranges=RANGES)


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({"metric": "cos", "dtype": "f16"}, "float32"),
        ({"metric": "cos", "dtype": "bf16"}, "int8"),
        ({"metric": "l2sq", "dtype": "f32"}, "float32"),
        ({"metric": "ip", "dtype": "f32"}, "int8"),
        ({"metric": "ip", "dtype": "i8"}, "float32"),
        ({"metric": "ip", "dtype": "i8"}, "ubinary"),
        ({"metric": "hamming", "dtype": "b1"}, "int8"),
    ],
)
def test_usearch_indexes(options, precision):
    index = Index(ndim=24, **options)
    with pytest.raises(InputError):
        semantic_search_usearch(Q, corpus_index=index, corpus_precision=precision, ranges=RANGES)


def test_an_index_for_exact_search_is_no_graph():
    ask = partial(semantic_search_usearch, Q, corpus_precision="int8", ranges=RANGES)
    _, _, index = ask(X, output_index=True)
    with pytest.raises(InputError, match="too few for a graph"):
        ask(corpus_index=index, exact=False)
