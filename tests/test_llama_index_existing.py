"""Stores of LlamaIndex that are there already become stores of requant, node by node."""

import json

import numpy as np
import pytest
import qdrant_client
from llama_index.core import StorageContext
from llama_index.core.schema import NodeRelationship, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.utils import node_to_metadata_dict

import requant
from requant.errors import ExistsError, IndexWarning, RequantError
from requant.integration.errors import SourceError
from requant.integration.llama_index import RequantVectorStore
from tests.foreign_cases import unpack
from tests.llama_cases import QUERIES, nodes, one

ASKED = VectorStoreQuery(QUERIES[0], 6)


def bare():
    """Return the nodes as they come back: without vectors."""
    return [node.model_copy(update={"embedding": None}) for node in nodes()]


def simple_folder(folder):
    """Persist an index of LlamaIndex's own store, with its docstore."""
    store, documents = SimpleVectorStore(), SimpleDocumentStore()
    store.add(nodes())
    documents.add_documents(nodes())
    StorageContext.from_defaults(vector_store=store, docstore=documents).persist(str(folder))
    return store


@pytest.mark.parametrize("engine", ["faiss", "usearch", "qdrant", "lancedb"])
def test_a_persist_folder_becomes_a_store(tmp_path, engine):
    simple = simple_folder(tmp_path / "kept")
    store = RequantVectorStore.from_existing(
        tmp_path / "kept", tmp_path / "a.db", engine=engine, precision="binary"
    )
    assert store.get_nodes() == bare()
    found, right = store.query(ASKED), simple.query(ASKED)
    assert found.ids == right.ids
    assert np.allclose(found.similarities, right.similarities)
    store.delete("doc1")
    assert store.get_nodes(filters=one("ref_doc_id", "==", "doc1")) == []
    (origin,) = store.collection.stats().origins
    assert (origin.kind, origin.fidelity) == ("LlamaIndex SimpleVectorStore", "exact")
    store.close()


@pytest.mark.parametrize(
    ("case", "metric"),
    [("llama_index_simple", "cosine"), ("llama_index_faiss", "ip"), ("llama_index_map", "l2")],
)
def test_folders_that_llama_index_wrote(tmp_path, case, metric):
    folder, _ = unpack(case, tmp_path)
    store = RequantVectorStore.from_existing(folder)
    whole = SimpleDocumentStore.from_persist_dir(str(folder)).docs
    found = {node.node_id: node for node in store.get_nodes()}
    assert found == {key: whole.get(key, node) for key, node in found.items()}
    assert store.metric == store.collection.metric == metric
    assert any(node.relationships for node in found.values())
    some = next(iter(found))
    query = store.collection.vectors([some])[0].tolist()
    nearest = store.query(VectorStoreQuery(query, len(found)))
    assert {node.node_id: node for node in nearest.nodes} == found


def test_a_chroma_folder_becomes_a_store(tmp_path):
    folder, _ = unpack("chroma", tmp_path)
    name = folder / "notes-cosine"
    with pytest.warns(IndexWarning, match=r"1 of 32 items came without a text \('bare'\)"):
        store = RequantVectorStore.from_existing(name)
    with requant.open(tmp_path / "a.db") as database:
        requant.import_items(name, database, "notes")
        items = list(database.collection("notes").iter())
    plain = [
        TextNode(id_=str(item.id), text=item.document or "", metadata=item.metadata or {})
        for item in items
    ]
    assert store.get_nodes() == plain
    vectors = store.collection.vectors([item.id for item in items])
    assert vectors.tolist() == [item.vector.tolist() for item in items]


def test_what_llama_index_keeps_in_qdrant_comes_whole(tmp_path):
    with_path = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    params = qdrant_client.models.VectorParams(size=8, distance="Cosine")
    with_path.create_collection("nodes", params)
    points = [
        qdrant_client.models.PointStruct(
            id=place, vector=node.get_embedding(), payload=node_to_metadata_dict(node)
        )
        for place, node in enumerate(nodes())
    ]
    with_path.upsert("nodes", points)
    with_path.close()
    store = RequantVectorStore.from_existing(tmp_path / "qdrant")
    by_text = {node.text: node for node in store.get_nodes()}
    for node in bare():
        found = by_text[node.text]
        assert found.metadata == node.metadata
        assert found.relationships == node.relationships
    related = [node for node in by_text.values() if NodeRelationship.SOURCE in node.relationships]
    store.delete("doc2")
    left = [node for node in related if node.ref_doc_id != "doc2"]
    assert len(store.get_nodes()) == 13 - (len(related) - len(left))


def test_what_was_exported_comes_back(tmp_path):
    store = RequantVectorStore(tmp_path / "a.db")
    store.add(nodes())
    store.collection.export(tmp_path / "parquet", format="parquet")
    again = RequantVectorStore.from_existing(tmp_path / "parquet", tmp_path / "b.db")
    assert again.get_nodes() == store.get_nodes() == bare()
    assert again.query(ASKED) == store.query(ASKED)
    again.close()
    store.close()


def test_what_cannot_be_read_makes_nothing(tmp_path):
    simple_folder(tmp_path / "kept")
    store = RequantVectorStore(tmp_path / "full.db")
    store.add(nodes()[:1])
    with pytest.raises(ExistsError, match="holds 1 items"):
        RequantVectorStore.from_existing(tmp_path / "kept", tmp_path / "full.db")
    assert len(store.get_nodes()) == 1
    store.close()
    with pytest.raises(RequantError):
        RequantVectorStore.from_existing(tmp_path / "nothing", tmp_path / "a.db")
    path = tmp_path / "kept" / "default__vector_store.json"
    held = json.loads(path.read_text())
    held["embedding_dict"]["n5"][3] = float("nan")
    path.write_text(json.dumps(held))
    for wrong in (float("nan"), None):
        held["embedding_dict"]["n5"] = [wrong] * 8 if wrong else None
        path.write_text(json.dumps(held))
        with pytest.raises(RequantError, match=r"n5|row 5"):
            RequantVectorStore.from_existing(tmp_path / "kept", tmp_path / "a.db")
        with requant.open(tmp_path / "a.db") as database:
            assert database.collections() == []
    documents = tmp_path / "kept" / "docstore.json"
    documents.write_text(documents.read_text().replace('"TextNode"', '"Other"', 1)[:-50])
    with pytest.raises(SourceError):
        RequantVectorStore.from_existing(tmp_path / "kept", tmp_path / "a.db")


def test_texts_that_are_missing_are_told(tmp_path):
    simple_folder(tmp_path / "kept")
    (tmp_path / "kept" / "docstore.json").unlink()
    with pytest.warns(IndexWarning, match=r"13 of 13 items came without a text.*docstore\.json"):
        store = RequantVectorStore.from_existing(tmp_path / "kept")
    assert len(store.get_nodes()) == len(nodes())
