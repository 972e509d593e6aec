"""A store that was written down is not begun anew, and empty, where it is not found again."""

from __future__ import annotations

import pickle

import pytest
from haystack import Document, Pipeline
from haystack.document_stores.errors import DocumentStoreError
from haystack.utils import Secret
from llama_index.core.schema import TextNode

import requant
from requant.errors import IndexWarning, InputError
from requant.integration.haystack import RequantDocumentStore, RequantEmbeddingRetriever
from requant.integration.langchain import RequantVectorStore as LangChainStore
from requant.integration.llama_index import RequantVectorStore as LlamaStore
from tests.langchain_cases import Spoken

ONE = Document(id="a", content="one", embedding=[1.0, 0.0])


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Two working folders; the process is in the first."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "there"


def pipeline(store):
    made = Pipeline()
    made.add_component("retriever", RequantEmbeddingRetriever(store))
    return made


@pytest.mark.parametrize("secret", [False, True], ids=["path", "secret"])
def test_a_pipeline_in_another_folder(elsewhere, monkeypatch, secret):
    monkeypatch.setenv("REQUANT_TEST_PLACE", "a.db")
    location = Secret.from_env_var("REQUANT_TEST_PLACE") if secret else "a.db"
    store = RequantDocumentStore(location, embedding_dim=2)
    before = pipeline(store).dumps()
    store.write_documents([ONE])
    after = pipeline(store).dumps()
    store.close()
    assert pipeline(store).dumps() == after
    again = Pipeline.loads(after)
    assert again.run({"retriever": {"query_embedding": [1.0, 0.0]}})["retriever"]["documents"]
    assert again.dumps() == after
    monkeypatch.chdir(elsewhere)
    with pytest.raises(Exception, match=rf"no database at {elsewhere}/a\.db"):
        Pipeline.loads(after)
    assert list(elsewhere.iterdir()) == []
    with pytest.warns(IndexWarning, match=rf"no database at {elsewhere}/a\.db: an empty one"):
        first = Pipeline.loads(before)  # which had nothing when it was written down
    first.get_component("retriever").document_store.write_documents([ONE])
    Pipeline.loads(after)


def test_another_database_of_that_name(elsewhere, monkeypatch):
    store = RequantDocumentStore("a.db", embedding_dim=2)
    store.write_documents([ONE])
    told = store.to_dict()
    store.close()
    monkeypatch.chdir(elsewhere)
    with requant.open("a.db") as database:
        database.create_collection("other", dim=2)
    with pytest.raises(DocumentStoreError, match=r"must exist, and .* has 'other'"):
        RequantDocumentStore.from_dict(told)
    told["init_parameters"]["must_exist"] = False
    again = RequantDocumentStore.from_dict(told)
    assert again.count_documents() == 0
    again.close()


def test_what_describes_a_store_of_llama_index(elsewhere, monkeypatch):
    store = LlamaStore("a.db")
    before = store.to_dict()
    store.add([TextNode(id_="a", text="one", embedding=[1.0, 0.0])])
    after, pickled = store.to_dict(), pickle.dumps(store)
    store.persist("kept.json")
    store.close()
    monkeypatch.chdir(elsewhere)  # the description has the whole path
    again = LlamaStore.from_dict(after)
    assert [node.text for node in again.get_nodes()] == ["one"]
    again.close()
    (elsewhere.parent / "here" / "a.db").rename("moved.db")
    for opens in (lambda: LlamaStore.from_dict(after), lambda: pickle.loads(pickled)):  # noqa: S301
        with pytest.raises(InputError, match=r"must exist, and there is no database at .*here/a"):
            opens()
    again = LlamaStore.from_dict(after, location="moved.db")
    assert [node.text for node in again.get_nodes()] == ["one"]
    again.close()
    requant.open("other.db").close()
    with pytest.raises(InputError, match=r"must exist, and .* has none at all"):
        LlamaStore.from_persist_path("../here/kept.json", location="other.db")
    for told in (before, {"location": "own.db"}):
        with pytest.warns(IndexWarning, match="an empty one is made there"):
            LlamaStore.from_dict(told).close()


def test_what_describes_a_store_in_memory():
    store = LlamaStore()
    LlamaStore.from_dict(store.to_dict()).close()  # as empty as that was
    store.add([TextNode(id_="a", text="one", embedding=[1.0, 0.0])])
    with pytest.raises(InputError, match="in memory is in no other store"):
        LlamaStore.from_dict(store.to_dict())
    store.close()
    documents = RequantDocumentStore(embedding_dim=2)
    documents.write_documents([ONE])  # Haystack's own store comes back empty, too
    assert RequantDocumentStore.from_dict(documents.to_dict()).count_documents() == 0


def test_a_store_of_langchain_that_must_exist(tmp_path):
    with pytest.raises(InputError, match="no database at"):
        LangChainStore(Spoken(), tmp_path / "a.db", must_exist=True)
    with pytest.raises(InputError, match="in memory is in no other store"):
        LangChainStore(Spoken(), must_exist=True)
    assert not (tmp_path / "a.db").exists()
    LangChainStore.from_texts(["1 0|cat"], Spoken(), location=tmp_path / "a.db").close()
    with LangChainStore(Spoken(), tmp_path / "a.db", must_exist=True) as store:
        assert store.collection.count() == 1
