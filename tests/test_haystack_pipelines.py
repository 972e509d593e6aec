"""Haystack's pipelines: written down and read by a process that knows only Haystack, and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DocumentStoreError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.utils import Secret

import requant
from requant.integration.haystack import (
    RequantDocumentStore,
    RequantEmbeddingRetriever,
    RequantHybridRetriever,
)

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    Document(id="a", content="a red cat", meta={"n": 1}, embedding=[1.0, 0.0]),
    Document(id="b", content="a blue dog", meta={"n": 2}, embedding=[0.75, 0.5]),
    Document(id="c", content="a red dog", meta={"n": 3}, embedding=[0.0, 1.0]),
]
ONE = {"field": "meta.n", "operator": ">", "value": 1}
OTHER = {"field": "meta.n", "operator": "<", "value": 3}

FRESH = """
import sys
from haystack import Pipeline
pipeline = Pipeline.loads(open(sys.argv[1]).read())
found = pipeline.run({"retriever": {"query_embedding": [0.0, 1.0]}})["retriever"]["documents"]
print([one.id for one in found])
again = pipeline.dumps()
assert again == open(sys.argv[1]).read()
"""


def fresh(path, **environment):
    """What a process says that loads a pipeline and imports nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(path)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def retrieving(store, **options):
    pipeline = Pipeline()
    pipeline.add_component("retriever", RequantEmbeddingRetriever(store, **options))
    return pipeline


def test_a_fresh_process_loads_what_was_written_down(tmp_path):
    store = RequantDocumentStore(
        tmp_path / "a.db", embedding_dim=2, similarity="dot_product", engine="usearch",
        precision="binary", index={"bits": 1}, return_embedding=False, collection_name="mine",
    )  # fmt: skip
    store.write_documents(DOCUMENTS)
    options = {"filters": ONE, "top_k": 1, "scale_score": True}
    pipeline = retrieving(store, **options, filter_policy=FilterPolicy.MERGE)
    text = pipeline.dumps()
    assert "haystack_integrations.document_stores.requant" in text
    (tmp_path / "pipeline.yaml").write_text(text)
    store.close()
    assert fresh(tmp_path / "pipeline.yaml") == "['c']"


def test_a_secret_location_is_a_name_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUANT_TEST_PLACE", str(tmp_path / "a.db"))
    store = RequantDocumentStore(Secret.from_env_var("REQUANT_TEST_PLACE"), embedding_dim=2)
    store.write_documents(DOCUMENTS)
    text = retrieving(store).dumps()
    assert str(tmp_path) not in text
    assert "REQUANT_TEST_PLACE" in text
    (tmp_path / "pipeline.yaml").write_text(text)
    store.close()
    assert fresh(tmp_path / "pipeline.yaml", REQUANT_TEST_PLACE=str(tmp_path / "a.db")) == (
        "['c', 'b', 'a']"
    )
    monkeypatch.delenv("REQUANT_TEST_PLACE")
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"REQUANT_TEST_PLACE|without a value"):
            RequantDocumentStore(Secret.from_env_var("REQUANT_TEST_PLACE", strict=strict))


def test_what_cannot_be_written_down_is_refused(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with requant.open(tmp_path / "b.db") as database:
        for location, told in ((engine, "is a Engine"), (database, "is a Database")):
            with pytest.raises(DocumentStoreError, match=told):
                RequantDocumentStore(location, embedding_dim=2).to_dict()
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hidden@/postgres",
        "postgresql+psycopg://me@/postgres?password=hidden",
    ],
)
def test_passwords_are_never_written_down(postgres_url, tmp_path, url):
    there = postgres_url.partition("?")[2]
    secret = url.replace("me", "requant", 1) + ("&" if "?" in url else "?") + there
    store = RequantDocumentStore(secret, embedding_dim=2, folder=tmp_path / "indexes")
    with pytest.raises(DocumentStoreError, match="URL with a password") as caught:
        store.to_dict()
    assert "hidden" not in str(caught.value)
    store.close()
    plain = RequantDocumentStore(postgres_url, embedding_dim=2, folder=tmp_path / "indexes")
    again = RequantDocumentStore.from_dict(plain.to_dict())
    assert again.location == postgres_url
    assert again.folder == str(tmp_path / "indexes")
    plain.write_documents(DOCUMENTS)
    assert [one.id for one in again.embedding_retrieval([0.0, 1.0], ONE)] == ["c", "b"]
    assert again.filter_documents() == DOCUMENTS
    plain.collection.flush()
    assert (tmp_path / "indexes").is_dir()
    again.close()
    with requant.open(postgres_url, folder=tmp_path / "indexes") as database:
        database.drop_collection("haystack")
    plain.close()
    index = {"url": "http://me:hidden@127.0.0.1:6333"}
    with pytest.raises(DocumentStoreError, match="password") as caught:
        RequantDocumentStore(embedding_dim=2, engine="qdrant", index=index)
    assert "hidden" not in str(caught.value)
    RequantDocumentStore(tmp_path / "a.db", embedding_dim=2).write_documents(DOCUMENTS)
    # Its index is there already, and nobody looks at another one.
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=2, engine="qdrant", index=index)
    with pytest.raises(DocumentStoreError, match=r"index.*password"):
        store.to_dict()


@pytest.mark.parametrize("engine", ["faiss", "usearch", "qdrant", "lancedb"])
def test_pipelines_of_one_process_share_a_file(tmp_path, engine):
    def opened():
        return RequantDocumentStore(tmp_path / "a.db", embedding_dim=2, engine=engine)

    indexing = Pipeline()
    indexing.add_component("writer", DocumentWriter(opened(), DuplicatePolicy.OVERWRITE))
    asking = retrieving(opened())
    for _ in range(2):
        indexing.run({"writer": {"documents": DOCUMENTS}})
        found = asking.run({"retriever": {"query_embedding": [0.0, 1.0], "top_k": 2}})
        assert [one.id for one in found["retriever"]["documents"]] == ["c", "b"]


def test_filter_policies():
    store = RequantDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    query = [1.0, 0.0]
    replaces = RequantEmbeddingRetriever(store, filters=ONE)
    merges = RequantEmbeddingRetriever(store, filters=ONE, filter_policy="merge")
    for retriever, given, wanted in [
        (replaces, None, ["b", "c"]), (replaces, OTHER, ["a", "b"]),
        (merges, None, ["b", "c"]), (merges, OTHER, ["a", "b"]),
        (merges, {"field": "id", "operator": "!=", "value": "b"}, ["c"]),
    ]:  # fmt: skip
        found = retriever.run(query, filters=given)["documents"]
        assert [one.id for one in found] == wanted, given


def test_what_run_is_given_counts():
    store = RequantDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    retriever = RequantEmbeddingRetriever(store, scale_score=True, return_embedding=True, top_k=2)
    found = retriever.run([1.0, 0.0])["documents"]
    assert [(one.score, one.embedding) for one in found][:1] == [(1.0, [1.0, 0.0])]
    found = retriever.run([0.0, 1.0], top_k=3, scale_score=False, return_embedding=False)
    assert [(one.score, one.embedding) for one in found["documents"]][2] == (0.0, None)
    assert retriever.run([1.0, 0.0], top_k=0) == {"documents": []}


@pytest.mark.parametrize("kind", [RequantEmbeddingRetriever, RequantHybridRetriever])
def test_retrievers_that_cannot_be_made(kind):
    store = RequantDocumentStore(embedding_dim=2)
    with pytest.raises(TypeError, match="RequantDocumentStore, not InMemoryDocumentStore"):
        kind(InMemoryDocumentStore())
    for top_k in (0, -1, 1.5, "3", None, True):
        with pytest.raises(DocumentStoreError, match="top_k"):
            kind(store, top_k=top_k)
    with pytest.raises(FilterError, match="unknown operator"):
        kind(store, filters={"field": "meta.n", "operator": "~", "value": 1})
    with pytest.raises(DocumentStoreError, match="FilterPolicy"):
        kind(store, filter_policy="both")
    again = kind.from_dict(kind(store, filters=ONE, filter_policy="merge").to_dict())
    assert (again.filters, again.filter_policy) == (ONE, FilterPolicy.MERGE)


def test_words_and_nearness_together(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=2)
    retriever = RequantHybridRetriever(store)
    assert retriever.run("cat", [1.0, 0.0]) == {"documents": []}
    store.write_documents(DOCUMENTS)
    found = retriever.run("dog", [0.0, 1.0], return_embedding=True)["documents"]
    assert found[0].id == "c"
    assert found[0].embedding == [0.0, 1.0]
    assert {one.id for one in found} == {"a", "b", "c"}
    found = retriever.run("dog", [0.0, 1.0], filters=OTHER)["documents"]
    assert [one.id for one in found] == ["b", "a"]
    dates = {"field": "meta.n", "operator": ">", "value": "2024-01-01"}
    assert retriever.run("dog", [0.0, 1.0], filters=dates)["documents"] == []
    assert retriever.run("dog", [0.0, 1.0], top_k=1)["documents"][0].id == "c"
    with pytest.raises(DocumentStoreError, match="query is a text"):
        retriever.run(7, [0.0, 1.0])
    store.close()
