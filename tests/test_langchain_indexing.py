"""langchain_core.indexing keeps a store in step with documents, by every way to clean up."""

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore

from requant.integration.langchain import RequantVectorStore
from tests.langchain_cases import Spoken


def of(source, *texts):
    return [Document(page_content=text, metadata={"source": source}) for text in texts]


# What is indexed one after the other: the last documents replace, shrink and repeat.
STEPS = [
    of("a", "1 0", "2 0", "3 0") + of("b", "0 1", "0 2"),
    of("a", "1 0", "2 1") + of("a", "1 0"),
    of("b", "0 2"),
    of("a", "1 0", "2 1"),
    [],
]


def results(store, indexed):
    documents = store.similarity_search("1 1", k=100)
    return indexed, sorted((d.id, d.page_content, d.metadata["source"]) for d in documents)


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
def test_index_does_what_it_does_with_the_reference(any_db, cleanup):
    with RequantVectorStore(Spoken(), any_db) as store:
        told = []
        for one in (store, InMemoryVectorStore(Spoken())):
            records = InMemoryRecordManager(namespace="notes")
            records.create_schema()
            told.append(
                [
                    results(
                        one,
                        index(
                            documents, records, one, cleanup=cleanup, source_id_key="source",
                            batch_size=2, key_encoder="sha256",
                        ),
                    )
                    for documents in STEPS
                ]
            )  # fmt: skip
        assert told[0] == told[1]


async def aindexed(one, cleanup):
    records = InMemoryRecordManager(namespace="notes")
    await records.acreate_schema()
    return [
        results(
            one,
            await aindex(
                documents, records, one, cleanup=cleanup, source_id_key="source", batch_size=2,
                key_encoder="sha256",
            ),
        )
        for documents in STEPS
    ]  # fmt: skip


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
def test_aindex_too(db, cleanup):
    with RequantVectorStore(Spoken(), db) as store:
        found = asyncio.run(aindexed(store, cleanup))
        assert found == asyncio.run(aindexed(InMemoryVectorStore(Spoken()), cleanup))
