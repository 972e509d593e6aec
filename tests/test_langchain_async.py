"""LangChain's store for coroutines: as the sync one, no pause of the loop, whole or absent."""

import asyncio
import threading
import time

import pytest
from langchain_core.documents import Document

from requant.integration.langchain import RequantVectorStore
from tests import inside
from tests.aio import Ticks
from tests.langchain_cases import Spoken, contents

TEXTS, NAMES = ["3 0", "0 2", "-1 0", "1 1"], list("abcd")
METADATA = [{"n": n} for n in range(4)]


class Slow(Spoken):
    """Takes its time, and knows how it was asked and where."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.asked = []

    async def aembed_documents(self, texts):
        self.asked.append("documents")
        await asyncio.sleep(self.seconds)
        return self.embed_documents(texts)

    async def aembed_query(self, text):
        self.asked.append("query")
        await asyncio.sleep(self.seconds)
        return self.embed_query(text)


def test_every_method_is_as_its_sync_twin(any_db):
    async def main():
        embedding = Slow()
        store = await RequantVectorStore.afrom_texts(
            TEXTS, embedding, METADATA, ids=NAMES, location=any_db
        )
        assert embedding.asked == ["documents"]
        pairs = [
            (store.aget_by_ids(["d", "a"]), store.get_by_ids(["d", "a"])),
            (store.asimilarity_search("1 0", k=3), store.similarity_search("1 0", k=3)),
            (
                store.asimilarity_search("1 0", filter={"n": {"$gt": 1}}),
                store.similarity_search("1 0", filter={"n": {"$gt": 1}}),
            ),
            (
                store.asimilarity_search_with_score("1 0"),
                store.similarity_search_with_score("1 0"),
            ),
            (
                store.asimilarity_search_with_relevance_scores("1 0", score_threshold=0.6),
                store.similarity_search_with_relevance_scores("1 0", score_threshold=0.6),
            ),
            (
                store.asimilarity_search_by_vector([1, 0], k=2),
                store.similarity_search_by_vector([1, 0], k=2),
            ),
            (
                store.asimilarity_search_with_score_by_vector([1, 0]),
                store.similarity_search_with_score_by_vector([1, 0]),
            ),
            (
                store.amax_marginal_relevance_search("1 0", k=2, lambda_mult=0.1),
                store.max_marginal_relevance_search("1 0", k=2, lambda_mult=0.1),
            ),
            (
                store.amax_marginal_relevance_search_by_vector([1, 0], k=2, lambda_mult=0.1),
                store.max_marginal_relevance_search_by_vector([1, 0], k=2, lambda_mult=0.1),
            ),
            (store.asearch("1 0", "mmr", k=2), store.search("1 0", "mmr", k=2)),
            (store.as_retriever().ainvoke("1 0"), store.as_retriever().invoke("1 0")),
        ]
        for awaited, expected in pairs:
            assert await awaited == expected
            assert expected
        assert await store.aadd_documents([Document(id="e", page_content="5 5")]) == ["e"]
        assert await store.aadd_texts([]) == []
        assert await store.adelete(["a"])
        assert await store.adelete(filter={"n": 1})
        assert [row[0] for row in contents(store)] == ["c", "d", "e"]
        assert await store.adelete()
        assert await store.asimilarity_search("1 0") == []
        await store.aclose()

    asyncio.run(main())


def test_bad_input_is_refused_alike(db):
    async def main():
        async with RequantVectorStore(Slow(), db) as store:
            for call, said in (
                (store.aadd_texts(["1 0"], [{"s": {1}}]), "metadata row 0"),
                (store.aadd_texts("1 0"), "texts must be a list"),
                (store.aget_by_ids("a"), "ids must be a list"),
                (store.asimilarity_search("1 0", filter={"n": {"$near": 1}}), "near"),
                (store.asimilarity_search(7), "query must be a text"),
            ):
                with pytest.raises(ValueError, match=said):
                    await call
            await store.aadd_texts(["1 0"])
            with pytest.raises(ValueError, match="another embedding"):
                await store.asimilarity_search("1 0 0")
            with pytest.raises(TypeError, match="filters"):
                await store.asimilarity_search("1 0", filters={})
            with pytest.raises(ValueError, match="location"):
                await RequantVectorStore.afrom_texts(["1 0"], Slow(), location=7)

    asyncio.run(main())


def test_the_loop_goes_on_while_the_database_is_busy(db, monkeypatch):
    """Whatever takes long in the store, or in embedding, the loop ticks meanwhile."""
    store = RequantVectorStore.from_texts(TEXTS, Slow(0.05), ids=NAMES, location=db)
    found, loop_thread, seen = inside.door_of(store).found, threading.get_ident(), []

    def slowly():
        seen.append(threading.get_ident())
        time.sleep(0.1)
        return found()

    monkeypatch.setattr(inside.door_of(store), "found", slowly)

    async def main():
        for ask in (
            lambda: store.asimilarity_search("1 0"),
            lambda: store.aadd_texts(["1 0"], ids=["z"]),
            lambda: store.adelete(["z"]),
            lambda: store.aget_by_ids(["a"]),
            lambda: store.amax_marginal_relevance_search("1 0"),
            lambda: store.as_retriever().ainvoke("1 0"),
        ):
            async with Ticks() as loop:
                await ask()
                assert loop.ticks >= 10
        many = [store.asimilarity_search("1 0") for _ in range(40)]
        assert all(len(one) == 4 for one in await asyncio.gather(*many))

    asyncio.run(main())
    assert loop_thread not in seen
    assert len(set(seen)) <= 6  # the threads are few, however many ask


def test_a_cancelled_write_is_whole_or_absent(any_db):
    store = RequantVectorStore.from_texts(["1 0"], Slow(0.01), ids=["first"], location=any_db)
    texts = [f"{n} 1" for n in range(300)]

    async def main():
        begun = time.perf_counter()
        await store.aadd_texts(texts)
        longest = time.perf_counter() - begun
        outcomes = set()
        for number in range(12):
            await store.adelete()
            task = asyncio.ensure_future(store.aadd_texts(texts))
            await asyncio.sleep(longest * number / 11)
            task.cancel()
            try:
                await task
                was = False
            except asyncio.CancelledError:
                was = True
            stored = store.collection.count()
            assert stored in ((0, 300) if was else (300,))
            await asyncio.sleep(0.01)
            assert store.collection.count() == stored
            outcomes.add((was, stored))
        assert (True, 0) in outcomes
        assert store.collection.verify(deep=True).ok

    asyncio.run(main())


def test_a_store_works_in_one_loop_after_another(db):
    store = RequantVectorStore(Slow(), db)
    for n in range(3):
        asyncio.run(store.aadd_texts([f"{n} 1"]))
        assert len(asyncio.run(store.asimilarity_search("1 1", k=9))) == n + 1
