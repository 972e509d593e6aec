"""Random histories on every engine: a short profile; tests/torture has the long one."""

from __future__ import annotations

import pytest

from requant.testing.stateful import StatefulConformance
from requant.testing.stateful.strategies import some_vectors


@pytest.mark.parametrize("seed", [0, 7, 11, 77])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_history_may_write_nothing(seed, n):
    """As when it updates items of which there is none."""
    assert some_vectors(n, 8, seed).shape == (n, 8)


class TestFaiss(StatefulConformance):
    engine = "faiss"
    examples = 6
    indexes = (
        {"precision": "int8"},
        {"precision": "float32"},
        {"precision": "int8", "index_type": "hnsw"},
        {"precision": "int2"},
        {"precision": "binary", "mmap": True},
    )


class TestUsearch(StatefulConformance):
    engine = "usearch"
    examples = 6
    indexes = (
        {"precision": "int8"},
        {"precision": "binary"},
        {"precision": "int8", "index_type": "hnsw"},
        {"precision": "float32", "mmap": True},
    )


class TestQdrant(StatefulConformance):
    engine = "qdrant"
    handles = 1  # one process opens a folder, once
    examples = 5


class TestLancedb(StatefulConformance):
    engine = "lancedb"
    examples = 4


class TestPostgresql(StatefulConformance):
    engine = "faiss"
    examples = 4

    @pytest.fixture(autouse=True)
    def _server(self, empty_postgres):
        self.server = empty_postgres

    def url(self):
        return self.server
