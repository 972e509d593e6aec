"""Random histories on every engine: a short profile; tests/torture has the long one."""

from __future__ import annotations

import pytest

from requant.testing.stateful import StatefulConformance


class TestFaiss(StatefulConformance):
    engine = "faiss"
    examples = 12
    indexes = (
        {"precision": "int8"},
        {"precision": "float32"},
        {"precision": "int8", "index_type": "hnsw"},
        {"precision": "int2"},
        {"precision": "binary", "mmap": True},
    )


class TestUsearch(StatefulConformance):
    engine = "usearch"
    examples = 12
    indexes = (
        {"precision": "int8"},
        {"precision": "binary"},
        {"precision": "int8", "index_type": "hnsw"},
        {"precision": "float32", "mmap": True},
    )


class TestQdrant(StatefulConformance):
    engine = "qdrant"
    handles = 1  # one process opens a folder, once
    examples = 10


class TestLancedb(StatefulConformance):
    engine = "lancedb"
    examples = 8


class TestPostgresql(StatefulConformance):
    engine = "faiss"
    examples = 5

    @pytest.fixture(autouse=True)
    def _server(self, empty_postgres):
        self.server = empty_postgres

    def url(self):
        return self.server
