"""usearch in the conformance suite."""

from requant.adapters.usearch import UsearchBackend
from requant.testing import BackendConformance


class TestUsearch(BackendConformance):
    backend = UsearchBackend
    params = {"hnsw": {"connectivity": 12, "expansion_add": 40}}  # noqa: RUF012
