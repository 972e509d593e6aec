"""Stores as LlamaIndex keeps them: its own, a Qdrant folder, a Chroma folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from llama_index.core import StorageContext
from llama_index.core.schema import TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from wordnet import QUERIES, K

from requant.integration.llama_index import RequantVectorStore

_BATCH = 1000
# A query, by its number: the similarities of what is found.
Ask = Callable[[int], list[float]]


def make(kind: str, place: Path, nodes: list[TextNode]) -> None:
    """Write nodes as LlamaIndex's integration of this kind does."""
    {"simple": _simple, "qdrant": _qdrant, "chroma": _chroma}[kind](place, nodes)


def _simple(place: Path, nodes: list[TextNode]) -> None:
    store, documents = SimpleVectorStore(), SimpleDocumentStore()
    store.add(nodes)
    documents.add_documents([node.model_copy(update={"embedding": None}) for node in nodes])
    StorageContext.from_defaults(vector_store=store, docstore=documents).persist(str(place))


def _qdrant(place: Path, nodes: list[TextNode]) -> None:
    import qdrant_client
    from qdrant_client.models import Distance, PointStruct, VectorParams

    client = qdrant_client.QdrantClient(path=str(place))
    size = len(nodes[0].get_embedding())
    client.create_collection("nodes", VectorParams(size=size, distance=Distance.COSINE))
    for first in range(0, len(nodes), _BATCH):
        points = [
            PointStruct(
                id=node.node_id, vector=node.get_embedding(), payload=node_to_metadata_dict(node)
            )
            for node in nodes[first : first + _BATCH]
        ]
        client.upsert("nodes", points)
    client.close()


def _chroma(place: Path, nodes: list[TextNode]) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(place))
    collection = client.create_collection("nodes", metadata={"hnsw:space": "cosine"})
    for first in range(0, len(nodes), _BATCH):
        some = nodes[first : first + _BATCH]
        collection.add(
            ids=[node.node_id for node in some],
            embeddings=[node.get_embedding() for node in some],
            documents=[node.text for node in some],
            metadatas=[node_to_metadata_dict(node, remove_text=True) for node in some],
        )
    time.sleep(1)  # it writes its log in the background


def opened(kind: str, place: str) -> Ask:
    """Open a store and return what asks it."""
    if kind == "requant":
        return _asking(RequantVectorStore(place))
    if kind == "simple":
        return _asking(SimpleVectorStore.from_persist_dir(place))
    return _qdrant_asking(place) if kind == "qdrant" else _chroma_asking(place)


def _asking(store: RequantVectorStore | SimpleVectorStore) -> Ask:
    def ask(number: int) -> list[float]:
        query = VectorStoreQuery(QUERIES[number].tolist(), similarity_top_k=K)
        return list(store.query(query).similarities or [])

    return ask


def _qdrant_asking(place: str) -> Ask:
    import qdrant_client

    client = qdrant_client.QdrantClient(path=place)

    def ask(number: int) -> list[float]:
        found = client.query_points("nodes", query=QUERIES[number].tolist(), limit=K)
        return [point.score for point in found.points]

    return ask


def _chroma_asking(place: str) -> Ask:
    import chromadb

    collection = chromadb.PersistentClient(place).get_collection("nodes")

    def ask(number: int) -> list[float]:
        found = collection.query(query_embeddings=[QUERIES[number].tolist()], n_results=K)
        distances = found["distances"]
        return [1 - distance for distance in (distances or [[]])[0]]

    return ask
