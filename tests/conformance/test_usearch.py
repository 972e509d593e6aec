"""usearch in the conformance suite."""

from requant.adapters.usearch import UsearchBackend
from requant.testing import BackendConformance


class TestUsearch(BackendConformance):
    backend = UsearchBackend
    params = {"hnsw": {"connectivity": 12, "expansion_add": 40}}  # noqa: RUF012

    def large(self, row):
        """One graph of full size: usearch has one class for all formats."""
        small = row.support.index_type == "hnsw" and row.support.format != "int8"
        return 10_000 if small else 100_000
