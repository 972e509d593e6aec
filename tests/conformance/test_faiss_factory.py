"""precision="native" on FAISS: any index that its factory makes, over a life of writes."""

from __future__ import annotations

import re
import warnings

import faiss
import numpy as np
import pytest

from requant.adapters.errors import CorruptIndexError
from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError, UnsupportedError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside

# Index type, factory, the recall it has to reach, and how far (of the norm) it may be off.
FACTORIES = [
    ("flat", "PQ32x4fs", 0.6, 0.4),
    ("flat", "PQ32x4np", 0.5, 0.4),
    ("flat", "OPQ32,PQ32x4fs", 0.5, 0.4),
    ("flat", "RaBitQ", 0.4, 0.9),
    ("flat", "RaBitQfs", 0.4, 0.9),
    ("flat", "RR64,RaBitQfs2", 0.6, 0.9),
    ("flat", "SQ8", 0.9, 0.1),
    ("flat", "SQfp16", 0.9, 0.1),
    ("flat", "RQ8x4", 0.3, 0.6),
    ("flat", "LSH", 0.3, 0.9),
    ("flat", "PQ32x4fs,RFlat", 0.6, 0.1),
    ("flat", "PCA48,SQ8", 0.5, 0.5),
    ("ivf", "PQ32x4fs", 0.6, 0.4),
    ("ivf", "RR64,PQ32x4fs", 0.6, 0.4),
    ("ivf", "RaBitQ", 0.4, 0.9),
    ("ivf", "SQ8", 0.9, 0.1),
    ("ivf", "IVF8,PQ4+2", 0.3, 0.6),
    ("hnsw", "SQ8", 0.9, 0.1),
    ("hnsw", "RaBitQ", 0.3, 0.9),
    ("hnsw", "HNSW8_PQ32x4np", 0.3, 0.4),
]
# What FAISS makes for l2 alone; the others are asked for both metrics.
L2_ONLY = [
    ("ip", "flat", "LSH"),
    ("ip", "ivf", "IVF8,PQ4+2"),
    ("ip", "hnsw", "RaBitQ"),
    ("ip", "hnsw", "HNSW8_PQ32x4np"),
]
every_factory = pytest.mark.parametrize(
    ("index_type", "factory", "recall", "off"), FACTORIES, ids=[f"{f[0]} {f[1]}" for f in FACTORIES]
)


def spec_of(index_type="flat", factory=None, metric="l2", dim=64, **params):
    own = {} if factory is None else {"factory": factory}
    return IndexSpec(code_spec("native", dim), metric, index_type, own | params)


def made(spec, n=400):
    return FaissBackend.create(spec, sample=make_codes(spec.code, n))


def far(backend, judge):
    """How far the export is from what was given, as a share of its norm."""
    keys, codes = (np.concatenate(parts) for parts in zip(*backend.export(), strict=True))
    order = np.argsort(keys)
    np.testing.assert_array_equal(keys[order], judge.keys)
    return np.linalg.norm(codes[order] - judge.codes) / np.linalg.norm(judge.codes)


@every_factory
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_life_of_writes(tmp_path, metric, index_type, factory, recall, off):
    """Filled, halved, filled again, reopened: always the right keys, and vectors that are near."""
    if (metric, index_type, factory) in L2_ONLY:
        return
    spec = spec_of(index_type, factory, metric)
    backend, codes, keys = made(spec), make_codes(spec.code, 1200), make_keys(1200)
    backend.upsert(keys[:800], codes[:800])
    backend.delete(keys[:800:2])
    backend.upsert(keys[:100:2], codes[600:650])
    backend.upsert(keys[800:], codes[800:])
    held = np.r_[0:100:2, 1:800:2, 800:1200]
    judge = Judge(spec, keys[held], np.r_[codes[600:650], codes[1:800:2], codes[800:]])
    queries = make_queries(spec.code, 20)
    found = backend.search(queries, 10)
    assert judge.rules(found, queries, 10) >= recall
    assert far(backend, judge) <= off
    some = judge.keys[::3]
    assert judge.rules(backend.search(queries, 5, among=some), queries, 5, some) >= recall
    few = judge.keys[::200]
    judge.rules(backend.search(queries, 5, among=few), queries, 5, few)
    backend.flush(str(tmp_path / "index"))
    for mmap in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # blocks of fast scan cannot be mapped
            again = FaissBackend.open(spec, str(tmp_path / "index"), mmap=mmap)
        np.testing.assert_array_equal(again.search(queries, 10).distances, found.distances)
        assert far(again, judge) <= off
        again.delete(keys[1:800:2])
        assert judge.codes.shape[0] - 400 == len(again)
        assert not np.isin(again.search(queries, 30).keys, keys[1:800:2]).any()


@pytest.mark.parametrize(
    ("index_type", "factory"),
    [
        ("flat", "PQ32x4fs"),
        ("flat", "RaBitQfs2"),
        ("flat", "RaBitQ2"),
        ("flat", "SQ4"),
        ("flat", "RR64,PQ32x4fs"),
        ("ivf", "PQ32x4fs"),
        ("ivf", "RaBitQ2"),
        ("ivf", "SQ4"),
        ("ivf", "RR64,PQ32x4fs"),
    ],
)
def test_clearing_moves_codes_as_they_are(index_type, factory):
    """What was compressed once is not compressed again, and later vectors are not mixed into it."""
    spec = spec_of(index_type, factory)
    codes, keys, queries = make_codes(spec.code, 500), make_keys(500), make_queries(spec.code, 8)
    sample = make_codes(spec.code, 400)
    worn, fresh = (FaissBackend.create(spec, sample=sample) for _ in range(2))
    worn.upsert(keys[:400], codes[:400])
    assert worn.delete(keys[:200:2]) == 100
    assert inside.structure_of(worn).dead == 0
    worn.upsert(keys[400:], codes[400:])
    stays = np.r_[1:200:2, 200:500]
    fresh.upsert(keys[stays], codes[stays])
    for k in (10, 400):
        one, other = (backend.search(queries, k, effort=1000) for backend in (worn, fresh))
        np.testing.assert_allclose(one.distances, other.distances, rtol=1e-5)
    mine, others = (np.concatenate([c for _, c in b.export()]) for b in (worn, fresh))
    np.testing.assert_allclose(mine, others, atol=1e-5)


@every_factory
def test_plain_faiss_opens_the_file(tmp_path, index_type, factory, recall, off):
    spec = spec_of(index_type, factory)
    backend = made(spec)
    backend.upsert(make_keys(400), make_codes(spec.code, 400))
    backend.flush(str(tmp_path / "index"))
    queries = make_queries(spec.code, 3)
    _, keys = faiss.read_index(str(tmp_path / "index")).search(queries, 4)
    np.testing.assert_array_equal(keys[:, 0], backend.search(queries, 4).keys[:, 0])


def test_the_dead_are_passed_over_without_a_selector():
    """Fast scan takes none: when all of the nearest are dead, more are asked for."""
    spec = spec_of("flat", "PQ32x4fs")
    backend, codes, keys = made(spec), make_codes(spec.code, 2000), make_keys(2000)
    backend.upsert(keys, codes)
    query = make_queries(spec.code, 1)
    nearest = backend.search(query, 300).keys[0]
    assert backend.delete(nearest) == 300
    assert inside.structure_of(backend).dead == 300
    left = ~np.isin(keys, nearest)
    judge = Judge(spec, keys[left], codes[left])
    for k in (1, 40, 1700, 3000):
        judge.rules(backend.search(query, k), query, k)


@pytest.mark.parametrize(
    ("index_type", "factory", "said"),
    [
        ("flat", "NoSuchThing", "could not parse index string NoSuchThing"),
        ("flat", "PQ7x4fs", "cannot make 'PQ7x4fs' of 64 dimensions"),
        ("flat", "", "must be an index_factory string"),
        ("flat", 8, "must be an index_factory string"),
        ("flat", "IVF4,SQ8", "is of index type 'ivf', not 'flat'"),
        ("flat", "HNSW8,Flat", "is of index type 'hnsw', not 'flat'"),
        ("hnsw", "PQ32x4fs", "cannot make 'HNSW16,PQ32x4fs'"),
    ],
)
def test_a_bad_factory_is_refused_with_faiss_own_words(index_type, factory, said):
    with pytest.raises(InputError, match=said):
        made(spec_of(index_type, factory))


@pytest.mark.parametrize(
    ("index_type", "factory"),
    [
        ("flat", "ITQ,SQ8"),  # cannot be turned back into vectors
        ("flat", "IDMap,SQ8"),  # has keys of its own
        ("ivf", "RaBitQfs"),  # gives back wrong vectors
        ("flat", "RaBitQfs_64"),  # removes wrong rows
        ("flat", "PQ32x4fs_64"),  # gives back wrong vectors
        ("hnsw", "HNSW8_PQ32x4np"),  # made for l2, whatever is asked for
    ],
)
def test_what_faiss_cannot_give_back_is_refused_at_once(index_type, factory):
    with pytest.raises(UnsupportedError, match=re.escape(factory.split(",")[-1])):
        made(spec_of(index_type, factory, "ip"))


def test_another_factory_is_another_index(tmp_path):
    backend = made(spec_of("flat", "PQ32x4fs"))
    backend.flush(str(tmp_path / "index"))
    others = [
        spec_of("flat", "PQ64x4fs"), spec_of("flat", "PQ32x4np"), spec_of("flat", "RaBitQfs"),
        spec_of("ivf", "PQ32x4fs"), spec_of("hnsw"), spec_of("flat", "OPQ16,PQ32x4fs"),
        spec_of("flat", "PQ32x4fs", metric="ip"), spec_of("flat", "PQ32x4fs", dim=128),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(CorruptIndexError):
            FaissBackend.open(other, str(tmp_path / "index"))


def test_training_needs_a_sample_and_takes_a_small_one():
    with pytest.raises(InputError, match="sample"):
        FaissBackend.create(spec_of("flat", "PQ32x4fs"))
    FaissBackend.create(spec_of("flat", "SQfp16"))
    for index_type, factory in [
        ("flat", "PQ32x4fs"), ("flat", "SQ8"), ("flat", "RaBitQfs2"),
        ("ivf", "PQ32x4fs"), ("ivf", "IVF20,SQ8"), ("hnsw", "SQ8"),
    ]:  # fmt: skip
        spec = spec_of(index_type, factory)
        backend = FaissBackend.create(spec, sample=make_codes(spec.code, 2))
        backend.upsert(make_keys(50), make_codes(spec.code, 50))
        assert (backend.search(make_queries(spec.code, 1), 5).keys >= 0).all()


def test_lists_are_learnt_from_the_sample():
    assert made(spec_of("ivf"), 390).native().nlist == 10
    assert made(spec_of("ivf", nlist=7), 390).native().nlist == 7
    assert made(spec_of("ivf", "IVF5,SQ8"), 390).native().nlist == 5


def test_a_factory_is_for_native_codes():
    spec = IndexSpec(code_spec("int8", 64), "l2", "flat", {"factory": "SQ8"})
    with pytest.raises(InputError, match="native"):
        FaissBackend.create(spec)


def test_training_is_silent(capfd):
    for index_type in ("flat", "ivf"):
        made(spec_of(index_type), 100)
    assert capfd.readouterr() == ("", "")
