"""The modes text_search and hybrid, where full text is switched on."""

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from requant.errors import InputError, UnsupportedError
from requant.integration.llama_index import ModeError, NoEmbeddingError, RequantVectorStore
from tests.llama_cases import one

NODES = [
    TextNode(id_="cat", text="A black cat", embedding=[1.0, 0.0], metadata={"n": 1}),
    TextNode(id_="cats", text="The cat and the other cat", embedding=[0.9, 0.1], metadata={"n": 2}),
    TextNode(id_="dog", text="A dog, barking", embedding=[0.0, 1.0], metadata={"n": 3}),
]


@pytest.fixture
def store(any_db):
    made = RequantVectorStore(any_db, full_text=True)
    made.add(NODES)
    return made


def asked(mode, text, vector=None, **more):
    return VectorStoreQuery(
        vector, more.pop("k", 3), query_str=text, mode=VectorStoreQueryMode(mode), **more
    )


def test_words_are_searched_for(store):
    found = store.query(asked("text_search", "cat"))
    assert sorted(found.ids) == ["cat", "cats"]
    assert found.similarities == sorted(found.similarities, reverse=True)
    hits = store.collection.search_documents("cat", 3)
    assert (found.ids, found.similarities) == ([h.id for h in hits], [h.score for h in hits])
    assert store.query(asked("text_search", "dog", filters=one("n", "<", 3))).ids == []
    assert store.query(asked("text_search", "cat", node_ids=["cats"])).ids == ["cats"]
    assert store.query(asked("text_search", "nothing here")).nodes == []


def test_words_and_meaning_are_one_list(store):
    found = store.query(asked("hybrid", "dog", [1.0, 0.0]))
    hits = store.collection.search_hybrid("dog", [1.0, 0.0], 3)
    assert (found.ids, found.similarities) == ([h.id for h in hits], [h.score for h in hits])
    assert store.query(asked("hybrid", "dog", [1.0, 0.0], alpha=0.0)).ids[0] == "dog"
    assert store.query(asked("hybrid", "dog", [1.0, 0.0], alpha=1.0)).ids[:2] == ["cat", "cats"]
    assert len(store.query(asked("hybrid", "dog", [1.0, 0.0], hybrid_top_k=1)).ids) == 1
    assert store.query(asked("hybrid", "dog", [1.0, 0.0], doc_ids=["x"])).ids == []


def test_what_a_mode_lacks_is_named(store):
    with pytest.raises(InputError, match="query_str"):
        store.query(asked("text_search", None))
    with pytest.raises(InputError, match="query_str"):
        store.query(asked("hybrid", None, [1.0, 0.0]))
    with pytest.raises(NoEmbeddingError):
        store.query(asked("hybrid", "dog"))
    with pytest.raises(InputError, match="alpha"):
        store.query(asked("hybrid", "dog", [1.0, 0.0], alpha=2.0))
    with pytest.raises(UnsupportedError, match="sparse_top_k"):
        store.query(asked("hybrid", "dog", [1.0, 0.0], sparse_top_k=3))
    with pytest.raises(InputError, match="exact"):
        store.query(asked("text_search", "dog"), exact=True)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("mode", ["text_search", "hybrid"])
def test_without_an_index_of_words_it_is_refused(mode, there):
    store = RequantVectorStore()
    if there:
        store.add(NODES)
    with pytest.raises(ModeError, match="full_text=True"):
        store.query(asked(mode, "cat", [1.0, 0.0]))
    empty = RequantVectorStore(full_text=True)
    assert empty.query(asked(mode, "cat", [1.0, 0.0])).ids == []


def test_words_of_what_is_there_are_indexed_when_a_store_asks_for_it(tmp_path):
    first = RequantVectorStore(tmp_path / "a.db")
    first.add(NODES)
    second = RequantVectorStore(tmp_path / "a.db", full_text=True)
    assert second.query(asked("text_search", "barking")).ids == ["dog"]
    first.close()
    second.close()
