"""Three stores of LangChain: how an application makes one, and how it opens it again."""

from __future__ import annotations

from pathlib import Path

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from wordnet import Recorded

from requant.integration.langchain import RequantVectorStore


def made(kind: str, folder: Path, documents: list[Document], embedding: Recorded) -> VectorStore:
    """Make a store of LangChain in a folder."""
    if kind == "faiss":
        from langchain_community.vectorstores import FAISS

        store = FAISS.from_documents(documents, embedding)
        store.save_local(str(folder))
        return store
    if kind == "qdrant":
        from langchain_qdrant import QdrantVectorStore

        return QdrantVectorStore.from_documents(
            documents, embedding, path=str(folder), collection_name="notes"
        )
    from langchain_chroma import Chroma

    return Chroma.from_documents(
        documents, embedding, persist_directory=str(folder), collection_name="notes"
    )


def opened(kind: str, place: str, embedding: Recorded) -> VectorStore:
    """Open a store that is there."""
    if kind == "requant":
        return RequantVectorStore(embedding, place, metric="l2")
    if kind == "requant-cosine":
        return RequantVectorStore(embedding, place)
    if kind == "faiss":
        from langchain_community.vectorstores import FAISS

        return FAISS.load_local(place, embedding, allow_dangerous_deserialization=True)
    if kind == "qdrant":
        from langchain_qdrant import QdrantVectorStore

        return QdrantVectorStore.from_existing_collection(
            "notes", embedding, path=place, validate_collection_config=False
        )
    from langchain_chroma import Chroma

    return Chroma("notes", embedding, persist_directory=place)
