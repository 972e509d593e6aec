"""FAISS in the conformance suite."""

from requant.adapters.faiss import FaissBackend
from requant.testing import BackendConformance


class TestFaiss(BackendConformance):
    backend = FaissBackend
    params = {"hnsw": {"M": 12, "efConstruction": 40}}  # noqa: RUF012
