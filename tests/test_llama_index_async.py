"""The asynchronous methods: the loop is never blocked, and what is cancelled is whole or absent."""

import asyncio
import threading
import time

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from requant.errors import DimensionError
from requant.integration.llama_index import RequantVectorStore
from tests.llama_cases import CASES, QUERIES, nodes, one


@pytest.fixture
def store(any_db):
    return RequantVectorStore(any_db)


def test_each_answers_as_its_twin(store):
    async def main():
        assert await store.async_add(nodes()) == [node.node_id for node in nodes()]
        for filters in CASES[:5]:
            asked = VectorStoreQuery(QUERIES[0], 5, filters=filters)
            assert await store.aquery(asked) == store.query(asked)
            assert await store.aget_nodes(filters=filters) == store.get_nodes(filters=filters)
        diverse = VectorStoreQuery(QUERIES[0], 5, mode="mmr")
        found = await store.aquery(diverse, mmr_threshold=0.3)
        assert found == store.query(diverse, mmr_threshold=0.3)
        await store.adelete("doc1")
        await store.adelete_nodes(["n2"])
        await store.adelete_nodes(filters=one("lang", "==", "de"))
        assert {node.node_id for node in await store.aget_nodes(["n1", "n2", "n3"])} == {"n3"}
        await store.aclear()
        return await store.aget_nodes()

    assert asyncio.run(main()) == []


def test_errors_arrive(store):
    async def main():
        await store.async_add(nodes())
        with pytest.raises(DimensionError):
            await store.aquery(VectorStoreQuery([1.0]))
        with pytest.raises(DimensionError):
            await store.async_add([TextNode(embedding=[1.0])])

    asyncio.run(main())


def _held(store, name):
    """Let a method of the collection wait until it is told; return its (begun, go on)."""
    begun, go_on = threading.Event(), threading.Event()
    method = getattr(store.collection, name)

    def slow(*args, **options):
        begun.set()
        assert go_on.wait(30)
        return method(*args, **options)

    setattr(store.collection, name, slow)
    return begun, go_on


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("search", lambda store: store.aquery(VectorStoreQuery(QUERIES[0]))),
        ("get", lambda store: store.aget_nodes()),
        ("upsert", lambda store: store.async_add(nodes()[:1])),
        ("delete", lambda store: store.adelete("doc1")),
        ("delete", lambda store: store.adelete_nodes(["n1"])),
        ("clear", lambda store: store.aclear()),
    ],
)
def test_the_loop_runs_meanwhile(db, name, call):
    store = RequantVectorStore(db)
    store.add(nodes())
    begun, go_on = _held(store, name)

    async def main():
        task = asyncio.ensure_future(call(store))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        await task

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_write_that_is_cancelled_is_whole_before_that_is_said(db):
    store = RequantVectorStore(db)
    store.add(nodes()[:1])
    begun, go_on = _held(store, "upsert")

    async def main():
        task = asyncio.ensure_future(store.async_add(nodes()))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(store.get_nodes())

    assert asyncio.run(asyncio.wait_for(main(), 30)) == 13


def test_a_write_that_has_not_begun_is_not_done(db):
    store = RequantVectorStore(db)
    store.add(nodes())
    begun, go_on = _held(store, "delete")

    async def main():
        # As many as there are threads for writes, and one that waits for its turn.
        running = [asyncio.ensure_future(store.adelete_nodes([one])) for one in ("n1", "n2")]
        waiting = asyncio.ensure_future(store.adelete_nodes(["n3"]))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        await asyncio.gather(*running)

    asyncio.run(asyncio.wait_for(main(), 30))
    left = {node.node_id for node in store.get_nodes()}
    assert "n3" in left
    assert not {"n1", "n2"} & left


def test_many_at_once_use_few_threads(db):
    store = RequantVectorStore(db)
    store.add(nodes())

    async def main():
        asked = VectorStoreQuery(QUERIES[0], 3)
        before = store.query(asked).ids
        found = await asyncio.gather(*(store.aquery(asked) for _ in range(200)))
        assert all(each.ids == before for each in found)

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 60
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("requant reads")]
    assert 1 <= len(ours) <= 8  # a lane of this store, and perhaps one of a test before


def test_two_loops_one_after_the_other(store):
    store.add(nodes())
    for _ in range(2):
        assert asyncio.run(store.aquery(VectorStoreQuery(QUERIES[0]))).ids
