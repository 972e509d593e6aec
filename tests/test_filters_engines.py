"""Random filters over random metadata: every engine and precision answers as brute force does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import requant
from requant.adapters import registry
from tests import inside
from tests.databases import brute_force, vectors
from tests.filter_reference import matches
from tests.test_filters_property import documents, filters

N, DIM, K = 400, 16, 7
# Items that share their metadata: a filter that one of them meets lets 1, 2, ... or 270 pass.
GROUPS = np.repeat(np.arange(7), [1, 2, 7, 20, 40, 60, 270])
PRECISIONS = ["float32", "float16", "int8", "uint8", "int4", "int2", "int1", "binary", "native"]


def can(engine: str, precision: str) -> bool:
    return registry.load(engine).capabilities.find(precision, "flat") is not None


CASES = [
    (engine, precision)
    for engine in ("faiss", "usearch", "qdrant", "lancedb", "turbovec")
    for precision in PRECISIONS
    if can(engine, precision)
]


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    with requant.open(tmp_path_factory.mktemp("filters") / "x.db") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(N), vectors(N, DIM))
        for engine, precision in CASES:
            notes.add_index(f"{engine}-{precision}", engine=engine, precision=precision)
        yield notes


@pytest.mark.parametrize("few", [0, 30], ids=["engine", "both"])
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kinds=st.lists(documents, min_size=7, max_size=7),
    where=filters,
    seed=st.integers(0, 2**32 - 1),
)
def test_all_engines_agree_with_brute_force(notes, few, kinds, where, seed):
    metadata = [kinds[group] for group in GROUPS]
    notes.upsert(range(N), metadata=metadata)
    matching = [i for i in range(N) if matches(where, metadata[i])]
    query = vectors(1, DIM, seed=seed)[0]
    rows, scores = brute_force(query, vectors(N, DIM)[matching], "cosine", K)
    best = [matching[row] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        # Up to this many matches are scored without the engine.
        patch.setattr(inside.FEW, few)
        for engine, precision in CASES:
            name = f"{engine}-{precision}"
            # With every item a candidate, nothing can be missed.
            hits = notes.search(query, K, where=where, index=name, oversample=N / K)
            assert [hit.id for hit in hits] == best, name
            np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-5)
            # With fewer, something may be, but k results that match there are.
            found = [hit.id for hit in notes.search(query, K, where=where, index=name)]
            assert len(set(found)) == len(found) == min(K, len(matching)), name
            assert set(found) <= set(matching), name
