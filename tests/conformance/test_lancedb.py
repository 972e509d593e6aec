"""LanceDB in the conformance suite: scanned, indexed, and in object storage."""

from dataclasses import replace

import pytest

from requant.adapters.lancedb import LancedbBackend
from requant.testing import BackendConformance
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


class TestLancedb(BackendConformance):
    backend = LancedbBackend
    coarse_params = _COARSE
    dims = (7, 64, 1025)


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

    @pytest.mark.skip("three graphs of up to 100,000 nodes take minutes")
    def test_a_hundred_thousand_items(self, row):
        pass


class InBucket(LancedbBackend):
    """One combination: each call is a handful of requests."""

    capabilities = _only(("uint8", "flat"))


@pytest.fixture(scope="module")
def storage():
    with running_object_storage() as server:
        yield server


class TestLancedbS3(BackendConformance):
    backend = InBucket
    dims = (64,)

    @pytest.fixture(autouse=True)
    def _server(self, storage):
        self.params = {"flat": {"storage_options": storage.options}}

    def location(self):
        return f"s3://{BUCKET}/{self.folder.name}/index-{self._made}"

    @pytest.mark.skip("hundreds of requests: test_lancedb_s3.py has fewer")
    def test_threads(self, row):
        pass

    @pytest.mark.skip("hundreds of requests: test_lancedb_s3.py has fewer")
    def test_many_small_writes(self, case):
        pass
