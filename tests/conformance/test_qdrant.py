"""Qdrant in the conformance suite: embedded, in the client's local mode, and on a server."""

import os
import uuid
from dataclasses import replace

import pytest

from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend
from requant.quantizers.codes import CodeSpec
from requant.testing import BackendConformance
from requant.testing.bench import Bench
from requant.testing.conformance.answers import Answers
from requant.testing.conformance.durability import Durability
from tests.qdrant_server import running

URL = os.environ.get("REQUANT_QDRANT_URL")
# Compared one by one below these sizes, and with more links everything is found anyway.
COARSE = {"hnsw": {"full_scan_threshold": 10, "indexing_threshold": 10, "m": 6}}
ANY = IndexSpec(CodeSpec("int8", 64), "l2")


def some(*rows):
    """Declare a part of what Qdrant can do: the other places pass through the same code."""
    declared = QdrantBackend.capabilities
    kept = tuple(row for row in declared.supports if (row.format, row.index_type) in rows)
    return replace(declared, supports=kept)


class FlatOnly(QdrantBackend):
    capabilities = some(*((row.format, "flat") for row in QdrantBackend.capabilities.supports))


class Few(QdrantBackend):
    capabilities = some(("int8", "flat"), ("binary", "hnsw"))


class Scanned(QdrantBackend):
    """Every format, and one graph: of few items Qdrant makes none, and looks at all of them."""

    capabilities = some(
        *((row.format, "flat") for row in QdrantBackend.capabilities.supports), ("binary", "hnsw")
    )


WITHOUT_LOG = {
    "flat": {"wal": False},
    "hnsw": {"m": 12, "ef_construct": 60, "wal": False},
}


class TestQdrantEdge(BackendConformance):
    """Without the log, which makes a folder 64 MB larger; with it below."""

    backend = Scanned
    params = WITHOUT_LOG
    coarse_params = COARSE
    dims = (7, 64, 1025)

    def large(self, row):
        """Of full size: one without a graph, and one with."""
        full = (row.support.format, row.support.index_type) in (
            ("int8", "flat"),
            ("binary", "hnsw"),
        )
        return 100_000 if full else 10_000


class TestQdrantEdgeKinds(Bench):
    """Every format with and without a graph: what is told apart by it, and is made by it."""

    backend = QdrantBackend
    params = WITHOUT_LOG
    coarse_params = COARSE
    dims = (64,)
    test_order_and_distances = Answers.test_order_and_distances
    test_effort_is_spent = Answers.test_effort_is_spent
    test_another_kind_is_refused = Durability.test_another_kind_is_refused


class TestQdrantEdgeWithLog(BackendConformance):
    backend = Few
    coarse_params = COARSE
    dims = (7, 64)

    def large(self, row):
        return 10_000


class _FewItems(BackendConformance):
    """Local mode takes 0.1 ms an item, and warns beyond 20,000."""

    def large(self, row):
        return 2000

    @pytest.mark.skip("local mode compares every vector, whatever it may spend")
    def test_effort_is_spent(self, row):
        pass


class TestQdrantLocal(_FewItems):
    backend = FlatOnly
    dims = (7,)

    def location(self):
        return f"local:{self.folder}/index-{self._made}.npz"


@pytest.fixture(scope="module")
def http_server():
    with running() as server:
        yield server


class TestQdrantHttp(_FewItems):
    backend = Few
    dims = (7,)

    @pytest.fixture(autouse=True)
    def _collections(self, _workplace, http_server):
        self._url, self._run = http_server.url, uuid.uuid4().hex[:12]

    def location(self):
        return f"{self._url}/requant-{self._run}-{self._made}"


@pytest.mark.skipif(not URL, reason="REQUANT_QDRANT_URL names no Qdrant server")
class TestQdrantServer(BackendConformance):
    # Without a server, the cases of two rows are enough to be skipped.
    backend = QdrantBackend if URL else Few
    params = {"hnsw": {"m": 12, "ef_construct": 60}}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _collections(self, _workplace):
        self._run = uuid.uuid4().hex[:12]
        yield
        for number in range(self._made + 1):
            QdrantBackend.drop(ANY, f"{URL}/requant-{self._run}-{number}")

    def location(self):
        return f"{URL}/requant-{self._run}-{self._made}"
