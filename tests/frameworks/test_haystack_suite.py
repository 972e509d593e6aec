"""Haystack's own suites for document stores, all of them, on every engine, int8 and binary."""

from __future__ import annotations

import os
from uuid import uuid4

# Tests tell nobody that they run.
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

import numpy as np
import pytest
from haystack.dataclasses import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)

import requant
from requant.integration.haystack import RequantDocumentStore

# Every class of the suites, so that a new one in a release of Haystack is not missed.
SYNC = (
    DocumentStoreBaseExtendedTests,
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
ASYNC = (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)
ENGINES = ("faiss", "usearch", "qdrant", "lancedb")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One for all tests, each of which has a collection of its own in it."""
    with requant.open(tmp_path_factory.mktemp("haystack") / "a.db") as opened:
        yield opened


class TestDocumentStore(*SYNC, *ASYNC):
    """The suites, and the two tests that they leave to each store."""

    @pytest.fixture(params=[f"{e}-{p}" for e in ENGINES for p in ("int8", "binary")])
    def document_store(self, request, database):
        engine, precision = request.param.split("-")
        store = RequantDocumentStore(
            database, collection_name=uuid4().hex, engine=engine, precision=precision
        )
        yield store
        index = store.collection.indexes[0]
        assert (index.engine, index.precision) == (engine, precision)
        database.drop_collection(store.collection_name)
        store.close()

    @staticmethod
    def assert_documents_are_equal(received, expected):
        """In everything but for what float32 keeps of an embedding.

        The suite writes random float64; requant stores float32, as models give them.
        """
        assert [rounded(one) for one in received] == [rounded(one) for one in expected]

    def test_write_documents(self, document_store):
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])

    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store):
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document])
        found = await document_store.filter_documents_async()
        self.assert_documents_are_equal(found, [document])


def rounded(document):
    """A document as a dict, its embedding as float32."""
    told = document.to_dict(flatten=False)
    if told["embedding"] is not None:
        told["embedding"] = np.asarray(told["embedding"], np.float32).tolist()
    return told


@pytest.mark.parametrize("module", ["document_store", "document_store_async"])
def test_no_class_of_the_suites_is_left_out(module):
    suites = pytest.importorskip(f"haystack.testing.{module}")
    defined = {
        value
        for value in vars(suites).values()
        if isinstance(value, type) and any(name.startswith("test_") for name in vars(value))
    }
    assert defined
    assert all(issubclass(TestDocumentStore, one) for one in defined)
