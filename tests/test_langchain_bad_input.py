"""What users of LangChain hand in by mistake: refused with our words, and nothing is stored."""

import sys
from datetime import datetime

import numpy as np
import pytest
from langchain_core.documents import Document

import requant
from requant.errors import (
    DimensionError,
    EngineMissingError,
    FilterError,
    InputError,
    NonFiniteError,
    RequantError,
    UnsupportedError,
)
from requant.integration.langchain import RequantVectorStore
from tests import inside
from tests.langchain_cases import Returns, Spoken, contents


class Encoder:
    """As a SentenceTransformer is, say."""

    def encode(self, texts):
        return np.zeros((len(texts), 2))


@pytest.mark.parametrize("wrong", [None, "all-MiniLM-L6-v2", Encoder(), Spoken, lambda text: [1.0]])
def test_no_embedding(wrong):
    with pytest.raises(ValueError, match="embed_documents and embed_query") as told:
        RequantVectorStore(wrong)
    assert isinstance(told.value, RequantError)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"persist_directory": "x"}, "persist_directory"),
        ({"engine": "pinecone"}, "pinecone"),
        ({"precision": "int7"}, "int7"),
        ({"metric": "hamming"}, "hamming"),
        ({"collection_name": "../x"}, "not allowed"),
        ({"location": 7}, "location"),
        ({"location": "redis://x"}, "redis"),
    ],
)
def test_a_constructor_that_cannot_be(wrong, said):
    with pytest.raises(RequantError, match=said):
        RequantVectorStore(Spoken(), **wrong)


BATCHES = [
    ({"texts": "1 0"}, "texts must be a list"),
    ({"texts": ["1 0", None]}, "texts row 1"),
    ({"texts": ["1 0", 7]}, "texts row 1"),
    ({"texts": ["1 0", "0 1|\x00"]}, "row 1 holds a NUL"),
    ({"texts": ["1 0", "0 1|\ud800"]}, "row 1 is not valid Unicode"),
    ({"texts": ["1 0", "0 1"], "ids": ["a"]}, "ids has 1 entries for 2 texts"),
    ({"texts": ["1 0", "0 1"], "ids": []}, "ids has 0 entries for 2 texts"),
    ({"texts": ["1 0"], "ids": "a"}, "ids must be a list"),
    ({"texts": ["1 0", "0 1"], "ids": ["a", ""]}, "ids row 1 has 0 characters"),
    ({"texts": ["1 0", "0 1"], "ids": ["a", True]}, "ids row 1 is a bool"),
    ({"texts": ["1 0", "0 1"], "ids": ["a", "x" * 2000]}, "ids row 1"),
    ({"texts": ["1 0", "0 1"], "metadatas": [{}]}, "metadatas has 1 entries for 2 texts"),
    ({"texts": ["1 0", "0 1"], "metadatas": {"a": 1}}, "metadatas must be a list"),
    ({"texts": ["1 0", "0 1"], "metadatas": [{}, {"s": {1, 2}}]}, "metadata row 1 is not JSON"),
    ({"texts": ["1 0"], "metadatas": [{"at": datetime(2024, 1, 1)}]}, "datetime"),
    ({"texts": ["1 0"], "metadatas": [{"x": float("nan")}]}, "not JSON"),
    ({"texts": ["1 0"], "metadatas": [{1: 2}]}, "JSON keys are text"),
    ({"texts": ["1 0"], "metadatas": [{"x": "a\x00"}]}, "NUL"),
]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("batch", "said"), BATCHES)
def test_a_batch_is_whole_or_absent(batch, said, before):
    embedding = Spoken()
    with RequantVectorStore(embedding) as store:
        if before:
            store.add_texts(["1 1"], ids=["there"])
        embedding.calls = 0
        with pytest.raises(ValueError, match=said) as told:
            store.add_texts(**batch)
        assert isinstance(told.value, RequantError)
        assert embedding.calls == 0  # nothing is paid for
        if before:
            assert [row[0] for row in contents(store)] == ["there"]
        else:
            assert inside.door_of(store).database.collections() == []


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (["1 0"], "documents row 0 is str"),
        (Document(page_content="1 0"), "documents must be a list"),
        ([Document(page_content="1 0"), None], "documents row 1 is NoneType"),
        ([Document(page_content="1 0", metadata={"s": {1}})], "metadata row 0"),
        ("1 0", "documents must be a list"),
    ],
)
def test_documents_that_are_none(documents, said):
    with RequantVectorStore(Spoken()) as store:
        with pytest.raises(InputError, match=said):
            store.add_documents(documents)
        assert inside.door_of(store).database.collections() == []


@pytest.mark.parametrize(
    ("embedded", "error", "said"),
    [
        ([[1.0, 0.0]], InputError, "1 vectors for 2 texts"),
        ([[1.0, 0.0], [1.0]], InputError, "embeddings"),
        ([[1.0, 0.0], None], InputError, "embeddings"),
        ([[1.0, 0.0], ["x", "y"]], InputError, "embeddings"),
        (None, InputError, "embeddings"),
        ([[1.0, 0.0], [float("nan"), 0.0]], NonFiniteError, "row 1"),
    ],
)
def test_an_embedding_that_gives_something_else(embedded, error, said):
    with RequantVectorStore(Returns(embedded)) as store:
        with pytest.raises(error, match=said):
            store.add_texts(["one", "two"])
        assert inside.door_of(store).database.collections() == []


def test_another_dimension():
    with RequantVectorStore.from_texts(["1 0"], Spoken(), ids=["a"]) as store:
        for ask in (
            lambda: store.add_texts(["1 0 0"]),
            lambda: store.similarity_search("1 0 0"),
            lambda: store.similarity_search_by_vector([1, 0, 0]),
            lambda: store.max_marginal_relevance_search("1 0 0"),
        ):
            with pytest.raises(DimensionError, match="another embedding than Spoken") as told:
                ask()
            assert isinstance(told.value, ValueError)
        assert [row[0] for row in contents(store)] == ["a"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"query": None}, InputError, "query must be a text"),
        ({"oversample": 0}, InputError, "oversample"),
        ({"k": 0}, InputError, "k must be"),
        ({"k": "4"}, InputError, "k must be"),
        ({"filter": {"n": {"$near": 1}}}, FilterError, "near"),
        ({"filter": lambda document: True}, InputError, "filter must be a dictionary"),
        ({"filter": [("n", 1)]}, InputError, "filter must be a dictionary"),
        ({"filter": {"at": datetime(2024, 1, 1)}}, FilterError, "datetime"),
        ({"filters": {"n": 1}}, TypeError, "filters"),
        ({"where": {"n": 1}}, TypeError, "where"),
        ({"score_threshold": 0.5}, TypeError, "score_threshold"),
        ({"mode": "fuzzy"}, InputError, "mode"),
        ({"mode": "text"}, UnsupportedError, "full_text=True"),
        ({"mode": "hybrid"}, UnsupportedError, "full_text=True"),
        ({"mode": "text", "weights": (1, 1)}, TypeError, "weights"),
    ],
)
def test_a_search_that_cannot_be(options, error, said, there):
    texts = ["1 0"] if there else []
    with (
        RequantVectorStore.from_texts(texts, Spoken()) as store,
        pytest.raises(error, match=said),
    ):
        store.similarity_search(**{"query": "1 0", **options})


@pytest.mark.parametrize("there", [True, False])
def test_more_that_cannot_be(there):
    texts = ["1 0"] if there else []
    with RequantVectorStore.from_texts(texts, Spoken(), ids=["a"] if there else []) as store:
        with pytest.raises(InputError, match=r"delete\(\) removes all"):
            store.delete(filter={})
        with pytest.raises(FilterError, match="near"):
            store.delete(filter={"n": {"$near": 1}})
        with pytest.raises(InputError, match="ids row 0"):
            store.delete([None])
        with pytest.raises(InputError, match="ids must be a list"):
            store.get_by_ids(None)
        with pytest.raises(NonFiniteError):
            store.similarity_search_by_vector([float("nan"), 0])
        with pytest.raises(InputError, match="vector"):
            store.similarity_search_by_vector(None)
        with pytest.raises(InputError):
            store.delete(["a"], filter={"n": 1})
        with pytest.raises(InputError, match="wrap one in a list"):
            store.delete("a")
        with pytest.raises(InputError, match="wrap one in a list"):
            store.get_by_ids("a")
        with pytest.raises(TypeError, match="namespace"):
            store.add_texts(["0 1"], namespace="x")
        with pytest.raises(TypeError, match="delete_all"):
            store.delete(delete_all=True)
        with pytest.raises(InputError, match="mmr"):
            store.max_marginal_relevance_search("1 0", lambda_mult=2)
        with pytest.raises(InputError, match="mode"):
            store.max_marginal_relevance_search("1 0", mode="text")
        with pytest.raises(InputError, match="relevance"):
            store.similarity_search_with_relevance_scores("1 0", mode="text")
        with pytest.raises(InputError, match="needs a text"):
            store.similarity_search_by_vector([1, 0], mode="hybrid")
        assert [one.id for one in store.get_by_ids(["a"])] == (["a"] if there else [])


def test_an_empty_store_with_words_refuses_as_one_that_is_not():
    with RequantVectorStore(Spoken(), full_text=True) as store:
        for wrong in ({"weights": (1,)}, {"weights": (-1, 1)}, {"oversample": 0}):
            with pytest.raises(InputError, match=next(iter(wrong))):
                store.similarity_search("1 0", mode="hybrid", **wrong)
        with pytest.raises(InputError, match="oversample"):
            store.similarity_search("1 0", mode="text", oversample=3)
        for mode in ("text", "hybrid"):
            assert store.similarity_search("1 0", mode=mode, filter={"n": 1}) == []


def test_another_metric_or_a_missing_engine(tmp_path, monkeypatch):
    with requant.open(tmp_path / "a.db") as database:
        database.create_collection("langchain", dim=2, metric="ip")
        with pytest.raises(InputError, match="ip"):
            RequantVectorStore(Spoken(), database)
        for name in [name for name in sys.modules if name.startswith("requant.adapters.usearch")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "usearch.index", None)
        with pytest.raises(EngineMissingError, match="usearch"):
            RequantVectorStore(Spoken(), database, collection_name="own", engine="usearch")
        assert database.collections() == ["langchain"]


def test_from_texts_that_fails_holds_nothing(tmp_path):
    with pytest.raises(InputError):
        RequantVectorStore.from_texts(["1 0"], Returns([[1.0], [2.0]]), location=tmp_path / "a.db")
    with pytest.raises(InputError):
        RequantVectorStore.from_texts(["1 0"], Spoken(), [{1}], location=tmp_path / "b.db")
    assert not (tmp_path / "b.db").exists()
    assert not inside.is_shared(tmp_path / "a.db")
    assert not inside.is_shared(tmp_path / "b.db")
