"""FAISS in the conformance suite."""

from requant.adapters.faiss import FaissBackend
from requant.testing import BackendConformance


class TestFaiss(BackendConformance):
    backend = FaissBackend
    params = {"hnsw": {"M": 12, "efConstruction": 40}}  # noqa: RUF012

    def large(self, row):
        """Two graphs of full size, one of each class that FAISS has for them."""
        small = row.support.index_type == "hnsw" and row.support.format not in ("int8", "binary")
        return 10_000 if small else 100_000
