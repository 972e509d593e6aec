"""Indexes that other programs made, as backends: their answers, their codes, nothing written."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from usearch.index import Index

from requant import InputError, UnsupportedError
from requant.adapters import registry
from requant.adapters.protocol import Adopting, IndexSpec
from requant.quantizers.codes import CodeSpec

X = np.random.default_rng(2).standard_normal((300, 16)).astype(np.float32)
BITS = np.packbits(X > 0, axis=1)


def filled(index, rows=X):
    """A FAISS index with rows."""
    if not index.is_trained:
        index.train(rows)
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexIDMap2, faiss.IndexBinaryIDMap)):
        index.add_with_ids(rows, np.arange(len(rows)) + 1000)
    else:
        index.add(rows)
    return index


def lists():
    """Lists of vectors."""
    index = faiss.index_factory(16, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.nprobe = 4
    return index


FAISS = {
    "flat": (lambda: faiss.IndexFlatIP(16), X, 0),
    "graph": (lambda: faiss.IndexHNSWFlat(16, 16, faiss.METRIC_INNER_PRODUCT), X, 0),
    "lists": (lists, X, 0),
    "ids": (lambda: faiss.IndexIDMap(faiss.IndexFlatIP(16)), X, 1000),
    "ids 2": (lambda: faiss.IndexIDMap2(faiss.IndexFlatL2(16)), X, 1000),
    "bits": (lambda: faiss.IndexBinaryFlat(16), BITS, 0),
    "bits, graph": (lambda: faiss.IndexBinaryHNSW(16, 16), BITS, 0),
    "bits, ids": (lambda: faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(16)), BITS, 1000),
}


@pytest.mark.parametrize("name", FAISS)
def test_faiss(name):
    make, rows, first = FAISS[name]
    index = filled(make(), rows)
    backend = registry.load("faiss").adopt(index)
    found = backend.search(rows[:20], 3, codes=True)
    distances, labels = index.search(rows[:20], 3)
    np.testing.assert_array_equal(found.keys, labels)
    np.testing.assert_allclose(np.abs(found.distances), np.abs(distances), rtol=1e-6)
    np.testing.assert_array_equal(found.codes, rows[found.keys - first])
    keys, codes = map(np.concatenate, zip(*backend.export(100), strict=True))
    np.testing.assert_array_equal(codes, rows[keys - first])
    assert len(backend) == 300
    assert backend.native() is index


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("metric", "dtype"), [("ip", "f32"), ("cos", "f32"), ("hamming", "b1")])
def test_usearch(metric, dtype, exact):
    rows = BITS if dtype == "b1" else X
    index = Index(ndim=16, metric=metric, dtype=dtype)
    index.add(np.arange(300) * 3, rows)
    backend = registry.load("usearch").adopt(index, exact=exact)
    found = backend.search(rows[:20], 3, codes=True)
    matches = index.search(rows[:20], 3, exact=exact)
    np.testing.assert_allclose(
        found.distances, matches.distances - (metric != "hamming"), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(found.codes, rows[found.keys // 3])
    assert backend.native() is index


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_they_are_not_written_to(engine, tmp_path):
    index = filled(faiss.IndexFlatIP(16))
    if engine == "usearch":
        index = Index(ndim=16, metric="ip", dtype="f32")
        index.add(np.arange(300), X)
    backend = registry.load(engine).adopt(index)
    assert isinstance(backend, Adopting)
    with pytest.raises(UnsupportedError):
        backend.upsert(np.array([1]), X[:1])
    with pytest.raises(UnsupportedError):
        backend.delete(np.array([1]))
    with pytest.raises(UnsupportedError):
        backend.flush(str(tmp_path / "index"))
    with pytest.raises(UnsupportedError):
        registry.load("usearch").create(IndexSpec(CodeSpec("int8", 4), "ip")).native()
    for wrong in (None, "index", X):
        with pytest.raises(InputError):
            registry.load(engine).adopt(wrong)
