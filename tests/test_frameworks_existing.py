"""What a framework's store is told of another one that it takes over: vectors, texts, losses."""

from __future__ import annotations

import uuid
import warnings

import pytest
from llama_index.core import StorageContext
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.simple import SimpleVectorStore
from qdrant_client import QdrantClient, models

import requant
from requant.errors import IndexWarning
from requant.integration.errors import SourceError
from requant.integration.haystack import RequantDocumentStore
from requant.integration.langchain import RequantVectorStore as LangChainStore
from requant.integration.llama_index import RequantVectorStore as LlamaStore
from tests.langchain_cases import Spoken

TEXTS = ["one", "two", "three", "four"]
SIZES = {"title": (2, "Dot"), "body": (3, "Cosine")}


def qdrant(path, payloads, *, named=False, ids=range(4)):
    """A folder of Qdrant's client with a collection of four points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = QdrantClient(path=str(path))
        whole = models.VectorParams(size=2, distance="Dot")
        several = {
            name: models.VectorParams(size=size, distance=distance)
            for name, (size, distance) in SIZES.items()
        }
        client.create_collection("notes", several if named else whole)
        plain = [[1.0, float(n)] for n in range(4)]
        vectors = [{"title": one, "body": [*one, 0.5]} for one in plain] if named else plain
        points = zip(ids, vectors, payloads, strict=True)
        client.upsert(
            "notes", [models.PointStruct(id=i, vector=v, payload=p) for i, v, p in points]
        )
        client.close()
    return path


def taken(kind, source, **options):
    """Return ids, texts, metadata and metric of what a framework's store has taken over."""
    if kind == "langchain":
        store = LangChainStore.from_existing(source, Spoken(), **options)
    elif kind == "llama_index":
        store = LlamaStore.from_existing(source, **options)
    else:
        place = options.pop("location", ":memory:")
        store = RequantDocumentStore.from_existing(source, place, **options)
    items = list(store.collection.iter())
    found = [(str(i.id), i.document, i.metadata) for i in items], store.collection
    return *found, store


KINDS = ["langchain", "llama_index", "haystack"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_several_vectors_is_chosen(tmp_path, kind):
    source = qdrant(tmp_path / "q", [{"text": text} for text in TEXTS], named=True)
    with pytest.raises(SourceError if kind != "haystack" else ValueError, match="'title', 'body'"):
        taken(kind, source)
    with pytest.raises(ValueError, match=r"no vector 'head'.*'title', 'body'"):
        taken(kind, source, vector="head")
    for name, left, metric in (("title", "body", "ip"), ("body", "title", "cosine")):
        with pytest.warns(IndexWarning, match=f"vectors left out: '{left}'"):
            rows, collection, store = taken(kind, source, vector=name)
        assert (collection.dim, collection.metric) == (SIZES[name][0], metric)
        assert sorted(text for _, text, _ in rows) == sorted(TEXTS)
        store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_are_missing_are_counted(tmp_path, kind):
    held = [{"body": text, "n": n} if n else {"n": 0} for n, text in enumerate(TEXTS)]
    source = qdrant(tmp_path / "q", held)
    with pytest.warns(
        IndexWarning, match=r"q/.*: 4 of 4 items .* without a text \(.*, \.\.\.\).*text="
    ):
        taken(kind, source)[2].close()
    with requant.open(":memory:") as database:
        with pytest.raises(IndexWarning, match="without a text"):  # an error, here
            taken(kind, source, location=database)
        assert database.collections() == []
    with pytest.warns(IndexWarning, match=r"1 of 4 items .* without a text \('0'\)"):
        rows, _, store = taken(kind, source, text="body")
    assert sorted(text or "" for _, text, _ in rows) == ["", *sorted(TEXTS[1:])]
    store.close()


def test_a_text_that_a_docstore_lacks_is_counted(tmp_path):
    nodes = [TextNode(id_=t, text=t, embedding=[1.0, n]) for n, t in enumerate(TEXTS)]
    for node in nodes:
        source = RelatedNodeInfo(node_id=f"of {node.text}")
        node.relationships = {NodeRelationship.SOURCE: source}
    nodes.append(TextNode(id_="empty", text="", embedding=[1.0, 9.0]))
    kept, documents = SimpleVectorStore(), SimpleDocumentStore()
    kept.add(nodes)
    documents.add_documents(nodes)
    documents.delete_document("three")
    documents.add_documents([TextNode(id_="parent", text="one two three four")])
    StorageContext.from_defaults(vector_store=kept, docstore=documents).persist(str(tmp_path / "k"))
    with pytest.warns(IndexWarning) as told:
        store = LlamaStore.from_existing(tmp_path / "k")
    left, bare = (str(one.message) for one in told)
    assert "taken: 1 nodes of docstore.json belong to no vector and are left out" in left
    assert "1 of 5 items came without a text ('three')" in bare
    assert [node.text for node in store.get_nodes()] == ["one", "two", "", "four", ""]
    store.delete("of three")  # which the vectors' own file knows
    assert [node.text for node in store.get_nodes()] == ["one", "two", "four", ""]
    store.close()


def test_what_qdrants_haystack_store_wrote(tmp_path):
    space = uuid.UUID("3896d314-1e95-4a3a-b45a-945f9f0b541d")
    held = [
        {"id": f"d{n}", "content": text, "meta": {"n": n}, "blob": None, "score": None}
        for n, text in enumerate(TEXTS)
    ]
    ids = [uuid.uuid5(space, one["id"]).hex for one in held]
    source = qdrant(tmp_path / "q", held, ids=ids)
    store = RequantDocumentStore.from_existing(source, ":memory:")
    for n, one in enumerate(sorted(store.filter_documents(), key=lambda one: one.id)):
        assert (one.id, one.content, one.meta) == (f"d{n}", TEXTS[n], {"n": n})
    store.close()
    held[2]["blob"] = {"data": [1, 2], "meta": {}, "mime_type": None}
    source = qdrant(tmp_path / "r", held, ids=ids)
    with pytest.warns(IndexWarning, match="not all of .* was taken: binary contents"):
        RequantDocumentStore.from_existing(source, ":memory:").close()


def test_langchain_payloads_whose_text_has_a_name_of_its_own(tmp_path):
    held = [{"body": text, "metadata": {"n": n}} for n, text in enumerate(TEXTS)]
    rows, _, store = taken("langchain", qdrant(tmp_path / "q", held), text="body")
    assert sorted(rows) == [(str(n), text, {"n": n}) for n, text in enumerate(TEXTS)]
    store.close()


def test_points_without_the_chosen_vector_are_counted(tmp_path):
    source = qdrant(tmp_path / "q", [{"text": text} for text in TEXTS], named=True)
    client = QdrantClient(path=str(source))
    client.delete_vectors("notes", ["title"], [2])
    client.close()
    with pytest.warns(IndexWarning) as told:
        store = LangChainStore.from_existing(source, Spoken(), vector="title")
    assert "1 of 4 items came without a vector ('2')" in str(told[-1].message)
    assert len(store.similarity_search("1 0", k=4)) == 3
    store.close()
