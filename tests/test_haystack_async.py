"""Haystack's awaited methods: the event loop goes on, and nothing is left half done."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy

import requant
from requant.integration.haystack import (
    RequantDocumentStore,
    RequantEmbeddingRetriever,
    RequantHybridRetriever,
)
from requant.integration.sqlalchemy.aio.threads import SIZES
from tests.aio import Ticks

DIM = 64


def documents(n, first=0):
    floats = np.random.default_rng(first).standard_normal((n, DIM)).astype(np.float32).tolist()
    return [
        Document(id=str(first + i), content=f"text {i}", meta={"n": i}, embedding=vector)
        for i, vector in enumerate(floats)
    ]


def test_no_call_holds_up_the_loop(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=DIM)
    many = documents(3000)
    dates = {"field": "meta.n", "operator": ">", "value": "2024-01-01"}
    ticks = {}

    async def timed(name, call):
        async with Ticks() as others:
            await call
            ticks[name] = others.ticks

    async def main():
        await timed("write", store.write_documents_async(many))
        await timed("read", store.filter_documents_async())
        await timed("unique", store.get_metadata_field_unique_values_async("n"))
        await timed("update", store.update_by_filter_async(
            {"field": "id", "operator": "!=", "value": ""}, {"x": {"y": None}}))  # fmt: skip
        await store.embedding_retrieval_async(many[0].embedding, dates)

    asyncio.run(main())
    store.close()
    assert min(ticks.values()) > 3, ticks


def test_many_at_once_take_few_threads(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=DIM)
    before, most = threading.active_count(), 0

    async def one(number):
        nonlocal most
        batch = documents(3, number * 3)
        await store.write_documents_async(batch)
        found = await store.embedding_retrieval_async(batch[0].embedding, top_k=1)
        most = max(most, threading.active_count() - before)
        assert found[0].id == batch[0].id

    async def main():
        await asyncio.gather(*map(one, range(60)))
        return await store.count_documents_async()

    assert asyncio.run(main()) == 180
    assert most <= SIZES["reads"] + SIZES["writes"]
    store.close()


def test_a_cancelled_write_is_whole_or_absent(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=DIM)

    async def main():
        counts = []
        for number, delay in enumerate([0, 0.001, 0.01, 0.03, 0.1]):
            writing = asyncio.create_task(store.write_documents_async(documents(500, number * 500)))
            await asyncio.sleep(delay)
            writing.cancel()
            await asyncio.wait([writing])
            assert writing.cancelled() or writing.result() == 500
            counts.append(await store.count_documents_async())
        # Nothing goes on behind the back of whoever cancelled.
        await asyncio.sleep(0.1)
        assert await store.count_documents_async() == counts[-1]
        return counts

    assert all(count % 500 == 0 for count in asyncio.run(main()))
    store.close()


def test_what_goes_wrong_is_raised_where_it_is_awaited():
    store = RequantDocumentStore(embedding_dim=DIM)

    async def main():
        await store.write_documents_async(documents(2))
        with pytest.raises(DuplicateDocumentError):
            await store.write_documents_async(documents(2))
        assert await store.write_documents_async(documents(3), DuplicatePolicy.SKIP) == 1
        await store.delete_documents_async(["0", "nobody"])
        assert await store.count_documents_async() == 2
        store.close()
        with pytest.raises(requant.StoreError, match="closed"):
            await store.count_documents_async()

    asyncio.run(main())


def test_pipelines_that_are_awaited(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=DIM)
    written = documents(20)
    store.write_documents(written)
    pipeline = Pipeline()
    pipeline.add_component("near", RequantEmbeddingRetriever(store, top_k=3))
    pipeline.add_component("both", RequantHybridRetriever(store, top_k=3))
    vector = written[7].embedding
    asked = {
        "near": {"query_embedding": vector},
        "both": {"query": "text 7", "query_embedding": vector},
    }
    found = asyncio.run(pipeline.run_async(asked))
    again = pipeline.run(asked)
    for name in ("near", "both"):
        assert found[name]["documents"][0].id == "7"
        assert found[name] == again[name]
    store.close()


def test_stores_are_used_from_one_loop_after_another():
    store = RequantDocumentStore(embedding_dim=DIM)
    for number in range(3):
        asyncio.run(store.write_documents_async(documents(1, number)))
    assert asyncio.run(store.count_documents_async()) == 3
