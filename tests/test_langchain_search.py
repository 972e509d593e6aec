"""What LangChain's store finds: scores, relevance, filters, diversity, retrievers."""

import asyncio
import math

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from requant.errors import InputError
from requant.integration.langchain import RequantVectorStore
from requant.integration.langchain.relevance import relevance_of
from tests.langchain_cases import Spoken

TEXTS = ["3 0", "0 2", "-1 0", "1 1", "0 -5"]


def opened(metric="cosine", **constructor):
    metadata = [{"n": n, "even": n % 2 == 0} for n in range(len(TEXTS))]
    return RequantVectorStore.from_texts(
        TEXTS, Spoken(), metadata, ids=list("abcde"), metric=metric, **constructor
    )


def relevance(metric, query, row):
    if metric == "ip":
        return 1 / (1 + math.exp(-float(query @ row)))
    if metric == "l2":
        return 1 / (1 + float(np.linalg.norm(query - row)))
    return (1 + float(query @ row / np.linalg.norm(query) / np.linalg.norm(row))) / 2


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_scores_and_relevance(metric):
    query, rows = np.array([2.0, 0.0]), np.array([t.split() for t in TEXTS], float)
    expected = {t: relevance(metric, query, row) for t, row in zip(TEXTS, rows, strict=True)}
    with opened(metric) as store:
        found = store.similarity_search_with_relevance_scores("2 0", k=9)
        assert {d.page_content: pytest.approx(r, abs=1e-6) for d, r in found} == expected
        assert [r for _, r in found] == sorted((r for _, r in found), reverse=True)
        scores = store.similarity_search_with_score("2 0", k=9)
        assert [d for d, _ in scores] == [d for d, _ in found]
        assert [s for _, s in scores] == [hit.score for hit in store.collection.search([2, 0])]
        assert store.similarity_search_with_score_by_vector([2, 0], k=9) == scores
        assert store.similarity_search_by_vector([2, 0], k=9) == [d for d, _ in scores]
        least = found[1][1]
        near = store.similarity_search_with_relevance_scores("2 0", k=9, score_threshold=least)
        assert near == found[:2]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_relevance_is_never_beyond_0_and_1(metric):
    least, most = {"cosine": (-1.0000001, 1.0000001), "l2": (-3e38, 0.0)}.get(metric, (-3e38, 3e38))
    of = relevance_of(metric)
    scores = [least, *np.linspace(max(least, -40), min(most, 40), 101).tolist(), most]
    found = [of(score) for score in scores]
    assert all(0 <= one <= 1 for one in found)
    assert found == sorted(found)


def test_filters_return_k():
    with opened() as store:
        assert len(store.similarity_search("1 0", k=2, filter={"n": {"$gte": 3}})) == 2
        odd = store.similarity_search("1 0", 9, {"even": False})
        assert sorted(d.id for d in odd) == ["b", "d"]
        both = {"$or": [{"n": 0}, {"$id": "e"}]}
        assert {d.id for d in store.similarity_search("1 0", filter=both)} == {"a", "e"}
        assert len(store.similarity_search("1 0", k=9, filter={})) == 5


def test_options_of_the_collection():
    with opened() as store:
        assert [d.id for d in store.similarity_search("1 0", among=["b", "c"], exact=True)] == [
            "b", "c",
        ]  # fmt: skip
        assert [d.id for d in store.similarity_search("1 0", min_score=0.9)] == ["a"]
        grouped = store.similarity_search("1 0", k=2, group_by="even")
        assert [d.id for d in grouped] == ["a", "d"]

        def farthest(query, hits):
            return [-hit.score for hit in hits]

        assert store.similarity_search("1 0", k=1, rerank=farthest)[0].id == "c"


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
def test_diversity_is_that_of_langchain(lambda_mult):
    texts, embedding = [f"text {n}" for n in range(60)], DeterministicFakeEmbedding(size=8)
    query = np.array(embedding.embed_query("what"), np.float32)
    vectors = np.array(embedding.embed_documents(texts), np.float32)
    near = np.argsort(-(vectors @ query) / np.linalg.norm(vectors, axis=1))[:15]
    chosen = maximal_marginal_relevance(query, list(vectors[near]), lambda_mult, k=6)
    with RequantVectorStore.from_texts(texts, embedding) as store:
        options = {"k": 6, "fetch_k": 15, "lambda_mult": lambda_mult}
        found = store.max_marginal_relevance_search("what", **options)
        assert [d.page_content for d in found] == [texts[near[at]] for at in chosen]
        assert store.max_marginal_relevance_search_by_vector(query.tolist(), **options) == found
        assert len(store.max_marginal_relevance_search("what", k=30, fetch_k=5)) == 30
        some = store.max_marginal_relevance_search("what", k=3, filter={"$id": {"$in": ["x"]}})
        assert some == []


def test_retrievers():
    with opened() as store:
        plain = store.as_retriever(search_kwargs={"k": 2, "filter": {"even": True}})
        assert [d.id for d in plain.invoke("1 0")] == ["a", "e"]
        assert plain.tags == ["RequantVectorStore", "Spoken"]
        near = store.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.6}
        )
        assert [d.id for d in near.invoke("1 0")] == ["a", "d"]
        diverse = store.as_retriever(
            search_type="mmr", search_kwargs={"k": 2, "fetch_k": 5, "lambda_mult": 0.1}
        )
        assert [d.id for d in diverse.invoke("1 0")] == ["a", "c"]
        for kind in ("similarity", "mmr"):
            assert store.search("1 0", kind, k=1)[0].id == "a"


def test_an_index_that_is_replaced_under_a_retriever():
    with opened() as store:
        retriever = store.as_retriever(search_kwargs={"k": 5})
        before = retriever.invoke("1 0")
        assert store.collection.migrate("other", engine="usearch", precision="binary", k=1).ok
        assert retriever.invoke("1 0") == before
        assert [index.name for index in store.collection.indexes] == ["main", "other"]


WORDS = ["1 0|the black cat", "0 1|a cat and a dog", "0.9 0.1|the white horse", "0 -1|nothing"]


def test_words_and_vectors(any_db):
    with RequantVectorStore.from_texts(
        WORDS, Spoken(), [{"n": n} for n in range(4)], ids=list("abcd"), location=any_db,
        full_text=True,
    ) as store:  # fmt: skip
        collection = store.collection
        by_words = store.similarity_search_with_score("cat OR dog", mode="text")
        hits = collection.search_documents("cat OR dog", 4)
        assert [(d.id, score) for d, score in by_words] == [(hit.id, hit.score) for hit in hits]
        assert [d.id for d in store.similarity_search("cat", filter={"n": 0}, mode="text")] == ["a"]
        assert store.similarity_search("zebra", mode="text") == []
        query = "1 0|dog"
        both = store.similarity_search_with_score(query, k=3, mode="hybrid", weights=(3.0, 1.0))
        hits = collection.search_hybrid(query, [1, 0], 3, weights=(3.0, 1.0))
        assert [(d.id, score) for d, score in both] == [(hit.id, hit.score) for hit in hits]
        assert {"a", "b"} <= {d.id for d, _ in both}
        retriever = store.as_retriever(search_kwargs={"mode": "hybrid", "k": 2})
        assert retriever.invoke(query) == asyncio.run(retriever.ainvoke(query))
        with pytest.raises(InputError, match="relevance"):
            store.similarity_search_with_relevance_scores(query, mode="hybrid")
