"""LanceDB in the conformance suite: scanned, indexed, and in object storage."""

from dataclasses import replace

import pytest

from requant.adapters.lancedb import LancedbBackend
from requant.testing import BackendConformance
from requant.testing.bench import Bench
from requant.testing.conformance.answers import Answers
from requant.testing.conformance.durability import Durability
from requant.testing.conformance.notes import Notes
from requant.testing.conformance.sharing import Sharing
from requant.testing.conformance.writes import Writes
from tests.object_storage import BUCKET, running_object_storage

_DECLARED = LancedbBackend.capabilities
_LEAST = {"index_from": 256}
_COARSE = {
    "hnsw": {**_LEAST, "index_options": {"m": 4, "ef_construction": 20}},
    "ivf": {**_LEAST, "index_options": {"num_partitions": 120}},
}


def _only(*rows):
    return replace(
        _DECLARED,
        supports=tuple(row for row in _DECLARED.supports if (row.format, row.index_type) in rows),
    )


class Scanned(LancedbBackend):
    """Every format, and one row of each index: below 5,000 items all are scanned alike."""

    capabilities = _only(
        *((row.format, "flat") for row in _DECLARED.supports), ("uint8", "hnsw"), ("binary", "ivf")
    )


class TestLancedb(BackendConformance):
    backend = Scanned
    coarse_params = _COARSE
    dims = (7, 64, 1025)


class TestLancedbKinds(Bench):
    """Every format under every index: what is told apart by it, and is built by it."""

    backend = LancedbBackend
    coarse_params = _COARSE
    dims = (64,)
    test_order_and_distances = Answers.test_order_and_distances
    test_effort_is_spent = Answers.test_effort_is_spent
    test_another_kind_is_refused = Durability.test_another_kind_is_refused


class Indexed(LancedbBackend):
    """Builds its index as soon as LanceDB can."""

    capabilities = _only(
        ("int8", "flat"), ("binary", "flat"), ("uint8", "hnsw"), ("float32", "ivf")
    )

    def upsert(self, keys, codes):
        super().upsert(keys, codes)
        self.flush()


class TestLancedbIndexed(BackendConformance):
    backend = Indexed
    params = {"flat": _LEAST, "hnsw": _LEAST, "ivf": _LEAST}  # noqa: RUF012
    coarse_params = _COARSE
    dims = (6, 384)

    def large(self, row):
        """Each of three writes builds it anew: 100,000 nodes would take minutes."""
        return 3_000


class InBucket(LancedbBackend):
    """One combination: each call is a handful of requests."""

    capabilities = _only(("uint8", "flat"))


@pytest.fixture(scope="module")
def storage():
    with running_object_storage() as server:
        yield server


class TestLancedbS3(Durability, Notes):
    """What is kept there; each open is seconds, and what a table answers is tested in folders."""

    backend = InBucket
    dims = (64,)
    test_order_and_distances = Answers.test_order_and_distances
    test_export_gives_every_byte_back = Writes.test_export_gives_every_byte_back
    test_upsert_replaces = Writes.test_upsert_replaces
    test_delete = Writes.test_delete
    test_fork = Sharing.test_fork

    @pytest.fixture(autouse=True)
    def _server(self, storage):
        self.params = {"flat": {"storage_options": storage.options}}

    def location(self):
        return f"s3://{BUCKET}/{self.folder.name}/index-{self._made}"
